"""One large file: L1 to L4."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.bench import limit, rclone, rsync
from benchmarks.bench.measure import cpu, ratio, value
from benchmarks.bench.row import Bench, Row, Setting, Turn, Variant
from benchmarks.bench.sites import TwoSites, two_sites

MIB_A_GIB = 1024
SIZE_GIB = 4
_MIB = 1 << 20

HTTP, HTTPS = "librarian http", "librarian https"
LIMIT = "sendfile, recv, blake3"
RSYNC, RCLONE = "rsync -a --fsync", "rclone http, 4 streams"
METHOD = (
    f"Librarian: a file of {SIZE_GIB} GiB is dropped at summit and committed there while archive is stopped (SIGSTOP),"
    " and all is written to disk. Time begins when archive goes on (SIGCONT) and ends when summit has applied its"
    " entry: verified, fsynced, catalog and journal included. For https, summit of a second pair has data.tls = on."
    " The limit: one process sends the same file out of summit's store by sendfile, another receives it and hashes it"
    " by blake3; nothing is written. rsync: its daemon and --fsync, verified by its own checksum of what passes."
    " rclone: its http server and copyto, neither verified nor fsynced. Sources are cached on all sides. Each turn is"
    " made twice, back to back, and the second kept. Copies are deleted after each turn, those in stores too."
)


class Large:
    """Files that go from summit to archive, one a turn."""

    def __init__(self, setting: Setting, sites: TwoSites, size_mib: int) -> None:
        self._setting = setting
        self._sites = sites
        self._size_mib = size_mib
        self._turns = 0

    @property
    def source(self) -> Path:
        """The file of the last turn, in the store of summit."""
        return self._sites.summit.store / self._name

    @property
    def _name(self) -> str:
        return f"large-{self._turns:03}.dat"

    async def turn(self) -> Turn:
        """A new file by the Librarian; the one before is deleted."""
        self.source.unlink(missing_ok=True)
        self._turns += 1
        made = self._sites.summit.making / self._name
        block = os.urandom(_MIB)
        with made.open("wb") as file:
            for number in range(self._size_mib):
                file.write(number.to_bytes(8) + block[8:])
        turn = self._sites.pull(made, 1, self._size_mib)
        (self._sites.archive.store / self._name).unlink()
        return turn

    def copied(self, copy: Callable[[str, Path], Turn]) -> Callable[[], Awaitable[Turn]]:
        """The last file by a peer, which is given its name in the store of summit and where it shall go."""

        async def turn() -> Turn:
            destination = self._setting.scratch.path / "copied"
            try:
                return copy(self._name, destination)
            finally:
                destination.unlink()

        return turn

    async def at_the_limit(self) -> Turn:
        """The last file, received and hashed."""
        command = [sys.executable, limit.__file__, str(self.source)]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return Turn(seconds=done["seconds"], amount=self._size_mib, cpu_seconds=done["cpu_seconds"])


@asynccontextmanager
async def opened(setting: Setting) -> AsyncGenerator[Sequence[Variant]]:
    """Two pairs of sites, and peers that serve the store of the first."""
    size_mib = setting.amount(round((setting.large_gib or SIZE_GIB) * MIB_A_GIB))
    async with AsyncExitStack() as stack:
        sites = await stack.enter_async_context(two_sites(setting))
        overlay = {"LIBRARIAN_DATA__TLS": "on"}
        by_tls = await stack.enter_async_context(two_sites(setting, "sites-tls", overlay=overlay))
        work, work_tls = Large(setting, sites, size_mib), Large(setting, by_tls, size_mib)
        variants = [Variant(name=HTTP, run=work.turn), Variant(name=HTTPS, run=work_tls.turn)]
        if setting.count:
            yield variants
            return
        store = sites.summit.store
        by_rsync = by_rclone = None
        if not (no_rsync := rsync.why_absent()):
            daemon = await stack.enter_async_context(rsync.rsync_daemon(store, setting.scratch.path / "rsyncd"))
            by_rsync = work.copied(lambda name, to: daemon.copy(name, to, ["-a", "--fsync"], size_mib))
        if not (no_rclone := rclone.why_absent()):
            server = await stack.enter_async_context(rclone.rclone_server(store))
            by_rclone = work.copied(lambda name, to: server.copy(name, to, size_mib))
        yield [
            *variants,
            Variant(name=LIMIT, run=work.at_the_limit),
            Variant(name=RSYNC, run=by_rsync, absent=no_rsync),
            Variant(name=RCLONE, run=by_rclone, absent=no_rclone),
        ]


BENCH = Bench(name="L1 to L4", unit="MiB", method=METHOD, open=opened, keep_second=True, scratch_gib=6.0 * SIZE_GIB + 2)
_WORK = f"{SIZE_GIB} GiB pulled over http, verified and durable"
ROWS = [
    Row(
        id="L1",
        work=_WORK,
        against="sendfile, receive, blake3, discard",
        bench=BENCH,
        figures=lambda turns: [ratio("rate of the limit", turns, HTTP, LIMIT, "≥ 0.70")],
    ),
    Row(
        id="L2",
        work=_WORK,
        against="rsync -a --fsync; rclone over http, 4 streams, not verified",
        bench=BENCH,
        figures=lambda turns: [
            ratio("rate of rsync -a --fsync", turns, HTTP, RSYNC, "≥ 2.0"),
            ratio("rate of rclone", turns, HTTP, RCLONE, "≥ 1.2"),
        ],
    ),
    Row(
        id="L3",
        work=f"{_WORK}: processor",
        against="-",
        bench=BENCH,
        figures=lambda turns: [
            value("CPU of all ends", "s/GiB", turns, HTTP, lambda turn: cpu(turn) / turn.amount * MIB_A_GIB, "≤ 0.65"),
            value("CPU of all ends, https", "s/GiB", turns, HTTPS, lambda turn: cpu(turn) / turn.amount * MIB_A_GIB),
        ],
    ),
    Row(
        id="L4",
        work=_WORK.replace("http", "https"),
        against="http of the same run",
        bench=BENCH,
        figures=lambda turns: [ratio("rate of http", turns, HTTPS, HTTP, "≥ 0.65")],
    ),
]
