"""Resident memory of the daemons: idle, and after many files: M1."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from benchmarks.bench.processes import resident_bytes
from benchmarks.bench.row import Bench, Figure, Row, Setting, Turn, Turns, Variant
from benchmarks.bench.sites import Sites, TwoSites, two_sites

LIBRARIAN = "librarian"
ENDS = ("summit", "archive")
#: How long daemons have nothing to do before they count as idle.
IDLE_S = 10.0
METHOD = (
    "Two sites are started and joined, and after {idle:g} s without work their resident memory is read: idle. Then"
    " {files:,} files of 4 KiB a turn, {each:,} at a time, are dropped at summit, stored at archive and acknowledged,"
    " and it is read again. R rounds are R + 1 turns of files. The bus server is not counted."
)


class Resident:
    """Sites through which files go."""

    def __init__(self, sites: TwoSites, files: int, idle: Mapping[str, float]) -> None:
        self._sites = sites
        self._files = files
        self._idle = idle
        self._through = 0

    async def turn(self) -> Turn:
        """So many more."""
        sites = self._sites
        sites.begin()
        began = time.monotonic()
        for size in parts(self._files):
            wanted = sites.entries(sites.archive) + size
            sites.take_in(sites.make_tree(size, 4096, [f"{number:02}" for number in range(10)]), size)
            sites.until("acknowledged", partial(self._acknowledged, wanted), look_s=0.1)
            self._through += size
        seconds, now = time.monotonic() - began, resident_mib(sites)
        values = {f"{end} idle": self._idle[end] for end in ENDS} | {f"{end} after": now[end] for end in ENDS}
        return sites.end(seconds, self._files, values | {"files through": float(self._through)})

    def _acknowledged(self, entries: int) -> bool:
        return self._sites.entries(self._sites.archive) >= entries


#: Files that are dropped at a time.
AT_ONCE = 5_000


def parts(files: int) -> list[int]:
    """A turn's files in drops."""
    return [min(AT_ONCE, files - at) for at in range(0, files, AT_ONCE)]


def resident_mib(sites: Sites) -> dict[str, float]:
    """Of both daemons."""
    return {name: resident_bytes(pid) / (1 << 20) for name, pid in sites.pids().items()}


def memory(files: int) -> Callable[[Setting], AbstractAsyncContextManager[Sequence[Variant]]]:
    """Opens a bench in which so many files go through in a turn."""

    @asynccontextmanager
    async def opened(setting: Setting) -> AsyncGenerator[Sequence[Variant]]:
        async with two_sites(setting) as sites:
            await asyncio.sleep(IDLE_S)
            work = Resident(sites, setting.amount(files, 10), resident_mib(sites))
            yield [Variant(name=LIBRARIAN, run=work.turn)]

    return opened


def last(turns: Turns, name: str, unit: str, target: str = "") -> Figure:
    """What it was after the last turn: no median makes sense of what grows."""
    found = [turn.values[name] for turn in turns.get(LIBRARIAN, ())]
    if not found:
        return Figure(name=name, unit=unit, median=None, target=target)
    return Figure(name=name, unit=unit, median=found[-1], least=min(found), most=max(found), target=target)


def figures(turns: Turns) -> list[Figure]:
    """Both ends."""
    return [
        *(last(turns, f"{end} idle", "MiB", "≤ 100") for end in ENDS),
        *(last(turns, f"{end} after", "MiB", "≤ 200") for end in ENDS),
        last(turns, "files through", "files"),
    ]


def row(name: str, files: int, scratch_gib: float, *, only_named: bool = False) -> Row:
    """M1 with so many files a turn."""
    return Row(
        id=name,
        work="resident memory of a daemon, idle and after many files",
        against="-",
        bench=Bench(
            name=name,
            unit="files",
            method=METHOD.format(idle=IDLE_S, files=files, each=AT_ONCE),
            open=memory(files),
            scratch_gib=scratch_gib,
        ),
        figures=figures,
        only_named=only_named,
    )


ROWS = [row("M1", 10_000, 4.0), row("M1-1m", 170_000, 40.0, only_named=True)]
