"""A restart of a site to which much is owed: R1."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from pathlib import Path

from benchmarks.bench.journals import DEADLINE_S, tell, until
from benchmarks.bench.measure import ratio, value
from benchmarks.bench.processes import peak_bytes
from benchmarks.bench.row import Bench, Figure, Row, Setting, Turn, Turns, Variant
from tests.support.sites import Site, free_port, join, sites, wait_for

from librarian_protocol.errors import LibrarianError

LOOK_S = 0.1
FEW = 100
RESTART = (
    "The journal of summit tells of so many files, and archive wants all of them. Summit's address is a listener that"
    " takes connections and answers nothing, so that everything stays owed. Archive is killed with SIGKILL and started"
    " again; time goes from the start of the process to the first byte of its first request for files there."
)


class Silent:
    """A listener that answers nothing, and says when it is asked something."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection: it is held until the other end leaves."""
        with suppress(OSError):
            while await reader.read(1 << 16):
                self._asked.set()
        writer.close()

    def forget(self) -> None:
        """What was asked until now."""
        self._asked.clear()

    async def asked(self) -> float:
        """When something is asked from now on, on the monotonic clock."""
        await asyncio.wait_for(self._asked.wait(), DEADLINE_S)
        return time.monotonic()


class Restarts:
    """Of a site to which so much is owed."""

    def __init__(self, archive: Site, source: Silent) -> None:
        self._archive = archive
        self._source = source

    async def turn(self) -> Turn:
        """One restart; the site is killed again."""
        await asyncio.to_thread(self._archive.kill)
        self._source.forget()
        began = time.monotonic()
        self._archive.spawn()
        ended = await self._source.asked()
        assert self._archive.process is not None
        await asyncio.to_thread(wait_for, "it answers", self._archive.answers, self._archive)
        peak = peak_bytes(self._archive.process.pid)
        await asyncio.to_thread(self._archive.kill)
        return Turn(seconds=ended - began, amount=1, peak_bytes={"archive": peak})


async def owing(root: Path, owed: int, stack: ExitStack, source: Silent, port: int) -> Site:
    """A pair of sites of which the second wants so many files, which it cannot have; both are stopped."""
    root.mkdir()
    summit = Site(root / "summit", "summit", bus=f"embedded:{free_port()}", advertise=f"127.0.0.1:{port}")
    archive = Site(root / "archive", "archive")
    stack.enter_context(sites(summit, archive))
    await tell(summit, owed)

    def make() -> None:
        summit.start()
        wait_for("the bus is up", lambda: summit.client.status().bus.connected, summit)
        join(summit, archive)
        archive.lbctl("subscription", "add", "--from", "summit")
        until("all is planned", lambda: _owed(archive) >= owed, LOOK_S)

    await asyncio.to_thread(make)
    await source.asked()
    await asyncio.to_thread(archive.kill)
    return archive


def _owed(site: Site) -> int:
    with suppress(LibrarianError):
        counts = site.client.status().transfers
        return sum(count for state, count in counts.items() if state not in {"stored", "cancelled"})
    return 0


def named(owed: int) -> str:
    """The name of a variant."""
    return f"{owed:,} owed"


def restarts(many: int) -> Callable[[Setting], AbstractAsyncContextManager[Sequence[Variant]]]:
    """Opens a bench with few, and with so many owed."""

    @asynccontextmanager
    async def opened(setting: Setting) -> AsyncGenerator[Sequence[Variant]]:
        variants: list[Variant] = []
        with ExitStack() as stack:
            for meant, owed in ((FEW, FEW), (many, setting.amount(many, 2 * FEW))):
                source, port = Silent(), free_port()
                server = await asyncio.start_server(source.take, "127.0.0.1", port)
                stack.callback(server.close)
                archive = await owing(setting.scratch.path / f"owed-{owed}", owed, stack, source, port)
                variants.append(Variant(name=named(meant), run=Restarts(archive, source).turn))
            yield variants

    return opened


def figures(many: int) -> Callable[[Turns], Sequence[Figure]]:
    """How much longer it takes, and the memory it takes."""
    return lambda turns: [
        ratio(f"time with {FEW} owed", turns, named(FEW), named(many), "≤ 2"),
        *(
            value(f"to the first byte, {named(owed)}", "s", turns, named(owed), lambda turn: turn.seconds)
            for owed in (FEW, many)
        ),
        value("memory", "MiB", turns, named(many), lambda turn: turn.peak_bytes["archive"] / (1 << 20), "≤ 300"),
    ]


def row(name: str, many: int, scratch_gib: float, *, only_named: bool = False) -> Row:
    """R1 with so many owed."""
    return Row(
        id=name,
        work=f"restart with {many:,} transfers owed, to the first byte",
        against=f"the same with {FEW}",
        bench=Bench(name=name, unit="starts", method=RESTART, open=restarts(many), scratch_gib=scratch_gib),
        figures=figures(many),
        only_named=only_named,
    )


ROWS = [row("R1", 100_000, 4.0), row("R1-1m", 1_000_000, 16.0, only_named=True)]
