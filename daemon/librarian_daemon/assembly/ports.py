"""The ports that every capability is built on: the daemon's own, or the simulator's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.incidents.recorder import CatalogIncidents
from librarian_daemon.ports.bus import Bus
from librarian_daemon.ports.store import SiteStore
from librarian_daemon.ports.time import Clock, Rng
from librarian_daemon.runtime.metrics import Metrics
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName

#: Services by their names, in the order in which they begin.
Services = Mapping[str, Callable[[], Awaitable[None]]]


class StoresById(Mapping[str, SiteStore]):
    """The stores by their ids, as they are at each look: some are added and retired while the daemon runs."""

    def __init__(self, stores: Sequence[SiteStore]) -> None:
        self._stores = stores

    def __getitem__(self, id_: str) -> SiteStore:
        for store in self._stores:
            if store.id == id_:
                return store
        raise KeyError(id_)

    def __iter__(self) -> Iterator[str]:
        return iter([store.id for store in self._stores])

    def __len__(self) -> int:
        return len(self._stores)


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """A site's own."""

    site: SiteName
    key: SiteKey
    catalog: Catalog
    bus: Bus
    #: In the order of the configuration, then those that were added. The list stays the same while the daemon runs.
    stores: list[SiteStore]
    clock: Clock
    rng: Rng
    incidents: CatalogIncidents
    metrics: Metrics

    @property
    def by_id(self) -> Mapping[str, SiteStore]:
        """The stores by their ids."""
        return StoresById(self.stores)


class Capability(Protocol):
    """What a builder makes."""

    def services(self) -> Services:
        """What of it runs."""
        ...


def services_of(capabilities: Iterable[Capability]) -> Services:
    """All services of the capabilities, in that order.

    Raises:
        ValueError: two services have one name.
    """
    found: dict[str, Callable[[], Awaitable[None]]] = {}
    for capability in capabilities:
        for name, service in capability.services().items():
            if name in found:
                raise ValueError(f"two services are named {name!r}")
            found[name] = service
    return found
