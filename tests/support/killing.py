"""Killing a daemon at its system calls: which there are, one at a time, and what must be so afterwards.

A file and a book go from one site to another. strace counts the calls of interest of each thread, and ends the daemon
with SIGKILL as a thread enters its n-th of one kind; at a restart, the bus server that it starts as well. Then what
does not run is started again, and everything must be as if nothing had happened: by nobody's hand.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

import msgspec
from tests.support.oracle import digest_of, in_book, some_bytes, standing
from tests.support.processes import attached, daemon_of, end_traced
from tests.support.sites import Pair, Site, wait_for

from librarian_protocol.errors import DaemonUnreachable

#: What makes something durable, visible, or gone, and what a catalog on SQLite is written with.
CALLS = (
    "fsync", "fdatasync", "syncfs", "renameat2", "rename", "renameat", "unlink", "unlinkat", "mkdir", "mkdirat",
    "rmdir", "fchmod", "ftruncate", "linkat", "pwrite64",
)  # fmt: skip
OPERATIONS = ("intake", "pull", "callback", "restart")
_DONE_S = 60.0


class Point(msgspec.Struct, frozen=True):
    """As a thread of the daemon enters its ``when``-th ``call`` of an operation."""

    operation: str
    call: str
    when: int


class Struck(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one point; kept, line by line, with the results."""

    point: Point
    #: False where no thread came that far this time.
    killed: bool
    seconds: float


class Sweep:
    """Two running sites, of which one is struck again and again."""

    def __init__(self, both: Pair, root: Path) -> None:
        self._both = both
        self._root = root
        self._wanted: dict[str, str] = {}
        self._names: list[str] = []
        self._rounds = 0

    def points(self, operation: str) -> list[Point]:
        """All points of an operation, by letting it run once."""
        trace = self._root / f"{operation}.trace"
        self._run(operation, [], trace)
        self.check()
        most: Counter[str] = Counter()
        for (_, call), number in _calls_of(trace).items():
            most[call] = max(most[call], number)
        return [Point(operation, call, when) for call in CALLS for when in range(1, most[call] + 1)]

    def strike(self, point: Point) -> Struck:
        """Kill at a point, start again, and check everything."""
        began = time.monotonic()
        inject = ["-e", f"inject={point.call}:signal=SIGKILL:when={point.when}"]
        trace = self._root / "strike.trace"
        self._run(point.operation, inject, trace)
        killed = "killed by SIGKILL" in trace.read_text()
        self.check()
        return Struck(point=point, killed=killed, seconds=round(time.monotonic() - began, 2))

    # ---- one round ---------------------------------------------------------------------------------------

    def _run(self, operation: str, inject: list[str], trace: Path) -> None:
        source, destination = self._both.sites
        match operation:
            case "intake":
                with _traced(source, inject, trace):
                    self._drop()
                    self._until_dead_or(source, self._taken_in)
            case "pull":
                with _traced(destination, inject, trace):
                    self._drop()
                    self._until_dead_or(destination, self._arrived)
            case "callback":
                os.kill(daemon_of(destination), signal.SIGSTOP)
                self._drop()
                wait_for("it is taken in", self._taken_in, source)
                with _traced(source, inject, trace):
                    os.kill(daemon_of(destination), signal.SIGCONT)
                    self._until_dead_or(source, self._acknowledged)
            case _:
                source.kill()
                self._drop()
                options = ["-f", "-qq", "--seccomp-bpf", "-o", str(trace), "-e", f"trace={','.join(CALLS)}", *inject]
                source.run_on = ["strace", *options]
                source.spawn()
                source.run_on = []
                try:
                    self._until_dead_or(source, self._taken_in)
                finally:
                    end_traced(source)

    def _drop(self) -> None:
        number, self._rounds = self._rounds, self._rounds + 1
        data, book = some_bytes(3000, number), self._book(number)
        self._both.source.drop_file(f"f{number}.dat", data)
        self._both.source.drop_book(f"b{number}", book)
        self._wanted |= {f"f{number}.dat": digest_of(data), **in_book(f"b{number}", book)}
        self._names += [f"f{number}.dat", f"b{number}"]

    @staticmethod
    def _book(number: int) -> Mapping[str, bytes | None]:
        return {"a": some_bytes(500, (number, "a")), "m/b": some_bytes(900, (number, "b")), "empty": None}

    def _until_dead_or(self, site: Site, done: Callable[[], bool]) -> None:
        """Wait until it died, or the operation came to its end."""
        end = time.monotonic() + _DONE_S
        while time.monotonic() < end:
            if site.process is None or site.process.poll() is not None:
                return
            with suppress(DaemonUnreachable):
                if done():
                    return
            time.sleep(0.02)
        raise AssertionError(f"not within {_DONE_S:g} s: dead, or done\n{site.report()}")

    # ---- what must be so ---------------------------------------------------------------------------------

    def _taken_in(self) -> bool:
        return self._both.source.client.status().counts.files == len(self._names)

    def _arrived(self) -> bool:
        return self._both.destination.client.status().counts.instances_here == len(self._names)

    def _acknowledged(self) -> bool:
        return self._both.source.client.status().counts.instances_elsewhere == len(self._names)

    def check(self) -> None:
        """Start what does not run; all that was ever dropped is at both, once, and nothing is left over."""
        for site in self._both.sites:
            if site.process is None or site.process.poll() is not None:
                site.process = None
                site.start()
        wait = self._both.wait_for
        wait("all is taken in", self._taken_in)
        wait("all has arrived", self._arrived)
        wait("all is acknowledged", self._acknowledged)
        for site in self._both.sites:
            assert standing(site.store) == self._wanted, site.report()
            wait("nothing is left over", partial(_tidy, site))
            wait("nothing complains", site.is_healthy)

    def assert_whole(self) -> None:
        """At the end: each was ingested once, and the journals tell the same as the catalogs."""
        told = self._both.source.told("file.ingested")
        assert told == Counter(self._names)
        self._both.assert_whole()


def _tidy(site: Site) -> bool:
    return not site.left_in_staging() and not site.left_in_drop()


def _calls_of(trace: Path) -> Counter[tuple[str, str]]:
    """Calls by thread and name; a call that is resumed was counted when it began."""
    lines = re.findall(r"(?m)^(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed)", trace.read_text())
    return Counter((thread, call) for thread, call, begun in lines if begun == "(")


def _traced(site: Site, inject: list[str], trace: Path) -> AbstractContextManager[None]:
    return attached(site, ["-o", str(trace), "-e", f"trace={','.join(CALLS)}", *inject])
