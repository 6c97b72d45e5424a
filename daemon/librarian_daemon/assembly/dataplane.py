"""Builds the data plane, which serves other sites, and the adapters, which fetch from them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec

from librarian_adapters.contract import Adapter
from librarian_adapters.http import adapter as http_adapter
from librarian_adapters.http.client import HttpClient
from librarian_adapters.http.push_letters import PUSH_ME, PUSH_REFUSED
from librarian_adapters.wrappers.least_rate import Paces
from librarian_daemon.assembly.journal import Inbound, send_letter
from librarian_daemon.assembly.mesh import Mesh
from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.dataplane.gate import Gate
from librarian_daemon.dataplane.holdings import CatalogHoldings
from librarian_daemon.dataplane.push_receiver import PushReceiver, Tickets
from librarian_daemon.dataplane.push_sender import Pusher
from librarian_daemon.dataplane.routes import DataPlane as Routes
from librarian_daemon.dataplane.sender import Sender
from librarian_daemon.dataplane.signing import signer
from librarian_daemon.integrity.custodian import Custodian
from librarian_daemon.runtime.certificates import Certificate
from librarian_daemon.runtime.data_tls import DataTls, data_tls
from librarian_daemon.runtime.tcp_server import TcpServer, application
from librarian_daemon.status.health import with_health
from librarian_daemon.status.status import Views
from librarian_daemon.transfers.adapters import load_adapters, loopback_peers
from librarian_daemon.transfers.pauses import Pauses
from librarian_protocol import host_port
from librarian_protocol.errors import ConfigInvalid

#: The largest request body: a bundle's list.
MAX_BODY_BYTES = 4 << 20


class DataPlane(msgspec.Struct, frozen=True, kw_only=True):
    """What moves bytes between sites."""

    #: By name, in order of preference.
    adapters: Mapping[str, Adapter]
    #: What the adapters learn of other sites.
    paces: Paces
    pusher: Pusher
    routes: Routes
    receiver: PushReceiver
    client: HttpClient

    def services(self) -> Services:
        """What runs."""
        return {"pusher": self.pusher.run}

    async def close(self) -> None:
        """Close the connections."""
        for adapter in self.adapters.values():
            await adapter.close()
        await self.client.close()


class DataAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The address at which others reach this site."""

    server: TcpServer
    tls: DataTls
    #: ``HOST:PORT`` as others dial it.
    advertise: str


def build_dataplane(
    ports: Ports, settings: SiteSettings, inbound: Inbound, mesh: Mesh, custodian: Custodian, pauses: Pauses
) -> DataPlane:
    """Letters about pushes are added to ``inbound.letters``.

    Raises:
        ConfigInvalid: an adapter is unknown, or its settings are wrong.
    """
    membership, site, clock = mesh.membership, ports.site, ports.clock
    send = partial(send_letter, ports)
    sign = signer(site, ports.key, clock)
    tickets = Tickets(send, clock, ports.rng)
    holdings = CatalogHoldings(ports.catalog, membership, site, ports.by_id)
    sender = Sender(site, holdings, custodian)
    custodian.tell_suspected(sender.cut)
    client = http_adapter.client(
        sign,
        settings.adapters.settings.get("http", {}),
        membership.certificate,
        settings.tls.ca_file,
        loopback=loopback_peers(settings),
    )
    pusher = Pusher(
        client=client,
        sender=sender,
        holdings=holdings,
        offers=membership.offers,
        send=send,
        clock=clock,
        paused=pauses.peer,
    )
    inbound.letters[PUSH_REFUSED] = tickets.refused
    inbound.letters[PUSH_ME] = pusher.push_me
    paces = Paces(min_rate=settings.replicator.min_rate, over_s=settings.replicator.min_rate_over_s)
    gate = Gate(site=site, clock=clock, holdings=holdings, paused=pauses.peer)
    return DataPlane(
        adapters=load_adapters(
            settings, sign, ports.by_id, membership.certificate, tickets, Path(settings.state) / "adapters", paces
        ),
        paces=paces,
        pusher=pusher,
        routes=Routes(gate, sender),
        receiver=PushReceiver(gate, tickets),
        client=client,
    )


async def listen(settings: SiteSettings, dataplane: DataPlane, views: Views, certificate: Certificate) -> DataAddress:
    """Serve other sites, and health checks, at ``data.listen``.

    Raises:
        ConfigInvalid: nothing can listen there, or the certificate cannot be used.
    """
    routes = [*dataplane.routes.routes(), *dataplane.receiver.routes()]
    server = TcpServer(with_health(application(MAX_BODY_BYTES), routes, views))
    wanted, advertised = settings.data.listen, settings.data.advertise
    address, port = host_port.parse(wanted)
    tls = data_tls(settings, certificate, advertised or wanted)
    try:
        port = await server.start(address, port, tls.context)
    except OSError as exc:
        raise ConfigInvalid(f"data.listen = {wanted!r}: {exc}", hint="is the port taken?") from exc
    return DataAddress(server=server, tls=tls, advertise=advertised or host_port.joined(address, port))
