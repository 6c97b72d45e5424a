"""A newcomer that reads a long journal: R2."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from pathlib import Path

from benchmarks.bench.child import child
from benchmarks.bench.journals import tell, until
from benchmarks.bench.measure import cpu, ratio, value
from benchmarks.bench.processes import Watch
from benchmarks.bench.row import Bench, Figure, Row, Setting, Turn, Turns, Variant
from tests.support.nats import NatsServer, nats_server
from tests.support.sites import Site, free_port, sites

from librarian_protocol.errors import LibrarianError

LIBRARIAN = "librarian"
RAW = "raw read of the stream"
#: Between two looks at a daemon that works for many seconds.
LOOK_S = 0.1
REPLAY = (
    "A nats-server of its own (sync_interval always) has the journal of summit, which tells of {files:,} files in"
    " segments of up to 512 entries. Librarian: a new site joins; time goes from the first entries that it has applied"
    " to the last, each segment verified and committed durably to SQLite. Raw: nats-py has the same messages pushed to"
    " it in order, and does nothing with them. Both count entries."
)


def applied(site: Site, origin: str) -> int:
    """How many entries of the origin's journal a site has applied; 0 where it does not answer yet."""
    with suppress(LibrarianError):
        return max((tip.seq for tip in site.client.site_tips(origin)), default=0)
    return 0


class Newcomers:
    """One joins each turn, and is killed when it has read all."""

    def __init__(self, root: Path, summit: Site, bus: NatsServer, files: int) -> None:
        self._root = root
        self._summit = summit
        self._bus = bus
        self._files = files
        self._turns = 0

    async def read(self) -> Turn:
        """A new site."""
        self._turns += 1
        name = f"archive-{self._turns}"
        site = Site(self._root / name, name)
        with sites(site):
            site.lbctl("site", "join", self._summit.lbctl("site", "invite").strip())
            site.spawn()
            until("it reads", lambda: applied(site, "summit") > 0, 0.005)
            watch = Watch(lambda: {"newcomer": site.process.pid} if site.process else {})
            watch.begin()
            before, began = applied(site, "summit"), time.monotonic()
            ended = until("it has read all", lambda: applied(site, "summit") >= self._files, LOOK_S)
            usage = watch.end()
        return Turn(
            seconds=ended - began,
            amount=self._files - before,
            cpu_seconds=usage.cpu_seconds,
            peak_bytes=usage.peak_bytes,
        )

    async def raw(self) -> Turn:
        """The bus alone."""
        found = await child("journal_read", self._bus.url, "summit")
        return Turn(
            seconds=found["seconds"],
            amount=self._files,
            cpu_seconds={"reader": found["cpu_seconds"]},
            values={"messages": found["messages"], "MiB": found["bytes"] / (1 << 20)},
        )


def replay(files: int) -> Callable[[Setting], AbstractAsyncContextManager[Sequence[Variant]]]:
    """Opens a bench with a journal of so many entries on the bus."""

    @asynccontextmanager
    async def opened(setting: Setting) -> AsyncGenerator[Sequence[Variant]]:
        amount, root = setting.amount(files, 2_000), setting.scratch.path
        with ExitStack() as stack:
            bus = stack.enter_context(nats_server(root / "bus", free_port()))
            summit = Site(root / "summit", "summit", bus=bus.url)
            stack.enter_context(sites(summit))
            await tell(summit, amount)
            summit.start()
            until("all is published", lambda: _is_published(summit), LOOK_S)
            work = Newcomers(root, summit, bus, amount)
            yield [Variant(name=LIBRARIAN, run=work.read), Variant(name=RAW, run=work.raw)]

    return opened


def _is_published(site: Site) -> bool:
    status = site.client.status()
    return status.bus.connected and status.journal.outbox == 0


def figures(turns: Turns) -> list[Figure]:
    """The ratio, and what an entry costs."""
    return [
        ratio("rate of the raw read", turns, LIBRARIAN, RAW, "≥ 0.3, stretch 0.4"),
        value("replayed", "entries/s", turns, LIBRARIAN, lambda turn: turn.rate),
        value("CPU", "µs/entry", turns, LIBRARIAN, lambda turn: cpu(turn) / turn.amount * 1e6),
    ]


def row(name: str, files: int, scratch_gib: float, *, only_named: bool = False) -> Row:
    """R2 with a journal of so many entries."""
    return Row(
        id=name,
        work=f"replay of {files:,} journal entries into an empty catalog",
        against=RAW,
        bench=Bench(
            name=name,
            unit="entries",
            method=REPLAY.format(files=files),
            open=replay(files),
            scratch_gib=scratch_gib,
        ),
        figures=figures,
        only_named=only_named,
    )


ROWS = [row("R2", 100_000, 4.0), row("R2-1m", 1_000_000, 16.0, only_named=True)]
