"""A telescope that only dials out is cut off for a while: that costs time and nothing else."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.support.mesh import Mesh, mesh
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.sites import wait_for

#: ``LIBRARIAN_CUT_FILES=10000 LIBRARIAN_CUT_S=60`` is the whole of it; each commit runs a small one.
FILES = int(os.environ.get("LIBRARIAN_CUT_FILES", "600"))
CUT_S = float(os.environ.get("LIBRARIAN_CUT_S", "6"))
NAMES = ("archive", "telescope", "campus", "vault")


def in_order(seqs: list[int]) -> bool:
    """Whether they go up by one each."""
    return seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def assert_each_stored_once(all_of: Mesh, wanted: dict[str, str]) -> None:
    """Every site has every byte, and told of each instance once."""
    for site in all_of.sites:
        assert standing(site.store) == wanted
        for other in all_of.sites:
            if other.name != "telescope":
                assert site.told("instance.registered", other.name) == Counter(list(wanted))
        for other in all_of.sites:
            events = site.client.events(site=other.name, after=0)
            assert in_order([event.seq for event in events]), f"{other.name}'s entries at {site.name}"


@pytest.mark.timeout(900)
@pytest.mark.fault(15)
def test_what_was_dropped_while_the_link_was_cut_arrives_once_and_in_order(tmp_path: Path) -> None:
    with mesh(tmp_path, NAMES, undialable=["telescope"]) as all_of:
        telescope, archive = all_of.by_name["telescope"], all_of.by_name["archive"]
        for site in all_of.sites:
            if site is not telescope:
                site.lbctl("subscription", "add", "--from", "telescope")
        data = {f"obs/{n // 100:03}/{n:05}.dat": some_bytes(4096, n) for n in range(FILES)}

        telescope.host.cut()
        cut_at = time.monotonic()
        by_tree: dict[str, dict[str, bytes]] = {}
        for name, content in data.items():
            _, night, leaf = name.split("/")
            by_tree.setdefault(night, {})[leaf] = content
        (telescope.drop / "obs").mkdir(exist_ok=True)
        for night, files in by_tree.items():
            telescope.make_book(f"obs-{night}", files).rename(telescope.drop / "obs" / night)
        wait_for(
            "all are ingested while the link is cut",
            lambda: telescope.client.status().counts.instances_here == FILES,
            telescope,
            deadline_s=120,
        )
        ingested_s = time.monotonic() - cut_at
        assert telescope.client.status().counts.instances_elsewhere == 0
        while time.monotonic() < cut_at + CUT_S:
            wait_for("the cut goes on", lambda: time.monotonic() >= cut_at + CUT_S, telescope, deadline_s=CUT_S + 1)

        telescope.host.mend()
        mended_at = time.monotonic()
        wait_for("the first file has arrived", lambda: archive.client.status().counts.instances_here, *all_of.sites)
        first_s = time.monotonic() - mended_at
        wait_for(
            "the telescope knows of all",
            lambda: telescope.client.status().counts.instances_elsewhere == 3 * FILES,
            *all_of.sites,
            deadline_s=600,
        )
        sys.stdout.write(
            f"{FILES} files: ingested in {ingested_s:.1f} s while cut; after the link was mended the first arrived"
            f" within {first_s:.1f} s, all were acknowledged by three sites within"
            f" {time.monotonic() - mended_at:.1f} s\n"
        )
        all_of.settled(FILES, deadline_s=60)
        assert_each_stored_once(all_of, {name: digest_of(content) for name, content in data.items()})
        assert len(set(all_of.digests().values())) == 1
