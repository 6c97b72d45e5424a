"""Which stores are attached to this site, and how each is used: by ``site.toml``, and by what a person set since.

What is said to other sites (``store.declared``) follows from these rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, select, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import replacing
from librarian_protocol import wire
from librarian_protocol.entries import StoreRole
from librarian_protocol.errors import ArgumentInvalid, NotFound
from librarian_protocol.names import SiteName
from librarian_protocol.store_settings import StoreOverrides, StoreValues, in_force

_VALUES = wire.decoder(StoreValues)
_OVERRIDES = wire.decoder(StoreOverrides)
_ATTACHED = schema.attached.c
_STORE = schema.store.c


class Origin(StrEnum):
    """How a store came to be attached."""

    #: It stands in ``site.toml``.
    FILE = "file"
    #: A person added it while the daemon ran.
    LIVE = "live"
    #: It was taken out of ``site.toml``: it is not attached any longer, and what was said of it stays.
    LEFT = "left"


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """A store that is, or was, attached."""

    id: str
    label: str
    path: str
    role: StoreRole
    origin: Origin
    configured: StoreValues
    overrides: StoreOverrides = StoreOverrides()
    #: Why a person set the overrides, and since when; "" where there are none.
    reason: str = ""
    at: str = ""

    @property
    def values(self) -> StoreValues:
        """What counts."""
        return in_force(self.configured, self.overrides)


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """A store as ``site.toml`` has it, with the id that its marker has."""

    id: str
    label: str
    path: str
    role: StoreRole
    values: StoreValues


def attached(connection: Connection) -> list[Attached]:
    """Those that are attached now, in the order of their labels."""
    return [store for store in known(connection) if store.origin is not Origin.LEFT]


def known(connection: Connection) -> list[Attached]:
    """Those that are or were attached, and are not retired, in the order of their labels."""
    return [
        Attached(
            id=row.store,
            label=row.label,
            path=row.path,
            role=StoreRole(row.role),
            origin=Origin(row.origin),
            configured=_VALUES.decode(row.configured),
            overrides=_OVERRIDES.decode(row.overrides),
            reason=row.reason,
            at=row.at,
        )
        for row in connection.execute(_KNOWN)
    ]


_KNOWN = select(schema.attached).order_by(_ATTACHED.label, _ATTACHED.store)


def begin(tx: Tx, configured: Sequence[Configured]) -> None:
    """A start: these stand in ``site.toml``; what a person set stays. Idempotent."""
    before = {store.id: store for store in known(tx.connection)}
    for store in configured:
        old = before.pop(store.id, None)
        put(
            tx,
            Attached(
                id=store.id,
                label=store.label,
                path=store.path,
                role=store.role,
                origin=Origin.FILE,
                configured=store.values,
                overrides=StoreOverrides() if old is None else old.overrides,
                reason="" if old is None else old.reason,
                at="" if old is None else old.at,
            ),
        )
    gone = [store.id for store in before.values() if store.origin is Origin.FILE]
    if gone:
        where = _ATTACHED.store.in_(gone)
        tx.connection.execute(update(schema.attached).where(where).values(origin=Origin.LEFT.value))


def put(tx: Tx, store: Attached) -> None:
    """Keep it, in place of the row that its id has. Repeatable."""
    tx.connection.execute(
        _PUT(tx.connection),
        {
            "store": store.id,
            "label": store.label,
            "path": store.path,
            "role": store.role.value,
            "origin": store.origin.value,
            "configured": wire.encode(store.configured).decode(),
            "overrides": wire.encode(store.overrides).decode(),
            "reason": store.reason,
            "at": store.at,
        },
    )


_PUT = replacing(schema.attached, "store")


def forget(tx: Tx, store: str) -> None:
    """It is retired. Repeatable."""
    tx.connection.execute(delete(schema.attached).where(_ATTACHED.store == store))


def meant(stores: Sequence[Attached], wanted: str) -> Attached:
    """The one of an id or label.

    Raises:
        NotFound: none is.
    """
    for store in stores:
        if wanted in {store.id, store.label}:
            return store
    labels = ", ".join(store.label for store in stores) or "none"
    raise NotFound(f"there is no store {wanted!a} at this site", hint=f"there are: {labels}")


class Usable(msgspec.Struct, frozen=True, kw_only=True):
    """A store of this site, as far as its choice needs it."""

    id: str
    label: str
    role: StoreRole
    values: StoreValues


def usable(connection: Connection, site: SiteName) -> dict[str, Usable]:
    """The stores of the site that are declared and not retired, by their ids."""
    found: dict[str, Usable] = {}
    for row in connection.execute(_USABLE, {"mine": str(site)}):
        values = StoreValues(active=bool(row.active), ingestable=bool(row.ingestable))
        if row.configured is not None:
            said = in_force(_VALUES.decode(row.configured), _OVERRIDES.decode(row.overrides))
            values = msgspec.structs.replace(values, priority=said.priority, reserve=said.reserve)
        found[row.id] = Usable(id=row.id, label=row.label, role=StoreRole(row.role), values=values)
    return found


_USABLE = (
    select(
        _STORE.id,
        _STORE.label,
        _STORE.role,
        _STORE.active,
        _STORE.ingestable,
        _ATTACHED.configured,
        _ATTACHED.overrides,
    )
    .outerjoin_from(schema.store, schema.attached, _ATTACHED.store == _STORE.id)
    .where(_STORE.site == bindparam("mine"), _STORE.retired.is_(False))
    .order_by(_STORE.label, _STORE.id)
)


def check_not_retired(connection: Connection, site: SiteName, store: str) -> None:
    """A retired store does not come back.

    Raises:
        ArgumentInvalid: it was retired.
    """
    retired = select(_STORE.id).where(_STORE.site == str(site), _STORE.id == store, _STORE.retired.is_(True))
    if connection.execute(retired).first() is not None:
        raise ArgumentInvalid(
            f"store {store} was retired, and that is final",
            hint="drop its files into a drop directory; use an empty directory for a new store",
        )


def check_role(connection: Connection, site: SiteName, store: str, role: StoreRole) -> None:
    """A store keeps its role for ever.

    Raises:
        ArgumentInvalid: it was declared with another one.
    """
    said: Any = connection.execute(
        select(_STORE.label, _STORE.role).where(_STORE.site == str(site), _STORE.id == store, _STORE.retired.is_(False))
    ).first()
    if said is not None and said.role != role.value:
        raise ArgumentInvalid(
            f"store {said.label!r} has the role {said.role}, not {role.value}: a store never changes its role",
            hint=f'role = "{said.role}"; for another role take another directory: that is a new store',
        )
