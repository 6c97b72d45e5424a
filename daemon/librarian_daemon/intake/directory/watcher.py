"""Reports changes at once if the filesystem has events. Events only make intake faster; only a walk is reliable.

A watch is added before its directory is read, so no change is missed. What does not fit (the kernel's queue,
our sets, the number of watches) asks for a walk instead.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from enum import IntEnum

from asyncinotify import Mask, Watch

from librarian_daemon.intake.directory.kernel_events import (
    IGNORED,
    IS_DIRECTORY,
    MOVED_FROM,
    MOVED_TO,
    OVERFLOW,
    EventQueue,
    KernelEvent,
)
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.unfinished import is_rsyncs

#: Number of paths remembered between two rounds.
MOST = 10_000
#: Number of renames with one half seen; the other half follows at once, or never if it is outside.
_HALVES = 64
_MASK = Mask.CREATE | Mask.CLOSE_WRITE | Mask.ATTRIB | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.ONLYDIR | Mask.EXCL_UNLINK


class Arrival(IntEnum):
    """How an entry arrived, as far as events show."""

    #: It is there: a walk found it, it was closed after writing, or it is looked at again.
    SEEN = 0
    #: It was renamed into place as a whole.
    MOVED = 1
    #: rsync gave it its name; it is unknown whether rsync had finished.
    BY_RSYNC = 2


class Heard:
    """The events since the last call; bounded."""

    def __init__(self) -> None:
        #: Directories that appeared, and how.
        self.directories: dict[bytes, Arrival] = {}
        #: Other paths that appeared or were closed after writing, and how they came.
        self.paths: dict[bytes, Arrival] = {}
        #: Something was missed.
        self.walk = False

    def note(self, rel: bytes, *, is_directory: bool, arrival: Arrival) -> None:
        """Remember one event; of several about one path, the last that says how it arrived."""
        into = self.directories if is_directory else self.paths
        if rel in into or len(into) < MOST:
            into[rel] = arrival or into.get(rel, Arrival.SEEN)
        else:
            self.walk = True


class Watcher:
    """inotify on a drop directory's own directories."""

    def __init__(self, signal: Signal) -> None:
        """``signal`` is set when something was heard."""
        self._signal = signal
        self._heard = Heard()
        self._inotify: EventQueue | None = None
        #: Cleared while a claim goes on.
        self._reading = asyncio.Event()
        self._reading.set()
        self._paths: dict[int, bytes] = {}
        self._watches: dict[bytes, Watch] = {}
        #: Paths that we renamed back ourselves: this does not mean that they are complete.
        self._returned: dict[bytes, None] = {}
        #: Paths that were renamed away, by the cookie of the rename.
        self._halves: dict[int, bytes] = {}
        #: Why there are no events, or not all; "" if there are.
        self.detail = ""

    def start(self) -> None:
        """Open it. If the system's limit is reached, ``detail`` says so and there are no events."""
        try:
            self._inotify = EventQueue()
        except OSError as exc:
            self.detail = f"no inotify: {exc.strerror}"

    @property
    def works(self) -> bool:
        """Whether every change is reported."""
        return self._inotify is not None and not self.detail

    def close(self) -> None:
        """Idempotent."""
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            inotify.close()

    def add(self, fd: int, path: bytes) -> None:
        """Watch the directory open at ``fd``, known as ``path`` from now on. Called before it is read; any thread."""
        if self._inotify is None:
            return
        try:
            # By descriptor: the path may have become a symbolic link.
            watch = self._inotify.add_watch(f"/proc/self/fd/{fd}", _MASK)
        except OSError as exc:
            if exc.errno == errno.ENOSPC:
                self.detail = "no more inotify watches (fs.inotify.max_user_watches)"
            else:
                self.detail = f"cannot watch: {exc.strerror}"
            return
        before = self._paths.get(watch.wd)
        if before is not None and before != path:  # it was renamed
            self._watches.pop(before, None)
        self._paths[watch.wd] = path
        self._watches[path] = watch

    def returned(self, rel: bytes) -> None:
        """Expect our own rename to this path."""
        if self._inotify is not None and len(self._returned) < MOST:
            self._returned[rel] = None

    def take(self) -> Heard:
        """All events since the last call."""
        heard, self._heard = self._heard, Heard()
        return heard

    async def run(self) -> None:
        """Drain events for ever; ends at once if there is no inotify."""
        if self._inotify is None:
            return
        while True:
            await self._inotify.readable()
            if not self._reading.is_set():
                await self._reading.wait()
            for event in self._inotify.read():
                self._event(event)

    @contextmanager
    def not_read(self) -> Generator[None]:
        """No events are read inside the block: a claim causes one for each file, and nobody waits for them."""
        self._reading.clear()
        try:
            yield
        finally:
            self._reading.set()

    def _event(self, event: KernelEvent) -> None:
        mask = event.mask
        if mask & IGNORED:
            path = self._paths.pop(event.watch, None)
            if path is not None and (watch := self._watches.get(path)) is not None and watch.wd == event.watch:
                del self._watches[path]
            return
        parent = self._paths.get(event.watch)
        if mask & OVERFLOW or parent is None:
            self._heard.walk = True
            self._signal.set()
            return
        if not event.name:
            return
        rel = parent + b"/" + event.name if parent else event.name
        is_directory = bool(mask & IS_DIRECTORY)
        if mask & MOVED_FROM:
            if is_directory:
                self._forget(rel)
            self._halves[event.cookie] = rel
            if len(self._halves) > _HALVES:
                del self._halves[next(iter(self._halves))]
            return
        arrival = Arrival.MOVED if mask & MOVED_TO else Arrival.SEEN
        before = self._halves.pop(event.cookie, None) if arrival is Arrival.MOVED else None
        if arrival is Arrival.MOVED and rel in self._returned:
            del self._returned[rel]
            arrival = Arrival.SEEN
        elif before is not None and not is_directory and is_rsyncs(os.fsdecode(before), os.fsdecode(rel)):
            arrival = Arrival.BY_RSYNC
        self._heard.note(rel, is_directory=is_directory, arrival=arrival)
        self._signal.set()

    def _forget(self, path: bytes) -> None:
        """A directory was moved away, by a claim or by somebody: its watches would report a wrong path."""
        below = path + b"/"
        for known in list(self._watches):
            if known == path or known.startswith(below):
                watch = self._watches.pop(known)
                self._paths.pop(watch.wd, None)
                if self._inotify is not None:
                    with suppress(OSError):  # the kernel has forgotten it already
                        self._inotify.rm_watch(watch)
