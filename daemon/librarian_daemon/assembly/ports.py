"""The ports that every capability is built on: the daemon's own, or the simulator's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """A site's own."""

    site: SiteName
    key: SiteKey
    catalog: Catalog
    bus: Bus
    #: In the order of the configuration.
    stores: Sequence[SiteStore]
    clock: Clock
    rng: Rng
    incidents: CatalogIncidents
    metrics: Metrics

    @property
    def by_id(self) -> Mapping[str, SiteStore]:
        """The stores by their ids."""
        return {store.id: store for store in self.stores}


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
