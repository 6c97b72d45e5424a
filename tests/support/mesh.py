"""Sites that are far apart, for tests: each on a host of its own, with its own nats-server, joined by leaf links.

The first site is the hub, which listens for leaf links; the others dial out. A site that cannot be dialled itself (a
telescope) says so, and pushes what is asked of it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.support.network import Host, Network, network
from tests.support.sites import SQLITE, Site, sites, wait_for

LEAF_PORT = 7422
#: Heads come every 30 s between real sites; a test has less patience.
HEADS_EVERY_S = "2"


class MeshSite(Site):
    """A site on a host of its own."""

    def __init__(
        self,
        root: Path,
        name: str,
        host: Host,
        *,
        hub: bool = False,
        dialable: bool = True,
        catalog: str = SQLITE,
        heads_every_s: str = HEADS_EVERY_S,
    ) -> None:
        overlay = {"LIBRARIAN_BUS__HEADS_EVERY_S": heads_every_s, "LIBRARIAN_BUS__LISTEN": "127.0.0.1:4222"}
        if hub:
            overlay["LIBRARIAN_BUS__LEAF_LISTEN"] = f"{host.address}:{LEAF_PORT}"
        if not dialable:
            overlay["LIBRARIAN_DATA__DIALABLE"] = "false"
        super().__init__(
            root, name, bus="embedded", catalog=catalog, address=host.address, run_on=host.prefix, overlay=overlay
        )
        self.host = host


class Mesh:
    """All sites of a mesh, the hub first. Made by :func:`mesh`."""

    def __init__(self, net: Network, all_sites: Sequence[MeshSite]) -> None:
        self.net = net
        self.sites = list(all_sites)
        self.by_name = {site.name: site for site in all_sites}

    @property
    def hub(self) -> MeshSite:
        """The site that the others dial."""
        return self.sites[0]

    def start(self) -> None:
        """Start all, and make one mesh of them."""
        self.hub.start()
        wait_for("the hub's bus is up", lambda: self.hub.client.status().bus.connected, self.hub, deadline_s=60)
        for site in self.sites[1:]:
            site.lbctl("site", "join", "--yes", self.hub.lbctl("site", "invite").strip())
            site.start()
        everybody = {site.name for site in self.sites}
        for site in self.sites:
            wait_for(
                f"{site.name} knows all and is linked to all",
                partial(self._all_up, site, everybody),
                *self.sites,
                deadline_s=60 + 5 * len(self.sites),
            )

    def _all_up(self, site: Site, everybody: set[str]) -> bool:
        return self.peers_up(site) == everybody - {site.name}

    def peers_up(self, site: Site) -> set[str]:
        """The peers whose link is up, as seen from one site."""
        return {peer.site for peer in site.client.status().peers if peer.link == "up"}

    def subscribe_all(self) -> None:
        """Everybody wants everything of everybody."""
        for site in self.sites:
            for other in self.sites:
                if other is not site:
                    site.lbctl("subscription", "add", "--from", other.name)

    def settled(self, files: int, *, deadline_s: float) -> None:
        """Wait until every site has so many files, all stored, and every site knows of all instances."""
        for site in self.sites:
            wait_for(
                f"{site.name} has {files} files and knows of them everywhere",
                partial(self._is_settled, site, files),
                *self.sites,
                deadline_s=deadline_s,
            )

    def _is_settled(self, site: Site, files: int) -> bool:
        counts = site.client.status().counts
        return counts.instances_here == files and counts.instances_elsewhere == files * (len(self.sites) - 1)

    def digests(self) -> dict[str, str]:
        """What ``events audit --digest`` prints at each site; equal where the catalogs are."""
        return {site.name: site.lbctl("events", "audit", "--digest") for site in self.sites}


@contextmanager
def mesh(
    root: Path,
    names: Sequence[str],
    *,
    undialable: Sequence[str] = (),
    catalogs: Sequence[str] = (),
    heads_every_s: str = HEADS_EVERY_S,
) -> Generator[Mesh]:
    """A running mesh; the first of ``names`` is the hub."""
    with ExitStack() as stack:
        net = stack.enter_context(network())
        made = [
            MeshSite(
                root / name,
                name,
                net.host(),
                hub=number == 0,
                dialable=name not in undialable,
                catalog=catalogs[number] if catalogs else SQLITE,
                heads_every_s=heads_every_s,
            )
            for number, name in enumerate(names)
        ]
        stack.enter_context(sites(*made))
        whole = Mesh(net, made)
        whole.start()
        yield whole
