"""Small files from committed at one site to acknowledged there: S1 to S4."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from benchmarks.bench import rsync
from benchmarks.bench.measure import cpu, ratio, value
from benchmarks.bench.row import Bench, Figure, Row, Setting, Turn, Turns, Variant
from benchmarks.bench.sites import TwoSites, two_sites

LIBRARIAN = "librarian"
DURABLE = "rsync -a --fsync"
PLAIN = "rsync -a"
#: Files in each directory of a tree.
EACH_DIRECTORY = 500
PEERS = {DURABLE: ["-a", "--fsync"], PLAIN: ["-a"]}
METHOD = (
    "Librarian: a tree of {files:,} files of {kib} KiB is dropped at summit and committed there while archive is"
    " stopped (SIGSTOP), and all is written to disk. Time begins when archive goes on (SIGCONT) and ends when summit"
    " has applied its last entry: journal over the bus, planning, bytes over http, verified, durable, its journal back"
    " over the bus. What summit does to commit and to publish is before it. rsync: the same tree out of summit's store,"
    " by its daemon on the loopback interface, into a new directory on the same filesystem. Sources are cached on both"
    " sides. Catalogs are SQLite, grow from turn to turn, and nothing is deleted of them; what rsync wrote is deleted"
    " after each turn."
)


class Pulls:
    """Trees that go from summit to archive, one a turn; peers copy the last one."""

    def __init__(self, setting: Setting, sites: TwoSites, files: int, size_bytes: int) -> None:
        self._setting = setting
        self._sites = sites
        self._files = files
        self._size_bytes = size_bytes
        self._directories = [f"{number:05}" for number in range(-(-files // EACH_DIRECTORY))]
        self._tree = ""

    async def turn(self) -> Turn:
        """One tree by the Librarian."""
        tree = self._sites.make_tree(self._files, self._size_bytes, self._directories)
        self._tree = tree.name
        return self._sites.pull(tree, self._files, self._files)

    def peer(self, daemon: rsync.Rsync, options: Sequence[str]) -> Callable[[], Awaitable[Turn]]:
        """The same tree by rsync."""

        async def turn() -> Turn:
            destination = self._setting.scratch.path / "copied"
            try:
                return daemon.copy(f"{self._tree}/", destination, options, self._files)
            finally:
                shutil.rmtree(destination)

        return turn


def pulls(
    files: int, size_bytes: int, others: Sequence[Variant] = (), *, peers: Sequence[str] = tuple(PEERS)
) -> Callable[[Setting], AbstractAsyncContextManager[Sequence[Variant]]]:
    """Opens a bench of so many files of that size; ``others`` are named beside."""

    @asynccontextmanager
    async def opened(setting: Setting) -> AsyncGenerator[Sequence[Variant]]:
        absent = rsync.why_absent()
        async with AsyncExitStack() as stack:
            sites = await stack.enter_async_context(two_sites(setting))
            work = Pulls(setting, sites, setting.amount(files, 10), size_bytes)
            variants = [Variant(name=LIBRARIAN, run=work.turn)]
            if setting.count:
                pass
            elif peers and not absent:
                root = setting.scratch.path / "rsyncd"
                daemon = await stack.enter_async_context(rsync.rsync_daemon(sites.summit.store, root))
                variants += [Variant(name=peer, run=work.peer(daemon, PEERS[peer])) for peer in peers]
            else:
                variants += [Variant(name=peer, run=None, absent=absent) for peer in peers]
            yield [*variants, *others]

    return opened


def a_file_us(turns: Turns, target: str) -> Figure:
    """Processor of both ends and of the bus server for each file."""
    return value("CPU of all ends", "µs/file", turns, LIBRARIAN, lambda turn: cpu(turn) / turn.amount * 1e6, target)


SMALL = Bench(
    name="S1, S2, S4",
    unit="files",
    method=METHOD.format(files=5000, kib=4),
    open=pulls(5000, 4096),
    scratch_gib=6.0,
)
MIDDLE = Bench(
    name="S3",
    unit="files",
    method=METHOD.format(files=2000, kib=64),
    open=pulls(2000, 65536),
    scratch_gib=8.0,
)
#: The budgets ask for the same rate when more is owed.
OWED = {"S1-20k": 20_000, "S1-100k": 100_000}

_FIVE = "5,000 × 4 KiB from committed at one site to acknowledged there"
ROWS = [
    Row(
        id="S1",
        work=f"{_FIVE}, durable",
        against="rsync -a --fsync",
        bench=SMALL,
        figures=lambda turns: [ratio("rate of rsync -a --fsync", turns, LIBRARIAN, DURABLE, "≥ 6, stretch 8")],
    ),
    Row(
        id="S2",
        work=_FIVE,
        against="rsync -a, which is not durable",
        bench=SMALL,
        figures=lambda turns: [ratio("rate of rsync -a", turns, LIBRARIAN, PLAIN, "≥ 0.5, stretch 0.75")],
    ),
    Row(
        id="S3",
        work="2,000 × 64 KiB from committed at one site to acknowledged there",
        against="rsync -a --fsync; rsync -a",
        bench=MIDDLE,
        figures=lambda turns: [
            ratio("rate of rsync -a --fsync", turns, LIBRARIAN, DURABLE, "≥ 4"),
            ratio("rate of rsync -a", turns, LIBRARIAN, PLAIN, "≥ 1.0"),
            a_file_us(turns, ""),
        ],
    ),
    Row(
        id="S4",
        work=f"{_FIVE}: processor",
        against="-",
        bench=SMALL,
        figures=lambda turns: [a_file_us(turns, "≤ 150, stretch 100")],
    ),
    *(
        Row(
            id=name,
            work=f"as S1, with {owed:,} owed",
            against="S1",
            bench=Bench(
                name=name,
                unit="files",
                method=METHOD.format(files=owed, kib=4),
                open=pulls(owed, 4096, peers=()),
                scratch_gib=40.0 if owed > 50_000 else 12.0,
            ),
            figures=lambda turns: [
                value("rate", "files/s", turns, LIBRARIAN, lambda turn: turn.rate, "within 20 % of S1"),
                a_file_us(turns, ""),
            ],
            only_named=True,
        )
        for name, owed in OWED.items()
    ),
]
