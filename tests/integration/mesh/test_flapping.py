"""Links at 50 Mbit/s that come and go, silently each third time: everything arrives, and little is sent twice."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.mesh import MeshSite, mesh
from tests.support.network_flap import flapping
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.sites import wait_for

MBIT_PER_S = 50
LARGE = 12 << 20
SMALL = 40


def sent_bytes(site: MeshSite) -> int:
    """What has left the host so far, headers and all."""
    command = [*site.host.prefix, "cat", "/sys/class/net/eth0/statistics/tx_bytes"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def drop_mixture(site: MeshSite) -> dict[str, bytes]:
    """Small files, two large ones and a book; what a store must hold of them."""
    files = {f"{site.name}-{n:02}.dat": some_bytes(3000, (site.name, n)) for n in range(SMALL)}
    files |= {f"{site.name}-large-{n}.dat": some_bytes(LARGE, (site.name, "large", n)) for n in range(2)}
    for name, content in files.items():
        site.drop_file(name, content)
    book = {f"{n}.dat": some_bytes(2 << 20, (site.name, "book", n)) for n in range(2)}
    site.drop_book(f"{site.name}-night", book)
    return files | {f"{site.name}-night/{name}": content for name, content in book.items()}


@pytest.mark.timeout(400)
@pytest.mark.fault(16)
def test_everything_arrives_over_flapping_links_and_no_large_file_is_sent_three_times(tmp_path: Path) -> None:
    """From a site that is dialled and from one that pushes, at the same time."""
    with mesh(tmp_path, ("archive", "dome", "mirror"), undialable=["mirror"]) as all_of, ExitStack() as links:
        archive, *sources = all_of.sites
        for site in sources:
            archive.lbctl("subscription", "add", "--from", site.name)
            site.host.limit(MBIT_PER_S)
        before = {site.name: sent_bytes(site) for site in sources}
        wanted: dict[str, bytes] = {}
        of: dict[str, int] = {}
        for site in sources:
            links.enter_context(flapping(site.host))
            mine = drop_mixture(site)
            of[site.name] = sum(map(len, mine.values()))
            wanted |= mine
        wait_for(
            "all has arrived, and the sources know",
            # The other source's instances, and those of both at the archive.
            lambda: all(site.client.status().counts.instances_elsewhere == 3 * (SMALL + 3) for site in sources),
            *all_of.sites,
            deadline_s=300,
        )
        for site in sources:
            sent = sent_bytes(site) - before[site.name]
            assert sent < 2 * of[site.name], f"{site.name} sent {sent:,} bytes for {of[site.name]:,}"
        found = standing(archive.store)
        assert found == {name: digest_of(content) for name, content in wanted.items()}
