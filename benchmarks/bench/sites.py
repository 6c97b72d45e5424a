"""Real sites for benches: made by ``lbctl init``, run by ``lbd``, driven by ``lbctl`` and the control API."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path

from benchmarks.bench import counted_daemon
from benchmarks.bench.counts import Counting
from benchmarks.bench.processes import Watch
from benchmarks.bench.row import Setting, Turn
from tests.support.sites import Site, free_port, join, sites, wait_for

#: Between two looks at a site. A turn takes a second or more: this is at most a twentieth of it. Each look costs the
#: site about a millisecond: one every 0.01 s was 10 to 18 % of the CPU time of its turn.
LOOK_S = 0.05
DEADLINE_S = 3600.0


class Sites:
    """Running sites, the first of which is ``summit``, where files are dropped, with a bus server of its own."""

    def __init__(self, setting: Setting, root: Path, *sites: Site) -> None:
        self.setting = setting
        self.summit = sites[0]
        self._sites = sites
        self._watch = Watch(self.pids)
        self._root = root
        self._trees = 0

    @cached_property
    def _counting(self) -> Counting | None:
        return Counting(self._root, self._daemons()) if self.setting.count else None

    def _daemons(self) -> dict[str, int]:
        return {site.name: site.process.pid for site in self._sites if site.process}

    def pids(self) -> Mapping[str, int]:
        """The processes of all sites."""
        bus = self.summit.bus_pid()
        return self._daemons() | ({"nats-server": bus} if bus else {})

    # ---- a turn ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """What is used from now on counts."""
        if self._counting:
            self._counting.begin()
        self._watch.begin()

    def end(self, seconds: float, amount: float, values: Mapping[str, float]) -> Turn:
        """What was used since :meth:`begin`."""
        usage = self._watch.end()
        return Turn(
            seconds=seconds,
            amount=amount,
            cpu_seconds=usage.cpu_seconds,
            peak_bytes=usage.peak_bytes,
            values=values,
            counts=self._counting.end(amount) if self._counting else {},
        )

    def until(self, what: str, condition: Callable[[], bool], look_s: float = LOOK_S) -> float:
        """The time at which it was first seen to be so, on the monotonic clock.

        Raises ``RuntimeError`` where a daemon ends, or it takes more than an hour.
        """
        end = time.monotonic() + DEADLINE_S
        while not condition():
            ended = [site.name for site in self._sites if site.process and site.process.poll() is not None]
            if ended or time.monotonic() > end:
                raise RuntimeError(f"{what}: {f'{ended[0]} ended' if ended else 'not within an hour'}")
            time.sleep(look_s)
        return time.monotonic()

    # ---- intake ------------------------------------------------------------------------------------------

    def entries(self, of: Site) -> int:
        """How many entries of a site's journal ``summit`` has applied; of its own: has committed."""
        return max((tip.seq for tip in self.summit.client.site_tips(of.name)), default=0)

    def make_tree(self, files: int, size_bytes: int, directories: Sequence[str]) -> Path:
        """A directory with so many files, no two equal, beside the drop directory of ``summit``; not synced.

        They are spread evenly over ``directories`` in it.
        """
        self._trees += 1
        root = self.summit.making / f"tree-{self._trees:03}"
        for directory in directories:
            (root / directory).mkdir(parents=True, exist_ok=True)
        for number in range(files):
            place = root / directories[number * len(directories) // files]
            (place / f"{number:06}.dat").write_bytes(os.urandom(size_bytes))
        return root

    def take_in(self, made: Path, files: int, look_s: float = LOOK_S) -> float:
        """Move it into the drop directory, by which it is complete; the seconds until all of it is committed."""
        before = self.entries(self.summit)
        began = time.monotonic()
        made.rename(self.summit.drop / made.name)
        return self.until("committed", lambda: self.entries(self.summit) >= before + files, look_s) - began


class TwoSites(Sites):
    """And ``archive``, which is subscribed to everything of ``summit``."""

    def __init__(self, setting: Setting, root: Path, summit: Site, archive: Site) -> None:
        super().__init__(setting, root, summit, archive)
        self.archive = archive
        self._acknowledged = 0

    def pull(self, made: Path, files: int, amount: float) -> Turn:
        """Take it in while ``archive`` is stopped; the turn is from its going on to the last acknowledgement.

        Under ``ingested/s`` stands what came before.
        """
        self._hold()
        ingested_s = self.take_in(made, files)
        self.setting.scratch.settle()
        wanted = self.entries(self.archive) + files
        self.begin()
        began = time.monotonic()
        self._signal(signal.SIGCONT)
        seconds = self.until("acknowledged", lambda: self.entries(self.archive) >= wanted) - began
        turn = self.end(seconds, amount, {"ingested/s": amount / ingested_s})
        self._acknowledged += files
        self.until(  # so that the turn was what it is said to be
            f"{self._acknowledged} instances are known",
            lambda: self.summit.client.status().counts.instances_elsewhere >= self._acknowledged,
            look_s=0.1,
        )
        return turn

    def _hold(self) -> None:
        """Stop ``archive`` where it stands: what summit says meanwhile comes to it at once, when it goes on."""
        self.until("archive is idle", self._is_idle, look_s=0.1)
        self._signal(signal.SIGSTOP)

    def _is_idle(self) -> bool:
        return not set(self.archive.client.status().transfers) - {"stored", "cancelled"}

    def _signal(self, number: signal.Signals) -> None:
        assert self.archive.process is not None
        os.kill(self.archive.process.pid, number)


def _site(setting: Setting, root: Path, name: str, bus: str, overlay: Mapping[str, str]) -> Site:
    """One that is made, but does not run; with ``setting.count`` its daemon will count what it does."""
    counts = root / f"{name}.counts"
    run_on = [sys.executable, counted_daemon.__file__, str(counts)] if setting.count else []
    return Site(root / name, name, bus=bus, overlay=overlay, run_on=run_on)


@asynccontextmanager
async def one_site(setting: Setting) -> AsyncGenerator[Sites]:
    """A site alone."""
    root = setting.scratch.path / "sites"
    root.mkdir()
    summit = _site(setting, root, "summit", f"embedded:{free_port()}", {})
    with sites(summit):
        summit.start()
        wait_for("the bus is up", lambda: summit.client.status().bus.connected, summit)
        yield Sites(setting, root, summit)


@asynccontextmanager
async def two_sites(
    setting: Setting, name: str = "sites", *, overlay: Mapping[str, str] | None = None
) -> AsyncGenerator[TwoSites]:
    """Both run and know one another. ``overlay``: variables of the environment of ``summit``."""
    root = setting.scratch.path / name
    root.mkdir()
    summit = _site(setting, root, "summit", f"embedded:{free_port()}", overlay or {})
    archive = _site(setting, root, "archive", "join", {})
    with sites(summit, archive):  # they end by SIGKILL, since what is stopped by a signal ends by nothing else
        summit.start()
        wait_for("the bus is up", lambda: summit.client.status().bus.connected, summit)
        join(summit, archive)
        archive.lbctl("subscription", "add", "--from", "summit")
        yield TwoSites(setting, root, summit, archive)
