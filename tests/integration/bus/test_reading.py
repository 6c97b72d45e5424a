"""Publishing at one site and reading at another, on one shared server."""

from __future__ import annotations

from pathlib import Path

from tests.integration.bus.sites import A, B, numbers, shared, take


async def test_what_one_site_publishes_the_other_reads(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        assert await a.publish(1) == 1
        assert await b.publish(2) == 1
        (from_a,) = await take(b.bus, A, 0, 1)
        (from_b,) = await take(a.bus, B, 0, 1)
        assert (from_a.subject, from_a.payload, from_a.stream_seq) == ("lb.a.file.ingested", b"1", 1)
        assert from_a.headers["Nats-Msg-Id"] == "a-1"
        assert numbers([from_b]) == [2]
