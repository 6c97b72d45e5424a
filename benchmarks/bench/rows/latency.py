"""How long one file takes: to committed (I2), to acknowledged (E1)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec
from benchmarks.bench import syncthing
from benchmarks.bench.measure import percentile, value
from benchmarks.bench.row import Bench, Figure, Row, Setting, Turn, Turns, Variant
from benchmarks.bench.rows.transfer import LIBRARIAN
from benchmarks.bench.sites import Sites, one_site, two_sites

from librarian_client import Client
from librarian_protocol import wire
from librarian_protocol.errors import DaemonUnreachable

SIZE_BYTES = 65536
#: Nothing takes that long, unless it was lost.
PATIENCE_S = 120.0
SYNCTHING = "syncthing"
_FOLLOWED = "Seen means: a follower of the events of summit, over its control socket, was told of it."
I2_METHOD = (
    "At fixed times, 100 a second, a file of 64 KiB is written beside the drop directory, not synced, and renamed into"
    f" it; time is taken from the rename until its file.ingested is seen. {_FOLLOWED} 1,000 files a turn; the site is"
    " alone. What is late does not put off the next: they go by the clock."
)
E1_METHOD = (
    "At fixed times, 10 a second, a file of 64 KiB is written beside the drop directory of summit, not synced, and"
    " renamed into it; time is taken from the rename until the instance.registered of archive is seen, applied at"
    f" summit. {_FOLLOWED} 200 files a turn. Syncthing: two of it, in their folders, the watcher at its least delay of"
    " 1 s; the same files at the same times, until the second has renamed it to its name: no acknowledgement."
)


class Follower:
    """Follows the events of a site in a thread: when each name was first told of."""

    def __init__(self, client: Client, *, site: str, kind: str) -> None:
        self._client, self._site, self._kind = client, site, kind
        self.seen: dict[str, float] = {}
        self._thread = threading.Thread(target=self._follow, daemon=True)  # it ends when the daemon does
        self._thread.start()

    def _follow(self) -> None:
        decode = wire.decoder(_Named).decode
        with suppress(DaemonUnreachable):  # the bench is over
            for event in self._client.events(site=self._site, kind=self._kind, after=0, follow=True):
                self.seen.setdefault(decode(event.entry).name, time.monotonic())


class Arrivals:
    """Looks for files in a directory: when each was first there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.seen: dict[str, float] = {}
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._ended = threading.Event()
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.005):  # 5 ms of some 1,000
            for name in os.listdir(self._directory):
                if not name.startswith("."):
                    self.seen.setdefault(name, time.monotonic())

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()


class Schedule:
    """Files that go by the clock into a directory, and are seen somewhere."""

    def __init__(self, making: Path, target: Path, seen: Callable[[], dict[str, float]]) -> None:
        self._making, self._target, self._seen = making, target, seen
        self._names = 0

    def send(self, files: int, each_s: float) -> tuple[float, list[float]]:
        """The seconds until the last is seen, and the latency of each, in ms.

        Raises ``RuntimeError`` where one is not seen.
        """
        began = time.monotonic()
        renamed: dict[str, float] = {}
        for number in range(files):
            time.sleep(max(0.0, began + number * each_s - time.monotonic()))
            name = f"file-{self._names:06}.dat"
            self._names += 1
            made = self._making / name
            made.write_bytes(os.urandom(SIZE_BYTES))
            renamed[name] = time.monotonic()
            made.rename(self._target / name)
        end = time.monotonic() + PATIENCE_S
        while missing := renamed.keys() - self._seen().keys():
            if time.monotonic() > end:
                raise RuntimeError(f"{len(missing)} of {files} files were not seen in {PATIENCE_S:g} s")
            time.sleep(0.02)
        seen = self._seen()
        latencies = [(seen[name] - at) * 1000 for name, at in renamed.items()]
        return max(seen[name] for name in renamed) - began, latencies


class _Named(msgspec.Struct):
    name: str


def latencies_of(found: Sequence[float]) -> dict[str, float]:
    """What is told of them."""
    return {"p50 ms": percentile(found, 50), "p99 ms": percentile(found, 99), "most ms": max(found)}


class Sent:
    """Turns of files that are dropped at ``summit``."""

    def __init__(self, sites: Sites, follower: Follower, files: int, each_s: float) -> None:
        self._sites, self._files, self._each_s = sites, files, each_s
        self._schedule = Schedule(sites.summit.making, sites.summit.drop, lambda: dict(follower.seen))

    async def turn(self) -> Turn:
        """So many files."""
        self._sites.begin()
        seconds, found = self._schedule.send(self._files, self._each_s)
        return self._sites.end(seconds, self._files, latencies_of(found))


@asynccontextmanager
async def committed(setting: Setting) -> AsyncGenerator[Sequence[Variant]]:
    """I2: one site."""
    async with one_site(setting) as sites:
        follower = Follower(sites.summit.client, site="summit", kind="file.ingested")
        yield [Variant(name=LIBRARIAN, run=Sent(sites, follower, setting.amount(1000, 10), 0.01).turn)]


@asynccontextmanager
async def acknowledged(setting: Setting) -> AsyncGenerator[Sequence[Variant]]:
    """E1: two sites, and two of Syncthing."""
    files = setting.amount(200, 5)
    async with AsyncExitStack() as stack:
        sites = await stack.enter_async_context(two_sites(setting))
        follower = Follower(sites.summit.client, site="archive", kind="instance.registered")
        ours = Variant(name=LIBRARIAN, run=Sent(sites, follower, files, 0.1).turn)
        absent = syncthing.why_absent()
        if setting.count or absent:
            yield [ours] if setting.count else [ours, Variant(name=SYNCTHING, run=None, absent=absent)]
            return
        root = setting.scratch.path / "syncthing"
        first, second = await stack.enter_async_context(syncthing.two_devices(root))
        arrivals = Arrivals(second.folder)
        stack.callback(arrivals.end)
        (root / "making").mkdir()
        schedule = Schedule(root / "making", first.folder, lambda: dict(arrivals.seen))

        async def theirs() -> Turn:
            seconds, found = schedule.send(files, 0.1)
            return Turn(seconds=seconds, amount=files, values=latencies_of(found))

        yield [ours, Variant(name=SYNCTHING, run=theirs)]


def _latency(turns: Turns, percent: str, target: str, variant: str = LIBRARIAN) -> Figure:
    name = percent if variant == LIBRARIAN else f"{percent} of {variant}"
    return value(name, "ms", turns, variant, lambda turn: turn.values[f"{percent} ms"], target)


ROWS = [
    Row(
        id="I2",
        work="one file of 64 KiB, dropped → committed, at 100 files/s",
        against="-",
        bench=Bench(name="I2", unit="files", method=I2_METHOD, open=committed),
        figures=lambda turns: [_latency(turns, "p50", "≤ 5"), _latency(turns, "p99", "≤ 50")],
    ),
    Row(
        id="E1",
        work="one file of 64 KiB, dropped → verified elsewhere → acknowledged, at 10 files/s",
        against="Syncthing, its watcher at its least delay of 1 s",
        bench=Bench(name="E1", unit="files", method=E1_METHOD, open=acknowledged),
        figures=lambda turns: [
            _latency(turns, "p50", "≤ 30"),
            _latency(turns, "p99", "≤ 200"),
            _latency(turns, "p50", "", SYNCTHING),
            _latency(turns, "p99", "", SYNCTHING),
        ],
    ),
]
