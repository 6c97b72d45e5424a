"""Wall clocks that are years off, at one of two sites (row 26)."""

from __future__ import annotations

import platform
from collections import Counter
from pathlib import Path

import pytest
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.programs import needs
from tests.support.sites import Pair, Site, pair

LIBRARY = Path(f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketimeMT.so.1")


def with_clock(site: Site, offset: str) -> None:
    """Start the daemon again with another wall clock; its monotonic clocks go right, as those of a host do."""
    site.stop()
    site.overlay |= {"LD_PRELOAD": str(LIBRARY), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    site.start()


def with_right_clock(site: Site) -> None:
    site.stop()
    for name in ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"):
        site.overlay.pop(name)
    site.start()


def drop_some(both: Pair, prefix: str) -> dict[str, str]:
    """At both sites."""
    wanted: dict[str, str] = {}
    for site in both.sites:
        for number in range(5):
            name, data = f"{prefix}-{site.name}-{number}", some_bytes(2000, (prefix, site.name, number))
            site.drop_file(name, data)
            wanted[name] = digest_of(data)
    return wanted


@pytest.mark.fault(26)
@pytest.mark.parametrize("offset", ["+3650d", "-3650d"])
def test_row_26_a_clock_that_is_years_off_changes_nothing_that_is_safe_and_is_named(
    tmp_path: Path, offset: str
) -> None:
    needs("faketime")
    with pair(tmp_path) as both:
        source, destination = both.sites
        source.lbctl("subscription", "add", "--from", "archive")
        wanted = drop_some(both, "before")
        both.wait_for("all is everywhere", lambda: all(standing(site.store) == wanted for site in both.sites))

        with_clock(destination, offset)
        during = drop_some(both, "during")
        both.wait_for(
            "both go on taking in, and hear of one another",
            lambda: all(site.client.status().counts.files == len(wanted | during) for site in both.sites),
        )
        both.wait_for(
            "transfers wait, and name the clocks",
            lambda: any("clock" in f"{transfer.message} {transfer.hint}" for transfer in destination.transfers()),
        )
        for site in both.sites:
            assert site.told("instance.suspected") == Counter(), "nobody's bytes are doubted for it"

        with_right_clock(destination)
        for site in both.sites:
            for transfer in site.transfers():
                site.try_now(transfer.id)
        wanted |= during
        both.wait_for("all arrives", lambda: all(standing(site.store) == wanted for site in both.sites))
        for site in both.sites:
            assert site.told("file.ingested") == Counter(list(wanted)), "each once"
        both.wait_for("nothing complains", lambda: all(site.client.status().healthy for site in both.sites))
        both.assert_whole()
