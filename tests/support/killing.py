"""Killing a daemon at its system calls: which there are, one at a time, and what must be so afterwards.

A file and a book go from one site to another. strace counts the calls of interest of each thread, and ends the daemon
with SIGKILL as a thread enters its n-th of one kind; at a restart, the bus server that it starts as well. Then what
does not run is started again, and everything must be as if nothing had happened: by nobody's hand.

Where bytes leave their names (``leave``), a file and a book are withdrawn: after the kill they are kept, each once,
when it is asked for again. Where they are mended (``mend``), a file and a member of a book have changed at the
destination, and a pass finds them: after the kill good bytes stand at the names, and after the next pass nothing bad is
kept. Where they are given up (``evict``), the destination vouches for them: after the kill they are given up when it is
asked for again, and stand whole at the destination; then they are dropped once more.
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
from tests.support.programs import needs
from tests.support.sites import Pair, Site, wait_for

from librarian_protocol import api
from librarian_protocol.errors import DaemonUnreachable, NotFound

#: What makes something durable, visible, or gone, and what a catalog on SQLite is written with.
CALLS = (
    "fsync", "fdatasync", "syncfs", "renameat2", "rename", "renameat", "unlink", "unlinkat", "mkdir", "mkdirat",
    "rmdir", "fchmod", "ftruncate", "linkat", "pwrite64",
)  # fmt: skip
OPERATIONS = ("intake", "pull", "callback", "restart", "leave", "mend", "evict")
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
        #: What was withdrawn, and what its bytes must be where they are kept.
        self._withdrawn: dict[str, str] = {}

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
        needs("strace")
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
            case "leave":
                self._drop()
                gone = self._names[-2:]
                self._drop()
                self._everywhere()
                with _traced(source, inject, trace):
                    self._leave(gone)
                    self._until_dead_or(source, lambda: True)
                self._start_again()
                self._leave(gone)
                self._kept(gone)
            case "mend":
                self._drop()
                self._everywhere()
                self._spoil(*self._names[-2:])
                with _traced(destination, inject, trace):
                    self._read_again()
                    self._until_dead_or(destination, self._mended)
                self._start_again()
                self._read_again()
                wait_for("it is mended", self._mended, *self._both.sites)
                wait_for("the pass is over", self._passed, *self._both.sites)
                self._read_again()
                wait_for("nothing bad need be kept", lambda: not self._kept_bad(), *self._both.sites)
            case "evict":
                number = self._rounds
                self._drop()
                gone = self._names[-2:]
                self._everywhere()
                with _traced(source, inject, trace):
                    self._evict(gone)
                    self._until_dead_or(source, lambda: self._given_up(gone))
                self._start_again()
                wait_for("it is given up", partial(self._evicted, gone), *self._both.sites)
                assert standing(self._both.destination.store) == self._wanted
                self._put(number)
                wait_for("it lands once more", partial(self._back, gone), *self._both.sites)
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
        data, book = self._put(number)
        self._wanted |= {f"f{number}.dat": digest_of(data), **in_book(f"b{number}", book)}
        self._names += [f"f{number}.dat", f"b{number}"]

    def _put(self, number: int) -> tuple[bytes, Mapping[str, bytes | None]]:
        """Drop a file and a book, perhaps once more."""
        data, book = some_bytes(3000, number), self._book(number)
        self._both.source.drop_file(f"f{number}.dat", data)
        self._both.source.drop_book(f"b{number}", book)
        return data, book

    # ---- bytes leave their names -------------------------------------------------------------------------

    def _spoil(self, file: str, book: str) -> None:
        """At the destination a file and a member of a book change, and nobody notices."""
        for path in (self._both.destination.store / file, self._both.destination.store / book / "m" / "b"):
            data = path.read_bytes()
            path.chmod(0o644)
            path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
            path.chmod(0o444)

    def _read_again(self) -> None:
        """Ask for it; the daemon may die of that."""
        with suppress(DaemonUnreachable):
            self._both.destination.client.run_scrub()

    def _mended(self) -> bool:
        """Everything stands as it should, and its site says so."""
        destination = self._both.destination
        assert len(self._kept_bad()) <= 2, "each is kept once"
        return standing(destination.store) == self._wanted and not destination.client.files(bad=True).files

    def _kept_bad(self) -> list[Path]:
        return list((self._both.destination.store / ".librarian" / "bad").iterdir())

    def _passed(self) -> bool:
        return all(status.state == "idle" for status in self._both.destination.client.scrubs())

    def _evict(self, gone: list[str]) -> None:
        """Ask for it; the daemon may die of that."""
        client = self._both.source.client
        # What was put back may be gone a moment later.
        with suppress(DaemonUnreachable, NotFound):
            for name in gone:
                if self._both.source.name in self._both.source.verified_at(name):
                    client.evict(api.Evict(name=name, store="main", allow_archive=True))

    def _given_up(self, gone: list[str]) -> bool:
        """It stands neither at its name nor in trash, and its site says so."""
        source = self._both.source
        return not any(
            (source.store / name).exists() or source.name in source.verified_at(name) for name in gone
        ) and not list((source.store / ".librarian" / "trash").iterdir())

    def _back(self, gone: list[str]) -> bool:
        """What was given up and dropped once more stands at its name, and its site says so."""
        source = self._both.source
        return standing(source.store) == self._wanted and all(source.name in source.verified_at(name) for name in gone)

    def _evicted(self, gone: list[str]) -> bool:
        """Ask again for what was put back, until it is gone."""
        self._evict(gone)
        return self._given_up(gone)

    def _leave(self, gone: list[str]) -> None:
        """Ask for it; the daemon may die of that."""
        client = self._both.source.client
        with suppress(DaemonUnreachable):
            for name in gone:
                client.withdraw(name, "not wanted")

    def _kept(self, gone: list[str]) -> None:
        """What was withdrawn is kept at both, whole and once."""
        for name in gone:
            self._names.remove(name)
            wanted = {path: self._wanted.pop(path) for path in list(self._wanted) if _is_of(path, name)}
            digest = self._both.source.client.file(name).files[0].digest.partition(":")[2]
            for site in self._both.sites:
                place = site.store / ".librarian" / "withdrawn" / digest
                wait_for("it is kept", place.exists, *self._both.sites)
                if place.is_dir():
                    found = {f"{name}/{path}": value for path, value in _below(place).items()}
                else:
                    found = {name: digest_of(place.read_bytes())}
                assert found == wanted
                assert not (site.store / name).exists()
                assert len(list(place.parent.glob(f"{digest}*"))) == 1
            self._withdrawn[name] = digest

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
        known = len(self._names) + len(self._withdrawn)
        return self._both.source.client.status().counts.files == known

    def _arrived(self) -> bool:
        return self._both.destination.client.status().counts.instances_here == len(self._names)

    def _acknowledged(self) -> bool:
        return self._both.source.client.status().counts.instances_elsewhere == len(self._names)

    def _start_again(self) -> None:
        for site in self._both.sites:
            if site.process is None or site.process.poll() is not None:
                site.process = None
                site.start()

    def _everywhere(self) -> None:
        wait = self._both.wait_for
        wait("all is taken in", self._taken_in)
        wait("all has arrived", self._arrived)
        wait("all is acknowledged", self._acknowledged)

    def check(self) -> None:
        """Start what does not run; all that was ever dropped is at both, once, and nothing is left over."""
        self._start_again()
        self._everywhere()
        wait = self._both.wait_for
        for site in self._both.sites:
            assert standing(site.store) == self._wanted, site.report()
            wait("nothing is left over", partial(_tidy, site))
            wait("nothing complains", site.is_healthy)

    def assert_whole(self) -> None:
        """At the end: each was ingested once, and the journals tell the same as the catalogs."""
        told = self._both.source.told("file.ingested")
        assert told == Counter([*self._names, *self._withdrawn])
        self._both.assert_whole()


def _tidy(site: Site) -> bool:
    return not site.left_in_staging() and not site.left_in_drop()


def _is_of(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}/")


def _below(book: Path) -> dict[str, str]:
    """What stands in a book that is kept."""
    found = {str(path.relative_to(book)): digest_of(path.read_bytes()) for path in book.rglob("*") if path.is_file()}
    return found | {
        str(path.relative_to(book)): "empty" for path in book.rglob("*") if path.is_dir() and not any(path.iterdir())
    }


def _calls_of(trace: Path) -> Counter[tuple[str, str]]:
    """Calls by thread and name; a call that is resumed was counted when it began."""
    lines = re.findall(r"(?m)^(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed)", trace.read_text())
    return Counter((thread, call) for thread, call, begun in lines if begun == "(")


def _traced(site: Site, inject: list[str], trace: Path) -> AbstractContextManager[None]:
    return attached(site, ["-o", str(trace), "-e", f"trace={','.join(CALLS)}", *inject])
