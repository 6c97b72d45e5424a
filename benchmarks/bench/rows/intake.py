"""Many small files from a drop directory to committed: I1."""

from __future__ import annotations

import ctypes
import os
import shutil
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.bench.measure import cpu, ratio, value
from benchmarks.bench.row import Bench, Row, Setting, Turn, Variant
from benchmarks.bench.rows.transfer import LIBRARIAN
from benchmarks.bench.sites import Sites, one_site

FILES, DIRECTORIES, SIZE_BYTES, SYNC_EVERY = 50_000, 500, 4096, 500
#: Between two looks at the site: of a turn of several seconds.
LOOK_S = 0.05
FLOOR = "create, syncfs each 500, rename"
METHOD = (
    "Librarian: a tree of 50,000 files of 4 KiB in 500 directories, 50 in each of 10, is made beside the drop"
    " directory, not synced, and moved into it by one rename, from which time is taken until the last is committed:"
    " claimed, hashed, durable at its name, in catalog and journal. The site is alone; its bus is included as far as it"
    " keeps up. Lost is what was dropped and is neither known nor left in the drop directory. The floor: as many files"
    " are written, each 500 are synced by syncfs and renamed into 500 such directories, and a last syncfs makes the"
    " names durable; no hash, no catalog, one thread. The floor creates its files; the Librarian's are there when its"
    " time begins."
)


class Intakes:
    """Trees that are dropped, one a turn."""

    def __init__(self, setting: Setting, sites: Sites) -> None:
        self._setting = setting
        self._sites = sites
        self._files = setting.amount(FILES, 100)
        self._directories = [f"{number // 50:02}/{number % 50:02}" for number in range(setting.amount(DIRECTORIES))]

    async def turn(self) -> Turn:
        """One tree by the Librarian."""
        sites = self._sites
        known = sites.summit.client.status().counts.files
        tree = sites.make_tree(self._files, SIZE_BYTES, self._directories)
        sites.begin()
        seconds = sites.take_in(tree, self._files, LOOK_S)
        turn = sites.end(seconds, self._files, {})
        sites.until(
            "all are known",
            lambda: sites.summit.client.status().counts.files >= known + self._files,
            look_s=0.1,
        )
        left = sum(len(names) for _, _, names in os.walk(sites.summit.drop / tree.name))
        lost = self._files - (sites.summit.client.status().counts.files - known) - left
        return replace(turn, values={"lost": float(lost)})

    async def floor(self) -> Turn:
        """As many files made durable at their names by nothing but system calls."""
        root = self._setting.scratch.path / "floor"
        for directory in ("staging", *self._directories):
            (root / directory).mkdir(parents=True)
        try:
            before = time.process_time()
            began = time.monotonic()
            write_and_rename(root, self._files, self._directories)
            seconds = time.monotonic() - began
            return Turn(seconds=seconds, amount=self._files, cpu_seconds={"all": time.process_time() - before})
        finally:
            shutil.rmtree(root)


def write_and_rename(root: Path, files: int, directories: Sequence[str]) -> None:
    """The floor, in ``root``, which has ``staging`` and the directories."""
    block = os.urandom(SIZE_BYTES - 8)
    staged: list[tuple[str, str]] = []
    descriptor = os.open(root, os.O_RDONLY)
    try:
        for number in range(files):
            place = directories[number * len(directories) // files]
            staged.append((f"{root}/staging/{number:06}", f"{root}/{place}/{number:06}.dat"))
            file = os.open(staged[-1][0], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(file, number.to_bytes(8) + block)
            os.close(file)
            if len(staged) == SYNC_EVERY or number == files - 1:
                syncfs(descriptor)
                for made, name in staged:
                    os.rename(made, name)
                staged.clear()
        syncfs(descriptor)
    finally:
        os.close(descriptor)


def syncfs(descriptor: int) -> None:
    """Write everything dirty of the filesystem. Raises ``OSError``."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@asynccontextmanager
async def opened(setting: Setting) -> AsyncGenerator[Sequence[Variant]]:
    """One site."""
    async with one_site(setting) as sites:
        work = Intakes(setting, sites)
        variants = [Variant(name=LIBRARIAN, run=work.turn)]
        yield variants if setting.count else [*variants, Variant(name=FLOOR, run=work.floor)]


ROWS = [
    Row(
        id="I1",
        work="50,000 × 4 KiB in 500 directories, from dropped to committed",
        against=f"{FLOOR}; no hash, no catalog",
        bench=Bench(name="I1", unit="files", method=METHOD, open=opened, scratch_gib=8.0),
        figures=lambda turns: [
            ratio("rate of the floor", turns, LIBRARIAN, FLOOR, "≥ 0.6"),
            value("lost", "files", turns, LIBRARIAN, lambda turn: turn.values["lost"], "0"),
            value("CPU", "µs/file", turns, LIBRARIAN, lambda turn: cpu(turn) / turn.amount * 1e6),
        ],
    )
]
