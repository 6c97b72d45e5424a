"""Cutting the power below two running sites, for real: ext4 on a loop device, and its shutdown ioctl.

What was written and not made durable is gone after the ioctl, as after a power cut; then daemons and bus server are
killed, the filesystem is mounted again, and they are started again.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import struct
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import msgspec
import pytest
from tests.support.oracle import digest_of, in_book, some_bytes, standing
from tests.support.programs import needs
from tests.support.sites import Pair, Site, wait_for

from librarian_protocol import api
from librarian_protocol.errors import LibrarianError

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
#: The journal is written out first, or not: both happen with real disks.
FLAGS = {"journal flushed": 1, "nothing flushed": 2}
_LONGEST_S = 2.5
_PATIENCE_S = 30.0


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one cut; kept, line by line, with the results."""

    number: int
    flags: str
    after_s: float
    #: Files and books that had been accepted until then, since the first cut.
    accepted: int
    #: Dropped, and not known to be accepted.
    unfinished: int
    seconds: float


class Rig:
    """An ext4 filesystem with two sites on it."""

    def __init__(self, image: Path, around: Path) -> None:
        # Other tests' network namespaces copy the mounts there are. What is unmounted below a shared mount goes in the
        # copies too; else one of them would keep the dead filesystem, and the next mount would find it again.
        self._around = around
        subprocess.run(["mount", "--bind", str(around), str(around)], check=False)
        subprocess.run(["mount", "--make-shared", str(around)], check=False)
        self.place = around / "disk"
        self.place.mkdir()
        with image.open("wb") as file:
            file.truncate(512 << 20)
        needs("mkfs.ext4", "losetup")
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        found = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True)
        if found.returncode:
            pytest.skip(f"loop devices are not permitted here: {found.stderr.strip()}")
        self._device = found.stdout.strip()

    def mount(self) -> None:
        done = subprocess.run(["mount", self._device, str(self.place)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")

    def cut(self, flags: int) -> None:
        """From here on nothing is written or read."""
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", flags))
        except OSError as exc:
            pytest.skip(f"the shutdown ioctl is not permitted here: {exc}")
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Once nobody uses it."""
        end = time.monotonic() + _PATIENCE_S
        while subprocess.run(["umount", str(self.place)], capture_output=True).returncode:
            assert time.monotonic() < end, "somebody still uses the filesystem"
            time.sleep(0.05)

    def close(self) -> None:
        for place in (self.place, self._around):
            subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)
        subprocess.run(["losetup", "--detach", self._device], check=False)


@contextmanager
def rig(root: Path) -> Generator[Rig]:
    """Mounted; skips the test where that is not permitted."""
    around = root / "around"
    around.mkdir()
    made = Rig(root / "image", around)
    try:
        made.mount()
        yield made
    finally:
        made.close()


class Cuts:
    """Two sites on a rig, and what an outsider knows of them."""

    def __init__(self, both: Pair, disk: Rig, seed: int) -> None:
        self._both = both
        self._disk = disk
        self._chance = random.Random(seed)
        #: By name: what must stand for it.
        self._dropped: dict[str, Mapping[str, str]] = {}
        self._accepted: set[str] = set()
        self._acknowledged: set[str] = set()
        self._number = 0
        #: Each thing that is dropped has one of its own: after a cut it may stand where it was made.
        self._numbers = count()

    def once(self) -> Cut:
        """Work for a while, cut, start again, check everything."""
        began = time.monotonic()
        self._number += 1
        flags = self._chance.choice(sorted(FLAGS))
        after_s = round(self._chance.uniform(0.05, _LONGEST_S), 3)
        self._work(began + after_s)
        self._disk.cut(FLAGS[flags])
        unfinished = len(self._dropped.keys() - self._accepted)
        self._crash()
        self._disk.unmount()
        self._disk.mount()
        for site in self._both.sites:
            site.start()
        self._check()
        return Cut(
            number=self._number,
            flags=flags,
            after_s=after_s,
            accepted=len(self._accepted),
            unfinished=unfinished,
            seconds=round(time.monotonic() - began, 2),
        )

    # ---- before ------------------------------------------------------------------------------------------

    def _work(self, until: float) -> None:
        """Drop, and note what is said to be accepted, and acknowledged."""
        while time.monotonic() < until:
            self._drop()
            with suppress(LibrarianError):
                self._look()

    def _drop(self) -> None:
        """Made durable beforehand, as by any writer who cares: what is torn in a drop directory is nobody's secret."""
        number, source = next(self._numbers), self._both.source
        if number % 5:
            data = some_bytes(self._chance.choice([0, 300, 5000, 60_000]), number)
            name, wanted, drop = f"f{number}.dat", {f"f{number}.dat": digest_of(data)}, source.drop
            made = source.making / name
            made.write_bytes(data)
        else:
            book = {f"m/{n}": some_bytes(700, (number, n)) for n in range(5)} | {"empty": None}
            name, wanted, drop = f"b{number}", in_book(f"b{number}", book), source.drop_books
            made = source.make_book(name, book)
        subprocess.run(["sync", "-f", str(made)], check=True)
        self._dropped[name] = wanted
        made.rename(drop / name)

    def _look(self) -> None:
        for file in listing(self._both.source):
            self._accepted.add(file.name)
            if "archive" in file.sites:
                self._acknowledged.add(file.name)

    # ---- after -------------------------------------------------------------------------------------------

    def _crash(self) -> None:
        """The processes die with the machine."""
        for site in self._both.sites:
            site.kill()
            site.process = None
        for path in Path("/proc").glob("[0-9]*/cmdline"):  # the bus server
            with suppress(OSError):
                if os.fsencode(self._disk.place) in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)

    def _check(self) -> None:
        """Nobody repaired anything: what was accepted stands, and what is claimed is so."""
        source, destination = self._both.sites
        claims = [(file.name, holder) for site in self._both.sites for file in listing(site) for holder in file.sites]
        known = {file.name for file in listing(source)}
        at = {site.name: standing(site.store) for site in self._both.sites}  # read after what is claimed
        for name in self._accepted:
            assert at["summit"].items() >= self._dropped[name].items(), f"{name} was accepted and is lost"
        for name in self._acknowledged:
            assert at["archive"].items() >= self._dropped[name].items(), f"{name} was acknowledged and is lost"
        for name, holder in claims:
            assert at[holder].items() >= self._dropped[name].items(), f"{holder} claims {name}"
        assert known >= self._accepted, "the catalog forgot what it had accepted"
        # What was dropped and not accepted may be gone: its writer did not make it durable. The rest goes on.
        wait_for("the source is idle", lambda: _idle(source), source)
        names = {file.name for file in listing(source)}
        at["summit"] = standing(source.store)
        for name in self._dropped.keys() - names:
            assert not at["summit"].keys() & self._dropped[name].keys(), f"{name} has a name and no row"
            del self._dropped[name]
        wanted: dict[str, str] = {}
        for name in names:
            wanted |= self._dropped[name]
        self._both.wait_for("all arrives", lambda: standing(destination.store) == wanted)
        self._both.wait_for("all is acknowledged", lambda: _elsewhere(source) == len(names))
        for site in self._both.sites:
            wait_for("nothing complains", site.is_healthy, site)
            assert not site.logged("bus_amnesia"), "the bus lost what it had acknowledged"
            assert not site.logged("rewound"), "a site lost what it had said"
        self._accepted = set(names)


def listing(site: Site) -> list[api.FileSummary]:
    """All files that a site knows."""
    page = site.client.files(limit=1000)
    found = list(page.files)
    while page.next is not None:
        page = site.client.files(limit=1000, after=page.next)
        found += page.files
    return found


def _idle(site: Site) -> bool:
    return not site.left_in_drop() and not site.left_taken()


def _elsewhere(site: Site) -> int:
    return site.client.status().counts.instances_elsewhere
