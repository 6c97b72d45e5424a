"""Whatever the bus loses, journals bring back: from whoever holds them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client
from tests.support.nats import NatsServer, nats_server
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.sites import Pair, Site, free_port, join, pair, sites, wait_for

SOON = {"# heads_every_s = 30.0": "heads_every_s = 1.0"}


@contextmanager
def pair_on(root: Path) -> Generator[tuple[Pair, NatsServer]]:
    """A pair on a nats-server of its own, which a test may harm."""
    with nats_server(root / "nats", free_port()) as server, pair(root, bus=server.url, changed=SOON) as both:
        yield both, server


def drop_some(both: Pair, prefix: str, number: int = 10) -> dict[str, str]:
    """Drop files at the source; what must arrive."""
    data = {f"{prefix}-{n}.dat": some_bytes(2000, (prefix, n)) for n in range(number)}
    for name, content in data.items():
        both.source.drop_file(name, content)
    return {name: digest_of(content) for name, content in data.items()}


def knows(site: Site, other: str) -> bool:
    """Whether it heard of the other's admission: it asks nobody of whom it did not."""
    return other in {known.site for known in site.client.sites()}


async def purge(server: NatsServer, site: str) -> None:
    """What an administrator of the server can do."""
    client = Client()
    await client.connect(server.url)
    answer = await client.request(f"$JS.API.STREAM.PURGE.LB_{site}", b"", timeout=5)
    assert b'"success":true' in answer.data
    await client.close()


@pytest.mark.fault(19)
async def test_a_purged_stream_is_made_up_for_by_asking(tmp_path: Path) -> None:
    """The server says nothing of it, and no number goes back: only heads tell."""
    with pair_on(tmp_path) as (both, server):
        wanted = drop_some(both, "before")
        both.acknowledged(10)
        both.destination.stop()
        wanted |= drop_some(both, "lost")
        both.wait_for("all are sent", lambda: both.source.client.status().journal.outbox == 0)
        both.wait_for("all are ingested", lambda: len(both.source.told("file.ingested")) == 20)
        both.wait_for("all are sent", lambda: both.source.client.status().journal.outbox == 0)
        await purge(server, "summit")
        both.destination.start()
        both.acknowledged(20)
        assert both.destination.logged("repaired")
        assert standing(both.destination.store) == wanted
        both.assert_whole()


@pytest.mark.fault(21)
async def test_what_a_third_site_holds_is_had_from_it_while_its_origin_is_away(tmp_path: Path) -> None:
    with pair_on(tmp_path) as (both, server):
        vault = Site(tmp_path / "vault", "vault", changed=SOON)
        with sites(vault):
            join(both.source, vault)
            both.wait_for("the archive knows the vault", lambda: knows(both.destination, "vault"))
            both.destination.stop()
            drop_some(both, "seen-by-vault")
            wait_for("vault heard", lambda: len(vault.told("file.ingested")) == 10, vault, both.source)
            both.source.stop()  # first: it would send again what the bus lost
            await purge(server, "summit")
            both.destination.start()
            wait_for(
                "the archive hears of it from the vault",
                lambda: len(both.destination.told("file.ingested", "summit")) == 10,
                both.destination,
                vault,
            )
            wait_for(
                "the archive had it from the vault",
                lambda: any(
                    (line["origin"], line["peer"]) == ("summit", "vault")
                    for line in both.destination.logged("repaired")
                ),
                both.destination,
            )
            both.source.start()
            both.acknowledged(10)


@pytest.mark.parametrize("harm", ["deleted", "flipped", "truncated"])
@pytest.mark.fault(18, 19, 20)
def test_a_bus_that_lost_its_disk_or_parts_of_it_is_filled_again(tmp_path: Path, harm: str) -> None:
    with pair_on(tmp_path) as (both, server):
        wanted = drop_some(both, "before")
        both.acknowledged(10)
        both.destination.stop()
        wanted |= drop_some(both, "meanwhile")
        both.wait_for("all are ingested", lambda: len(both.source.told("file.ingested")) == 20)
        both.wait_for("all are sent", lambda: both.source.client.status().journal.outbox == 0)
        server.kill()
        spoil(tmp_path / "nats" / "js", harm)
        server.start()
        both.destination.start()
        both.acknowledged(20, deadline_s=90)
        assert standing(both.destination.store) == wanted
        both.assert_whole()


@pytest.mark.fault(20, 21)
def test_row_21_a_bus_that_tells_another_story_than_before_deceives_nobody(tmp_path: Path) -> None:
    """Its directory is put back to an older copy: what is published then has the numbers of what was read already."""
    with pair_on(tmp_path) as (both, server):
        stored, copy = tmp_path / "nats" / "js", tmp_path / "copy"
        wanted = drop_some(both, "before")
        both.acknowledged(10)
        both.wait_for("all are sent", lambda: both.destination.client.status().journal.outbox == 0)
        server.kill()
        shutil.copytree(stored, copy)
        server.start()
        wanted |= drop_some(both, "on-the-one-side")
        both.acknowledged(20, deadline_s=90)
        server.kill()
        shutil.rmtree(stored)
        copy.rename(stored)
        server.start()
        wanted |= drop_some(both, "on-the-other")
        both.acknowledged(30, deadline_s=90)
        assert standing(both.destination.store) == wanted
        assert both.source.logged("bus_amnesia"), "it is said"
        both.wait_for("it is over", lambda: "bus-amnesia" not in both.source.problems())
        both.assert_whole()


def spoil(directory: Path, harm: str) -> None:
    """Harm the stored messages of every stream."""
    if harm == "deleted":
        shutil.rmtree(directory)
        return
    blocks = list(directory.rglob("*.blk"))
    assert blocks
    for block in blocks:
        size = block.stat().st_size
        if harm == "truncated":
            os.truncate(block, size // 2)
        else:
            with block.open("r+b") as file:
                file.seek(size // 2)
                byte = file.read(1)
                file.seek(size // 2)
                file.write(bytes([byte[0] ^ 0xFF]))


def test_a_bus_killed_under_load_loses_nothing(tmp_path: Path) -> None:
    with pair_on(tmp_path) as (both, server):
        wanted: dict[str, str] = {}
        for number in range(4):
            wanted |= drop_some(both, f"round-{number}")
            server.kill()
            server.start()
        both.acknowledged(40, deadline_s=90)
        assert standing(both.destination.store) == wanted
        both.assert_whole()
