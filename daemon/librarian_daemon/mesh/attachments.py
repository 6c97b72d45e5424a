"""Stores that are added, set and retired while the daemon runs. What is done here holds over restarts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import PurePath
from typing import Protocol

import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.stores import attached
from librarian_daemon.catalog.stores.attached import Attached, Origin
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.mesh.declarations import Declarations
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.store import SiteStore
from librarian_protocol import api
from librarian_protocol.entries import StoreRole
from librarian_protocol.errors import ArgumentInvalid, NotFound
from librarian_protocol.names import SiteName
from librarian_protocol.store_settings import (
    KEYS,
    StoreOverrides,
    StoreValues,
    merged,
    origin,
    reserve_bytes,
)

CLOSED = "store-closed-full"


class Opener(Protocol):
    """Opens stores of a kind."""

    def directories(self) -> Sequence[str]:
        """Paths that a store must neither contain nor lie in, besides those of other stores."""
        ...

    async def open(self, path: str, label: str, role: StoreRole) -> SiteStore:
        """Open the store of a directory; a new one is made in an empty directory.

        Raises:
            ConfigInvalid, StoreError: why not.
        """
        ...


class Attachments:
    """The stores of this site, as a person sees and changes them."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        site: SiteName,
        stores: list[SiteStore],
        declarations: Declarations,
        opener: Opener,
        take_up: Callable[[SiteStore], Awaitable[None]],
        watch: Callable[[SiteStore], None],
        changed: Callable[[], Awaitable[None]],
        incidents: Incidents,
    ) -> None:
        """``stores`` is the list that all services look at.

        ``take_up`` finishes what a crash left in a store, ``watch`` has its health examined; ``changed`` is called
        when more may be possible than before.
        """
        self._catalog = catalog
        self._site = site
        self._stores = stores
        self._declarations = declarations
        self._opener = opener
        self._take_up = take_up
        self._watch = watch
        self._changed = changed
        self._incidents = incidents
        #: One change at a time.
        self._changing = asyncio.Lock()
        self._log = structlog.get_logger("stores")

    async def show(self, wanted: str) -> api.StoreShown:
        """A store, by id or label, with the origin of each value.

        Raises:
            NotFound: there is no such store.
        """
        return _shown(attached.meant(await self._catalog.read(attached.attached), wanted))

    async def set(self, wanted: str, overrides: StoreOverrides, reason: str) -> api.StoreShown:
        """Have these values count, whatever the configuration says. Values that are not given stay. Idempotent.

        Raises:
            NotFound: there is no such store.
            ArgumentInvalid: nothing is given, or the reserve is none.
        """
        if overrides == StoreOverrides():
            raise ArgumentInvalid("nothing is to be set", hint="such as --inactive, or --priority 50")
        if overrides.reserve is not None:
            reserve_bytes(overrides.reserve, 0)
        return await self._set(wanted, lambda before: merged(before, overrides), reason)

    async def close_full(self, label: str, reason: str) -> None:
        """Set a store inactive because it is full: an incident, until a person activates it."""
        try:
            await self.set(label, StoreOverrides(active=False), f"full: {reason}")
        except NotFound:
            return  # it was retired just now
        await self._incidents.open(
            CLOSED,
            label,
            f"store {label!r} was set inactive: {reason}",
            f"make room, then `lbctl store set {label} --active --reason TEXT`",
        )

    async def unset(self, wanted: str) -> api.StoreShown:
        """Have the configuration's values count again. Idempotent.

        Raises:
            NotFound: there is no such store.
        """
        return await self._set(wanted, lambda _: StoreOverrides(), "")

    async def _set(
        self, wanted: str, become: Callable[[StoreOverrides], StoreOverrides], reason: str
    ) -> api.StoreShown:
        def work(tx: Tx) -> Attached:
            store = attached.meant(attached.attached(tx.connection), wanted)
            at = tx.now if reason else ""
            new = msgspec.structs.replace(store, overrides=become(store.overrides), reason=reason, at=at)
            attached.put(tx, new)
            return new

        async with self._changing:
            store = await self._catalog.write(work)
            await self._declarations.say()
        if store.values.active:
            await self._incidents.resolve(CLOSED, store.label)
        self._log.warning("store_set", store=store.label, **msgspec.structs.asdict(store.values), reason=reason)
        await self._changed()
        return _shown(store)

    async def add(self, path: str, label: str, role: StoreRole) -> api.StoreShown:
        """Attach the store of a directory; a new one is made in an empty directory. Idempotent.

        Raises:
            ArgumentInvalid: the label or the place is taken, or it is a store that has another label or role, or one
                that was retired.
            ConfigInvalid, StoreError: it cannot be a store of this site.
        """
        async with self._changing:
            known = await self._catalog.read(attached.known)
            for store in known:
                if store.label == label and os.path.realpath(store.path) == os.path.realpath(path):
                    if store.origin is not Origin.LEFT:
                        return _shown(self._same(store, role))
                elif store.label == label:
                    raise ArgumentInvalid(
                        f"label {label!r} is the one of the store in {store.path}", hint="labels are unique in a site"
                    )
            self._check_place(path)
            opened = await self._opener.open(path, label, role)
            try:
                new = await self._attach(opened, path, label, role)
            except BaseException:
                opened.close()
                raise
        self._log.warning("store_added", store=label, id=new.id, path=path, role=role.value)
        await self._changed()
        return _shown(new)

    def _same(self, store: Attached, role: StoreRole) -> Attached:
        if store.role is not role:
            raise ArgumentInvalid(
                f"store {store.label!r} has the role {store.role.value}: a store never changes its role",
                hint="for another role take another directory: that is a new store",
            )
        return store

    async def _attach(self, opened: SiteStore, path: str, label: str, role: StoreRole) -> Attached:
        if opened.label != label:
            raise ArgumentInvalid(f"in {path} is store {opened.label!r}", hint=f"--label {opened.label}")
        used = await self._catalog.read(attached.usable, self._site)
        if any(store.label == label and store.id != opened.id for store in used.values()):
            raise ArgumentInvalid(
                f"label {label!r} is the one of another store of this site",
                hint="`lbctl store retire`, or another label",
            )
        await self._catalog.read(attached.check_role, self._site, opened.id, role)
        await self._catalog.read(attached.check_not_retired, self._site, opened.id)
        await self._take_up(opened)
        new = Attached(id=opened.id, label=label, path=path, role=role, origin=Origin.LIVE, configured=StoreValues())
        await self._catalog.write(attached.put, new)
        self._stores.append(opened)
        self._watch(opened)
        await self._declarations.say()
        return new

    def _check_place(self, path: str) -> None:
        """The same rules as for ``site.toml``."""
        if not os.path.isabs(path):
            raise ArgumentInvalid(f"{path!a} is no absolute path", hint="give the path as the daemon sees it")
        mine = PurePath(os.path.realpath(path))
        for other in [*(store.location for store in self._stores), *self._opener.directories()]:
            its = PurePath(os.path.realpath(other))
            if mine.is_relative_to(its) or its.is_relative_to(mine):
                raise ArgumentInvalid(
                    f"{path} and {other} lie in one another",
                    hint="stores, drop directories and the daemon's own directory stand beside one another",
                )

    async def retire(self, wanted: str, *, lost: bool) -> api.StoreRetired:
        """As :meth:`Declarations.retire`; one that was added live is used no more, at once."""
        async with self._changing:
            done = await self._declarations.retire(wanted, lost=lost)
            await self._incidents.resolve(CLOSED, done.label)
            self._stores[:] = [store for store in self._stores if store.id != done.id]
            await self._declarations.say()
        await self._changed()
        return done


def _shown(store: Attached) -> api.StoreShown:
    return api.StoreShown(
        id=store.id,
        label=store.label,
        role=store.role.value,
        path=store.path,
        origin=store.origin.value,
        settings=[
            api.StoreSetting(
                key=key,
                value=_text(getattr(store.values, key)),
                origin=origin(key, store.configured, store.overrides),
                configured=_text(getattr(store.configured, key)),
            )
            for key in KEYS
        ],
        reason=store.reason,
        at=store.at,
    )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
