"""A newcomer that reads a long journal: R2."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from pathlib import Path

from benchmarks.bench import journal_single
from benchmarks.bench.child import child
from benchmarks.bench.journals import tell, until
from benchmarks.bench.measure import cpu, ratio, value
from benchmarks.bench.processes import Watch
from benchmarks.bench.row import Bench, Figure, Row, Setting, Turn, Turns, Variant
from tests.support.nats import nats_server
from tests.support.sites import Site, free_port, sites

from librarian_protocol import subjects
from librarian_protocol.errors import LibrarianError
from librarian_protocol.names import SiteName

LIBRARIAN = "librarian"
RAW = "raw read, an entry a message"
SEGMENTS = "raw read of the segments"
#: Between two looks at a daemon that works for many seconds.
LOOK_S = 0.1
REPLAY = (
    "A nats-server of its own has the journal of summit, which tells of {files:,} files in segments of up to 512"
    " entries. Librarian: a new site joins; time goes from the first entries that it has applied to the last, each"
    " segment verified and committed durably to SQLite. Raw: a callback of nats-py is given messages in order, and does"
    " nothing with them: the same entries, each a message of its own in another stream; and the very segments, which"
    " shows what segments save. All count entries."
)


def applied(site: Site, origin: str) -> int:
    """How many entries of the origin's journal a site has applied; 0 where it does not answer yet."""
    with suppress(LibrarianError):
        return max((tip.seq for tip in site.client.site_tips(origin)), default=0)
    return 0


class Newcomers:
    """One joins each turn, and is killed when it has read all."""

    def __init__(self, root: Path, summit: Site, files: int) -> None:
        self._root = root
        self._summit = summit
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

    def raw(self, url: str, stream: str, subject: str) -> Callable[[], Awaitable[Turn]]:
        """The bus alone."""

        async def turn() -> Turn:
            found = await child("journal_read", url, stream, subject)
            return Turn(
                seconds=found["seconds"],
                amount=self._files,
                cpu_seconds={"reader": found["cpu_seconds"]},
                values={"messages": found["messages"], "MiB": found["bytes"] / (1 << 20)},
            )

        return turn


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
            single = stack.enter_context(nats_server(root / "single", free_port()))
            single.kill()
            single.configure(sync='"2m"')  # it is only read: what the filling of it costs is not measured
            single.start()
            await child("journal_single", single.url, amount)
            work = Newcomers(root, summit, amount)
            name = SiteName.parse(summit.name)
            segments = (subjects.stream(name), *subjects.stream_subjects(name))
            yield [
                Variant(name=LIBRARIAN, run=work.read),
                Variant(name=RAW, run=work.raw(single.url, *journal_single.NAMES)),
                Variant(name=SEGMENTS, run=work.raw(bus.url, *segments)),
            ]

    return opened


def _is_published(site: Site) -> bool:
    status = site.client.status()
    return status.bus.connected and status.journal.outbox == 0


def figures(turns: Turns) -> list[Figure]:
    """The ratio, and what an entry costs."""
    return [
        ratio("rate of the raw read, an entry a message", turns, LIBRARIAN, RAW, "≥ 0.3, stretch 0.4"),
        ratio("rate of the raw read of the segments", turns, LIBRARIAN, SEGMENTS),
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
