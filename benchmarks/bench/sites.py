"""Real sites for benches: made by ``lbctl init``, run by ``lbd``, driven by ``lbctl`` and the control API."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from benchmarks.bench.processes import Watch
from benchmarks.bench.row import Setting
from tests.support.sites import Site, free_port, join, sites, wait_for

#: Between two looks at a site: each costs it about a millisecond, and a turn takes half a second or more.
LOOK_S = 0.01
DEADLINE_S = 3600.0


class Sites:
    """``summit``, where files are dropped, with a bus server of its own, and ``archive``, which wants all of them."""

    def __init__(self, summit: Site, archive: Site) -> None:
        self.summit = summit
        self.archive = archive
        self.watch = Watch(self.pids)
        self._trees = 0

    def pids(self) -> Mapping[str, int]:
        """The processes of both sites."""
        found = {site.name: site.process.pid for site in (self.summit, self.archive) if site.process}
        bus = self.summit.bus_pid()
        return found | ({"nats-server": bus} if bus else {})

    def entries(self, of: Site) -> int:
        """How many entries of a site's journal ``summit`` has applied; of its own: has committed."""
        return max((tip.seq for tip in self.summit.client.site_tips(of.name)), default=0)

    def until(self, what: str, condition: Callable[[], bool], look_s: float = LOOK_S) -> float:
        """The time at which it was first seen to be so, on the monotonic clock.

        Raises ``RuntimeError`` where a daemon ends, or it takes more than an hour.
        """
        end = time.monotonic() + DEADLINE_S
        while not condition():
            ended = [
                site.name for site in (self.summit, self.archive) if site.process and site.process.poll() is not None
            ]
            if ended or time.monotonic() > end:
                raise RuntimeError(f"{what}: {f'{ended[0]} ended' if ended else 'not within an hour'}")
            time.sleep(look_s)
        return time.monotonic()

    def make_tree(self, files: int, size_bytes: int, each_directory: int = 500) -> Path:
        """A directory with so many files, no two equal, beside the drop directory of ``summit``; not synced."""
        self._trees += 1
        root = self.summit.making / f"tree-{self._trees:03}"
        for number in range(files):
            directory = root / f"{number // each_directory:05}"
            if number % each_directory == 0:
                directory.mkdir(parents=True)
            (directory / f"{number % each_directory:05}.dat").write_bytes(os.urandom(size_bytes))
        return root

    def drop(self, tree: Path) -> None:
        """Move it into the drop directory; by that it is complete."""
        tree.rename(self.summit.drop / tree.name)

    def take_in(self, tree: Path, files: int) -> float:
        """Drop it; the seconds until ``summit`` has committed so many entries."""
        before = self.entries(self.summit)
        began = time.monotonic()
        self.drop(tree)
        return self.until("committed", lambda: self.entries(self.summit) >= before + files) - began

    def hold(self) -> None:
        """Stop ``archive`` where it stands: what summit says meanwhile comes to it at once, when it is released."""
        self.until("archive is idle", self._is_idle, look_s=0.1)
        assert self.archive.process is not None
        os.kill(self.archive.process.pid, signal.SIGSTOP)

    def release(self) -> None:
        """Let it go on."""
        assert self.archive.process is not None
        os.kill(self.archive.process.pid, signal.SIGCONT)

    def _is_idle(self) -> bool:
        return not set(self.archive.client.status().transfers) - {"stored", "cancelled"}

    def confirm_acknowledged(self, files: int) -> None:
        """Wait until ``summit`` counts so many instances elsewhere: that the turn was what it is said to be."""
        self.until(
            f"{files} instances are known",
            lambda: self.summit.client.status().counts.instances_elsewhere >= files,
            look_s=0.1,
        )


@asynccontextmanager
async def two_sites(
    setting: Setting, name: str = "sites", *, overlay: Mapping[str, str] | None = None
) -> AsyncGenerator[Sites]:
    """Both run and know one another; ``archive`` is subscribed to everything of ``summit``.

    ``overlay``: variables of the environment of ``summit``. With ``setting.count`` the daemons count what they do.
    """
    root = setting.scratch.path / name
    root.mkdir()
    summit = Site(root / "summit", "summit", bus=f"embedded:{free_port()}", overlay=overlay)
    archive = Site(root / "archive", "archive")
    with sites(summit, archive):
        try:
            summit.start()
            wait_for("the bus is up", lambda: summit.client.status().bus.connected, summit)
            join(summit, archive)
            archive.lbctl("subscription", "add", "--from", "summit")
            yield Sites(summit, archive)
        finally:
            for site in (summit, archive):  # what is stopped by a signal ends by none but SIGKILL
                with suppress(ProcessLookupError):
                    site.kill()
