"""Counts of what daemons do in a turn: by their own counters, and of system calls by strace.

- *SQL statements*: what SQLite began to run, by its trace hook; each row of an ``executemany`` is one.
- *write transactions*: commits after a statement that writes.
- *returns to the loop*: calls of ``call_soon_threadsafe``, by which each hop to a thread ends.
- *opens*, *fsync*, … : system calls of all threads, counted by ``strace -c``.

Counting makes a daemon slow: nothing is timed meanwhile. A catalog on PostgreSQL is not counted.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bench.counted_daemon import KINDS

#: System calls by what they are called in a result.
CALLS = {
    "fsync": ("fsync",),
    "fdatasync": ("fdatasync",),
    "syncfs": ("syncfs",),
    "opens": ("open", "openat", "openat2"),
    "stats": ("stat", "lstat", "fstat", "newfstatat", "statx"),
    "renames and links": ("rename", "renameat", "renameat2", "link", "linkat"),
    "reads": ("read", "pread64", "readv", "preadv", "recvfrom", "recvmsg"),
    "writes": ("write", "pwrite64", "writev", "pwritev", "sendto", "sendmsg", "sendfile"),
}


class Counting:
    """Of daemons that run ``counted_daemon``: what each does between :meth:`begin` and :meth:`end`."""

    def __init__(self, root: Path, daemons: Mapping[str, int]) -> None:
        """``daemons``: process ids by name; the counters of each stand in ``root/NAME.counts``."""
        self._root = root
        self._daemons = daemons
        self._before: dict[str, list[int]] = {}
        self._tracers: dict[str, subprocess.Popen[str]] = {}

    def begin(self) -> None:
        """A turn begins. Where strace is absent or not permitted, system calls are not counted."""
        if shutil.which("strace"):
            self._tracers = {name: self._trace(name, pid) for name, pid in self._daemons.items()}
        self._before = {name: self._counters(name) for name in self._daemons}

    def end(self, amount: float) -> dict[str, float]:
        """It has ended: counts for each unit of the amount, such as ``archive: opens``."""
        found: dict[str, float] = {}
        for name, before in self._before.items():
            for kind, was, now in zip(KINDS, before, self._counters(name), strict=True):
                found[f"{name}: {kind}"] = (now - was) / amount
        for name, tracer in self._tracers.items():
            tracer.terminate()
            tracer.communicate(timeout=60)
            calls = parse_summary((self._root / f"{name}.strace").read_text())
            for what, names in CALLS.items():
                found[f"{name}: {what}"] = sum(calls.get(call, 0) for call in names) / amount
        return found

    def _trace(self, name: str, pid: int) -> subprocess.Popen[str]:
        calls = ",".join(f"?{call}" for names in CALLS.values() for call in names)
        summary = self._root / f"{name}.strace"
        summary.write_text("")
        command = ["strace", "-f", "-c", "-o", str(summary), "-e", f"trace={calls}", "-p", str(pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        tracer.stderr.readline()  # "attached", or why not
        return tracer

    def _counters(self, name: str) -> list[int]:
        return list(struct.unpack(f"{len(KINDS)}q", (self._root / f"{name}.counts").read_bytes()))


def parse_summary(text: str) -> dict[str, int]:
    """Calls by name, from what ``strace -c`` wrote: % time, seconds, usecs/call, calls, perhaps errors, syscall."""
    calls: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) in (5, 6) and fields[3].isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3])
    return calls
