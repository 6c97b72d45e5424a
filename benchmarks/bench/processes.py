"""What processes used during a turn: seconds of processor and greatest resident memory, from /proc."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICKS  # utime, stime, cutime, cstime


def wait_for_children(pid: int, patience_s: float = 5.0) -> None:
    """Wait until a process has none left, since only then their time is in :func:`cpu_seconds`."""
    end = time.monotonic() + patience_s
    while Path(f"/proc/{pid}/task/{pid}/children").read_text() and time.monotonic() < end:
        time.sleep(0.001)


def peak_bytes(pid: int) -> int:
    """Greatest resident memory since :func:`forget_peak`, or since it began."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def resident_bytes(pid: int) -> int:
    """Resident memory now."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def forget_peak(pid: int) -> None:
    """Count the greatest resident memory from now on; where that is not permitted, from the process's begin."""
    with suppress(PermissionError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def own_children_cpu_seconds() -> float:
    """Of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What was used, by name of the process."""

    cpu_seconds: Mapping[str, float]
    peak_bytes: Mapping[str, int]


class Watch:
    """Of processes that run longer than a turn: what they used between :meth:`begin` and :meth:`end`."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids
        self._before: dict[int, float] = {}

    def begin(self) -> None:
        """A turn begins."""
        self._before = {}
        for pid in self._pids().values():
            forget_peak(pid)
            self._before[pid] = cpu_seconds(pid)

    def end(self) -> Usage:
        """It has ended. A process that began meanwhile counts whole."""
        pids = self._pids()
        return Usage(
            cpu_seconds={name: cpu_seconds(pid) - self._before.get(pid, 0.0) for name, pid in pids.items()},
            peak_bytes={name: peak_bytes(pid) for name, pid in pids.items()},
        )
