"""The adapters of this site, and the adapters that it offers to other sites."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from librarian_adapters import registry
from librarian_adapters.contract import Adapter, Pushes, Signer
from librarian_adapters.local import Local
from librarian_adapters.wrappers.least_rate import LeastRate, Paces
from librarian_adapters.wrappers.stalling import StallingAdapter
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_daemon.config.settings import AdapterLimits, SiteSettings
from librarian_daemon.ports.store import Store
from librarian_daemon.runtime.data_tls import AUTHORITY, DataTls
from librarian_daemon.transfers.slots import Slots
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.host_port import parse
from librarian_protocol.loopback import is_loopback
from librarian_protocol.names import SiteName


def load_adapters(
    settings: SiteSettings,
    sign: Signer,
    stores: Mapping[str, Store],
    certificate: Callable[[SiteName], str | None],
    tickets: Pushes,
    state: Path,
    paces: Paces,
) -> dict[str, Adapter]:
    """The configured adapters, in order of preference. Each has a stall timeout and verifies what it brings."""
    loaded = registry.load(
        settings.adapters.order,
        site=settings.site,
        sign=sign,
        settings=settings.adapters.settings,
        roots={store.id: directory.path for store in stores.values() if (directory := store.can.directory) is not None},
        labels={store.id: store.label for store in stores.values()},
        state=state,
        certificate=certificate,
        ca_file=settings.tls.ca_file,
        pushes=tickets if settings.data.dialable else None,
        loopback_peers=loopback_peers(settings),
    )
    stall_s = settings.replicator.stall_s
    return {
        adapter.name: VerifyingAdapter(LeastRate(StallingAdapter(adapter, stall_s=stall_s), paces))
        for adapter in loaded
    }


class _Roots(Mapping[str, str]):
    """The directories of the stores that are directories of this host, by id, as they are at each look."""

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self._stores = stores

    def __getitem__(self, id_: str) -> str:
        directory = self._stores[id_].can.directory
        if directory is None:
            raise KeyError(id_)
        return directory.path

    def __iter__(self) -> Iterator[str]:
        return (store.id for store in self._stores.values() if store.can.directory is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def between_stores(stores: Mapping[str, Store], stall_s: float) -> Adapter:
    """What brings files from one store of this site into another. It is always there, whatever is configured."""
    return VerifyingAdapter(StallingAdapter(Local(_Roots(stores)), stall_s=stall_s))


def slots_of(settings: SiteSettings, adapters: Iterable[str], paces: Paces) -> dict[str, Slots]:
    """The slots of each adapter."""
    limits = settings.adapters.limits
    return {
        name: Slots(limits.get(name, AdapterLimits()).jobs or settings.replicator.concurrency, paces.slow)
        for name in adapters
    }


def loopback_peers(settings: SiteSettings) -> bool:
    """Whether the other sites are on this machine: as configured, or as the advertised address shows."""
    data = settings.data
    if data.loopback_peers != "auto":
        return data.loopback_peers == "on"
    host, _ = parse(data.advertise or data.listen)
    return data.dialable and is_loopback(host)


def offers(adapters: Iterable[Adapter], own: AdapterOffer) -> list[AdapterOffer]:
    """All offers of this site: its data plane, and the offers of its adapters."""
    return [own, *(offer for adapter in adapters if (offer := adapter.offer()) is not None)]


def http_offer(settings: SiteSettings, tls: DataTls, address: str) -> AdapterOffer:
    """The offer of this site's data plane. If nobody can dial it, it pushes."""
    if settings.data.dialable:
        params = {AUTHORITY: True} if tls.context is not None and not tls.pinned else {}
        return AdapterOffer(name="http", version=1, address=tls.url(address), dial=Dial.DESTINATION, params=params)
    return AdapterOffer(name="http", version=1, address="", dial=Dial.SOURCE)
