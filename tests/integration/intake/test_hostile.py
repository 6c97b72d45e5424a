"""Somebody who swaps directories for links while we work makes us neither read nor write elsewhere (I9)."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.intake import Rig

from librarian_protocol.digests import Digest

SECRET = b"nobody's business"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.mark.fault(31)
async def test_a_directory_swapped_for_a_link_never_lets_us_out(rig: Rig, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(SECRET)
    before = sorted(os.listdir(outside))
    stop = threading.Event()

    def attack() -> None:
        here, link = rig.drop / "d", rig.drop / "link.tmp"
        for number in range(10_000):
            if stop.is_set():
                return
            with suppress(OSError):
                here.mkdir()
            with suppress(OSError):
                (here / "f").write_bytes(b"%d" % number)
            with suppress(OSError):
                link.symlink_to(outside)
            with suppress(OSError):
                here.rename(rig.drop / "aside.tmp")
            with suppress(OSError):
                link.rename(here)
            with suppress(OSError):
                here.unlink()
            shutil.rmtree(rig.drop / "aside.tmp", ignore_errors=True)

    attacker = threading.Thread(target=attack)
    async with rig.running(complete="rename", watch="poll", poll_every_s=0.005, quiet_s=0.01) as intake:
        attacker.start()
        try:
            await asyncio.sleep(2.0)
        finally:
            stop.set()
            attacker.join()
        assert intake.snapshot().state != "paused" or rig.incidents.ever
        rig.dropped("last")
        await rig.until(lambda: "last" in rig.ledger.names)
    assert sorted(os.listdir(outside)) == before
    assert (outside / "f").read_bytes() == SECRET
    assert Digest.blake3(SECRET) not in {entry.digest for entry in rig.ledger.accepted}
    for path in rig.root.rglob("*"):
        if path.is_file() and ".librarian" not in path.parts:
            assert path.read_bytes() != SECRET


async def test_a_claimed_area_that_is_somebody_elses_is_not_used(rig: Rig) -> None:
    if os.geteuid() != 0:
        pytest.skip("changing owners takes root")
    (rig.drop / ".claimed").mkdir()
    os.chown(rig.drop / ".claimed", 12345, 12345)
    rig.dropped("x")
    async with rig.running() as intake:
        await rig.until(lambda: intake.snapshot().state == "paused")
        assert "belongs to somebody else" in intake.snapshot().detail
        os.chown(rig.drop / ".claimed", 0, 0)
        await rig.accepted("x")
        assert intake.snapshot().state != "paused"
    assert rig.incidents.now == {}


async def test_a_link_in_place_of_the_claimed_area_is_not_followed(rig: Rig, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (rig.drop / ".claimed").symlink_to(outside)
    rig.dropped("x")
    async with rig.running() as intake:
        await rig.until(lambda: intake.snapshot().state == "paused")
        await asyncio.sleep(0.3)
    assert list(outside.iterdir()) == []
    assert (rig.drop / "x").exists()
