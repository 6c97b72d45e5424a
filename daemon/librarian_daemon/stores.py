"""Opening the configured stores: made at the first start, recognised by their marker ever after."""

from __future__ import annotations

from librarian_daemon.catalog import planning
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.ports import Rng
from librarian_daemon.settings import SiteSettings, StoreSettings
from librarian_daemon.store.layout import Marker
from librarian_daemon.store.posix import PosixStore
from librarian_protocol.errors import ConfigInvalid, StoreNotMounted


async def open_stores(settings: SiteSettings, catalog: Catalog, rng: Rng) -> list[PosixStore]:
    """All stores of the configuration, opened.

    Raises:
        StoreNotMounted: a store that the catalog knows has no marker: it is not mounted, never "empty".
        ConfigInvalid: the directory is another site's store.
        StoreFault: the filesystem cannot do what the commit protocol needs.
    """
    known = {label for _, label in await catalog.read(planning.active_stores, settings.site)}
    stores: list[PosixStore] = []
    for one in settings.store:
        store = _store(settings, one, known, rng)
        await store.open()
        stores.append(store)
    return stores


def _store(settings: SiteSettings, one: StoreSettings, known: set[str], rng: Rng) -> PosixStore:
    marker = PosixStore.read_marker(one.path)
    if marker is None:
        if one.label in known:
            raise StoreNotMounted(
                f"store {one.label!r}: no marker stands in {one.path}",
                hint="mount the store's filesystem; the catalog knows of files in it",
            )
        marker = Marker(id=rng.hex(32), label=one.label, site=settings.site)
        PosixStore.create(one.path, marker)
    if marker.site != settings.site:
        raise ConfigInvalid(f"{one.path} is a store of site {marker.site!r}", hint="a store belongs to one site")
    return PosixStore(one.path, marker, one.role, file_mode=int(one.file_mode, 8))
