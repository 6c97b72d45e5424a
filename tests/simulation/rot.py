"""Disks that lose bytes silently: one bit of a stored file is another one, and only reading finds that.

A file rots at one site only, and only while another site has it: it must be mended there. While its bytes are bad, what
the site claims of it is not so, and nobody can blame it for that.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from sqlalchemy import select
from tests.simulation.site import SimSite
from tests.simulation.world import World

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.integrity import scrubbing
from librarian_protocol.names import SiteName


class Rot:
    """What has rotted in one run."""

    def __init__(self, world: World, sites: Mapping[SiteName, SimSite], spared: Container[str]) -> None:
        """Names that are ``spared`` may come to be in conflict: then nobody transfers what they mean."""
        self._world = world
        self._spared = spared
        self._sites = sites
        #: The bad bytes, by site and name.
        self._bad: dict[tuple[SiteName, str], bytes] = {}

    def strike(self, site: SiteName, most: int) -> None:
        """Up to so many files of a site rot."""
        here = self._sites[site]
        others = [other for other in self._sites.values() if other is not here]
        before = {name for _, name in self._bad}
        good = [
            name
            for name in _available(here)
            if name not in before
            and name not in self._spared
            and any(name in _available(other) for other in others)
            and here.disk.holds(name)
        ]
        for name in good[:most]:
            inode = here.disk.volume.named[name]
            inode.data[0] ^= 1
            inode.settle()
            self._bad[site, name] = bytes(inode.data)
            here.disk.rotted_s[name] = self._world.loop.now_s
            self._world.counts["file rotted"] += 1

    def is_bad(self, site: SiteName, name: str) -> bool:
        """Whether its bytes have rotted, and are not mended yet."""
        return self._sites[site].disk.holds(name) == self._bad.get((site, name), b"\0never")

    def left(self) -> list[tuple[SiteName, str]]:
        """What is not mended yet."""
        return [key for key in self._bad if self.is_bad(*key)]

    def check_frozen(self, site: SimSite) -> None:
        """Called before anything is read: where too much was found bad, that was committed before."""
        read = site.database.inline
        last = read(scrubbing.last_pass, site.store.id)
        if last is not None and last.bad > site.freeze_at and not read(scrubbing.is_frozen, site.store.id):
            self._world.violated(f"I3: {site.site} reads on in a store in which {last.bad} instances are bad")


def _available(site: SimSite) -> list[str]:
    file, instance = schema.file.c, schema.instance.c
    query = (
        select(file.name)
        .join(schema.instance, instance.file_id == file.id)
        .where(instance.site == str(site.site), instance.state == "available")
        .order_by(file.name)
    )
    return list(site.database.outside.execute(query).scalars())
