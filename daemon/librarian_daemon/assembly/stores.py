"""Opens the attached stores: created at the first start, then recognised by their marker."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.stores import attached
from librarian_daemon.catalog.stores.attached import Attached, Configured, Origin
from librarian_daemon.catalog.transfers import planning
from librarian_daemon.config.settings import SiteSettings, StoreSettings
from librarian_daemon.ports.store import SiteStore
from librarian_daemon.ports.time import Rng
from librarian_daemon.stores.posix.layout import Marker
from librarian_daemon.stores.posix.modes import modes_of
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.entries import StoreRole
from librarian_protocol.errors import ArgumentInvalid, ConfigInvalid, StoreError

_log = structlog.get_logger(__name__)


async def or_withhold(store: SiteStore, work: Awaitable[object]) -> None:
    """A store that fails at the start is opened later; everything else works."""
    try:
        await work
    except StoreError as exc:
        if not store.withheld:
            _withhold(store, exc.message)


async def open_stores(settings: SiteSettings, catalog: Catalog, rng: Rng) -> list[SiteStore]:
    """The stores of the configuration, then those that were added while a daemon ran.

    A store that the catalog knows and that is not there now is withheld.

    Raises:
        ConfigInvalid: the directory is another site's store, or a new store's holds something; or a store has another
            role than it had.
        StoreError: a new store cannot be made, or its filesystem cannot do what the commit protocol needs.
    """
    active = await catalog.read(planning.active_stores, settings.site)
    attached_before = await catalog.read(attached.known)
    left = [store for store in attached_before if store.origin is Origin.LEFT]
    now = [store for store in attached_before if store.origin is not Origin.LEFT]
    known = {
        **{store.label: store.id for store in left},
        **{label: id_ for id_, label in active},
        **{store.label: store.id for store in now},
    }
    stores: list[SiteStore] = []
    for index, configured in enumerate(settings.store):
        store = await _opened(settings, configured, known.get(configured.label), rng)
        try:
            await catalog.read(attached.check_role, settings.site, store.id, store.role)
        except ArgumentInvalid as exc:
            raise ConfigInvalid(f"store[{index}].role: {exc.message}", hint=exc.hint) from exc
        stores.append(store)
    ids = {store.id for store in stores}
    for live in now:
        if live.origin is Origin.LIVE and live.id not in ids:
            stores.append(await _opened(settings, settings_of(live), live.id, rng))
    return stores


def settings_of(live: Attached) -> StoreSettings:
    """Those of a store that is not in the configuration."""
    return StoreSettings(label=live.label, path=live.path, role=live.role)


def configured_stores(settings: SiteSettings, stores: Sequence[SiteStore]) -> list[Configured]:
    """What stands in the configuration, with the ids of :func:`open_stores`."""
    return [
        Configured(id=store.id, label=store.label, path=configured.path, role=configured.role, values=configured.values)
        for configured, store in zip(settings.store, stores, strict=False)
    ]


async def _opened(settings: SiteSettings, configured: StoreSettings, id_: str | None, rng: Rng) -> SiteStore:
    """``id_``: the one that the catalog knows; None for a new store."""
    store = _new(settings, configured, rng) if id_ is None else _known(settings, configured, id_)
    try:
        if not store.withheld:
            await store.open()
    except StoreError as exc:
        if id_ is None:
            raise
        _withhold(store, exc.message)
    return store


class StoreOpener:
    """Opens a store that is added while the daemon runs."""

    def __init__(self, settings: SiteSettings, rng: Rng) -> None:
        self._settings = settings
        self._rng = rng

    def directories(self) -> list[str]:
        """In and around which no store can be: drop directories, and the daemon's own."""
        return [*(drop.path for drop in self._settings.intake), self._settings.state]

    async def open(self, path: str, label: str, role: StoreRole) -> SiteStore:
        """Open the store of a directory; a new one is made in an empty directory.

        Raises:
            ConfigInvalid: it is another site's store.
            StoreError: a store cannot be made there, or its filesystem cannot do what the commit protocol needs.
        """
        return await _opened(self._settings, StoreSettings(label=label, path=path, role=role), None, self._rng)


def directories(stores: Iterable[SiteStore]) -> list[str]:
    """The directories of this host that are stores; drop directories must not be inside."""
    return [store.can.directory.path for store in stores if store.can.directory is not None]


def _known(settings: SiteSettings, configured: StoreSettings, id_: str) -> PosixStore:
    """A known store: nothing is created, whatever is there now."""
    marker, why = None, f"no marker stands in {configured.path}"
    try:
        marker = PosixStore.read_marker(configured.path)
    except StoreError as exc:
        why = exc.message
    if marker is not None:
        return _store(settings, configured, marker)
    store = _store(settings, configured, Marker(id=id_, label=configured.label, site=settings.site))
    _withhold(store, why)
    return store


def _new(settings: SiteSettings, configured: StoreSettings, rng: Rng) -> PosixStore:
    marker = PosixStore.read_marker(configured.path)
    if marker is None:
        marker = Marker(id=rng.hex(32), label=configured.label, site=settings.site)
        PosixStore.create(configured.path, marker, modes_of(configured))
    return _store(settings, configured, marker)


def _store(settings: SiteSettings, configured: StoreSettings, marker: Marker) -> PosixStore:
    if marker.site != settings.site:
        raise ConfigInvalid(f"{configured.path} is a store of site {marker.site!r}", hint="a store belongs to one site")
    return PosixStore(configured.path, marker, configured.role, modes=modes_of(configured), sync=configured.sync)


def _withhold(store: SiteStore, why: str) -> None:
    store.withhold(why)
    _log.error("store_not_there", store=store.label, path=store.location, reason=why)
