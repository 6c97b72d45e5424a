"""How a store makes a batch durable: ``[[store]] sync = auto`` beside both ways that it chooses from.

F1 on a disk that nobody else uses, F2 beside fio, which writes and fsyncs there, F3 beside a GiB that somebody has just
written and that is on no disk yet.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from functools import partial
from itertools import count
from pathlib import Path
from typing import get_args

from benchmarks.bench.row import Bench, Figure, Row, Setting, Turn, Turns, Variant
from tests.support.stores import STORE_ID, staged

from librarian_daemon.ports.store import Landing
from librarian_daemon.stores.posix.durability import Sync
from librarian_daemon.stores.posix.layout import Marker
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.entries import StoreRole
from librarian_protocol.names import SiteName

FILES = 1000
SIZE_BYTES = 4096
OTHERS_BYTES = 1 << 30
_PIECE_BYTES = 1 << 20
Opened = AbstractAsyncContextManager[Sequence[Variant]]


def figures(turns: Turns) -> Sequence[Figure]:
    """The rate of ``auto`` as a part of that of the quicker way, round by round."""
    rounds = list(zip(*(turns.get(way, ()) for way in get_args(Sync)), strict=True))
    parts = [auto.rate / max(syncfs.rate, fsync.rate) for auto, syncfs, fsync in rounds]
    if not parts:
        return [Figure(name="of the quicker way", unit="×", median=None, target="≥ 0.9")]
    return [
        Figure(
            name="of the quicker way",
            unit="×",
            median=statistics.median(parts),
            least=min(parts),
            most=max(parts),
            target="≥ 0.9",
        )
    ]


def _store(root: Path, way: Sync) -> PosixStore:
    marker = Marker(id=STORE_ID, label=way, site=SiteName.parse("here"))
    root.mkdir()
    PosixStore.create(str(root), marker)
    return PosixStore(str(root), marker, StoreRole.ARCHIVE, sync=way)


async def _seal(store: PosixStore, files: int, numbers: Iterator[int], before: Callable[[], None]) -> Turn:
    """New files are written to staging, then ``before`` is done; the turn is until they are durable."""
    landings = [
        await staged(store, f"t{number}", f"f{number}", os.urandom(SIZE_BYTES))
        for number in (next(numbers) for _ in range(files))
    ]
    before()
    began = time.monotonic()
    sealed = await store.seal(landings)
    turn = Turn(seconds=time.monotonic() - began, amount=float(files))
    assert all(isinstance(done, Landing) for done in sealed)
    await store.discard([landing.rel for landing in landings])
    return turn


@contextmanager
def _fio(directory: Path) -> Generator[None]:
    """Writes 64 KiB somewhere in a file, again and again, and fsyncs after every sixteenth."""
    options = ["--name=beside", f"--directory={directory}", "--rw=randwrite", "--bs=64k", "--size=256m", "--fsync=16"]
    child = subprocess.Popen(
        ["fio", *options, "--time_based", "--runtime=3600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        child.terminate()  # by SIGKILL its own child would go on
        child.wait()


def _dirty(path: Path) -> None:
    """Write a GiB anew, which is on no disk yet afterwards."""
    path.unlink(missing_ok=True)
    piece = os.urandom(_PIECE_BYTES)
    with path.open("wb", buffering=0) as file:
        for _ in range(OTHERS_BYTES // _PIECE_BYTES):
            file.write(piece)


@asynccontextmanager
async def _opened(
    setting: Setting,
    *,
    beside: Callable[[Path], AbstractContextManager[None]] = lambda _: nullcontext(),
    before: Callable[[Setting], None] = lambda setting: setting.scratch.settle(),
    absent: Callable[[], str] = lambda: "",
) -> AsyncGenerator[Sequence[Variant]]:
    if why := absent():
        yield [Variant(name=way, run=None, absent=why) for way in get_args(Sync)]
        return
    files = setting.amount(FILES, 64)
    others = setting.scratch.path / "others"
    others.mkdir()
    stores = {way: _store(setting.scratch.path / way, way) for way in get_args(Sync)}
    with beside(others):
        yield [
            Variant(name=way, run=partial(_seal, store, files, count(), partial(before, setting)))
            for way, store in stores.items()
        ]


def _row(name: str, work: str, method: str, opened: Callable[[Setting], Opened]) -> Row:
    return Row(
        id=name,
        work=work,
        against="the quicker of syncfs and fsync",
        bench=Bench(name=name, unit="files", method=method, open=opened),
        figures=figures,
    )


ROWS = [
    _row(
        "F1",
        "1,000 × 4 KiB made durable with sync = auto",
        "1,000 files of 4 KiB are staged; timed is how long the store takes to make them durable.",
        _opened,
    ),
    _row(
        "F2",
        "the same beside fio on that disk",
        "As F1, while fio writes 64 KiB here and there in a file, with an fsync after every sixteenth.",
        partial(
            _opened,
            beside=_fio,
            before=lambda _: None,
            absent=lambda: "" if shutil.which("fio") else "fio is not installed",
        ),
    ),
    _row(
        "F3",
        "the same beside a GiB that is on no disk yet",
        "As F1, just after another file of 1 GiB was written there and not synced.",
        partial(_opened, before=lambda setting: _dirty(setting.scratch.path / "others" / "gib")),
    ),
]
