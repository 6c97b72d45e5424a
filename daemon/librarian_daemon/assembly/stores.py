"""Opens the configured stores: created at the first start, then recognised by their marker."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transfers import planning
from librarian_daemon.config.settings import SiteSettings, StoreSettings
from librarian_daemon.ports.store import SiteStore
from librarian_daemon.ports.time import Rng
from librarian_daemon.stores.posix.layout import Marker
from librarian_daemon.stores.posix.modes import modes_of
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.errors import ConfigInvalid, StoreError

_log = structlog.get_logger(__name__)


async def or_withhold(store: SiteStore, work: Awaitable[object]) -> None:
    """A store that fails at the start is opened later; everything else works."""
    try:
        await work
    except StoreError as exc:
        if not store.withheld:
            _withhold(store, exc.message)


async def open_stores(settings: SiteSettings, catalog: Catalog, rng: Rng) -> list[SiteStore]:
    """All stores of the configuration. A store that the catalog knows and that is not there now is withheld.

    Raises:
        ConfigInvalid: the directory is another site's store, or a new store's holds something.
        StoreError: a new store cannot be made, or its filesystem cannot do what the commit protocol needs.
    """
    known = {label: id_ for id_, label in await catalog.read(planning.active_stores, settings.site)}
    stores: list[SiteStore] = []
    for configured in settings.store:
        store = (
            _known(settings, configured, known[configured.label])
            if configured.label in known
            else _new(settings, configured, rng)
        )
        try:
            if not store.withheld:
                await store.open()
        except StoreError as exc:
            if configured.label not in known:
                raise
            _withhold(store, exc.message)
        stores.append(store)
    return stores


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
