"""A daemon before those who hold it up, and short of what its host gives it (rows 45 and 49)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.processes import daemon_of
from tests.support.sites import Site, free_port, pair, sites

#: From the connection to the end of the header (ServerLimits), and some for a busy machine.
CUT_WITHIN_S = 20.0
MIB = 1 << 20
#: What may be used besides, whatever strangers do.
GROWTH_BYTES = 48 * MIB


def rss_bytes(pid: int) -> int:
    """Memory of a process that is resident now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


class Watched:
    """An honest reader beside the strangers, and the daemon's memory."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.pid = daemon_of(site)
        self.before = rss_bytes(self.pid)
        self.most = self.before
        self.answered = 0
        self.slowest_s = 0.0

    async def run(self) -> None:
        """Ask again and again, each time on a new connection."""
        while True:
            began = time.monotonic()
            await self._ask()
            self.answered += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.most = max(self.most, rss_bytes(self.pid))
            await asyncio.sleep(0.05)  # a pace, not a synchronisation

    async def _ask(self) -> None:
        """Until it is answered: a refused connection is tried again, as every reader does."""
        url = f"http://127.0.0.1:{self.site.data_port}/livez"
        while True:
            try:
                async with aiohttp.ClientSession() as session, session.get(url) as response:
                    assert response.status == 200
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def watched(site: Site) -> AsyncGenerator[Watched]:
    """While the block runs others are served, and memory stays flat."""
    honest = Watched(site)
    task = asyncio.create_task(honest.run())
    try:
        yield honest
        answered = honest.answered
        async with asyncio.timeout(CUT_WITHIN_S):
            while honest.answered == answered:
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert honest.answered > 1
    assert honest.slowest_s < CUT_WITHIN_S
    assert honest.most - honest.before < GROWTH_BYTES, f"{(honest.most - honest.before) / MIB:.0f} MiB more"


async def connect(site: Site, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", site.data_port, local_addr=(source, 0))


async def is_cut(reader: asyncio.StreamReader) -> None:
    """The server ends the connection."""
    with suppress(ConnectionError):
        await reader.read()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[Site]:
    made = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
    with sites(made):
        made.start()
        yield made


@pytest.mark.fault(45)
async def test_row_45_half_open_connections_are_cut_in_seconds_and_others_are_served(site: Site) -> None:
    async with watched(site):
        strangers = [await connect(site, f"127.0.1.{1 + n % 10}") for n in range(300)]
        for number, (_, writer) in enumerate(strangers):
            writer.write([b"GET /livez HTTP/1.1\r\nX-Slow: ", b"G", b"POST /x HTTP/1.1\r\n"][number % 3])
        async with asyncio.timeout(CUT_WITHIN_S):
            await asyncio.gather(*(is_cut(reader) for reader, _ in strangers))
        for _, writer in strangers:
            writer.close()


@pytest.mark.fault(45)
async def test_row_45_ten_thousand_idle_connections_are_cut_and_others_are_served(site: Site) -> None:
    async with watched(site):
        ends: list[asyncio.Task[None]] = []
        writers: list[asyncio.StreamWriter] = []
        for number in range(10_000):
            try:
                reader, writer = await connect(site, f"127.0.{2 + number % 50}.{1 + number % 7}")
            except ConnectionError:
                continue  # cut at once
            writers.append(writer)
            ends.append(asyncio.create_task(is_cut(reader)))
        async with asyncio.timeout(CUT_WITHIN_S):
            await asyncio.gather(*ends)
        for writer in writers:
            writer.close()


@pytest.mark.fault(45)
@pytest.mark.parametrize("chunked", [False, True])
async def test_row_45_a_body_of_a_gigabyte_is_refused_long_before_its_end(site: Site, chunked: bool) -> None:
    head = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: 1000000000\r\n"
    piece = b"\0" * MIB
    if chunked:
        piece = b"%x\r\n%s\r\n" % (len(piece), piece)
    async with watched(site):
        for path in (b"/data/v1/bundle", b"/livez", b"/nothing"):
            reader, writer = await connect(site, "127.0.1.1")
            writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, head))
            answered = asyncio.create_task(reader.read(100))
            sent = 0
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(CUT_WITHIN_S):
                    while sent < 1000 * MIB and not answered.done():
                        writer.write(piece)
                        await writer.drain()
                        sent += MIB
            assert sent < 200 * MIB, "it was taken"
            async with asyncio.timeout(CUT_WITHIN_S):
                with suppress(ConnectionError):
                    assert re.match(rb"HTTP/1.[01] 4\d\d |$", await answered)
            writer.close()


@pytest.mark.fault(45)
@pytest.mark.parametrize(
    "header",
    [b"X-Long: " + b"a" * 20_000 + b"\r\n", b"".join(b"X-%d: 1\r\n" % n for n in range(5000))],
    ids=["20 KB", "5000 lines"],
)
async def test_row_45_a_header_that_is_too_large_is_a_bad_request(site: Site, header: bytes) -> None:
    async with watched(site):
        for _ in range(50):
            reader, writer = await connect(site, "127.0.1.1")
            with suppress(ConnectionError):
                writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n")
                await writer.drain()
            async with asyncio.timeout(CUT_WITHIN_S):
                try:
                    answer = await reader.read()
                except ConnectionError:
                    answer = b""
            assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
            writer.close()


@pytest.mark.fault(49)
def test_row_49_with_few_descriptors_work_goes_on_and_it_is_said(tmp_path: Path) -> None:
    """`ulimit -n 64`: transfers of many files get through, nothing loops, nothing is lost."""
    few = ["prlimit", "--nofile=64:64", "--"]
    with pair(tmp_path, subscribe=False) as both:
        source, destination = both.sites
        destination.stop()
        destination.run_on = few
        destination.start()
        wanted = {f"f{n:03}.dat": some_bytes(4000 + n, n) for n in range(300)}
        for name, data in wanted.items():
            source.drop_file(name, data)
        destination.lbctl("subscription", "add", "--from", "summit")
        digests = {name: digest_of(data) for name, data in wanted.items()}
        both.wait_for("everything arrives", lambda: standing(destination.store) == digests)
        assert "WARNING  open files: 64 are allowed" in destination.lbctl("doctor")
        both.assert_whole()
