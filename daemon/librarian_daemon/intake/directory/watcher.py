"""Hearing of changes at once, where the filesystem tells. Events only make intake faster: a walk is the truth.

A watch is added before its directory is read, so nothing falls between. What does not fit (the kernel's queue,
our sets, the number of watches) asks for a walk instead.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from asyncinotify import Event, Inotify, Mask, Watch

from librarian_daemon.signals import Signal

#: Paths remembered between two rounds.
MOST = 10_000
_READ_EVENTS = 256
_MASK = Mask.CREATE | Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.ONLYDIR | Mask.EXCL_UNLINK


class Heard:
    """What happened since it was last asked; bounded."""

    def __init__(self) -> None:
        #: Directories that appeared, and whether they were renamed into place.
        self.directories: dict[bytes, bool] = {}
        #: Other paths that appeared or were closed after writing, and whether they were renamed into place.
        self.paths: dict[bytes, bool] = {}
        #: Something was missed.
        self.walk = False

    def note(self, rel: bytes, *, is_directory: bool, moved: bool) -> None:
        """Remember one event; the stronger of two about one path stays."""
        into = self.directories if is_directory else self.paths
        if rel in into or len(into) < MOST:
            into[rel] = into.get(rel, False) or moved
        else:
            self.walk = True


class Watcher:
    """inotify on a drop directory's own directories."""

    def __init__(self, signal: Signal) -> None:
        """``signal`` is set when something was heard."""
        self._signal = signal
        self._heard = Heard()
        self._inotify: Inotify | None = None
        self._paths: dict[int, bytes] = {}
        self._watches: dict[bytes, Watch] = {}
        #: Paths that we renamed back ourselves: that says nothing about their being complete.
        self._returned: dict[bytes, None] = {}
        #: Why there are no events, or not all; "" where there are.
        self.detail = ""

    def start(self) -> None:
        """Open it. Where the system has no more to give, ``detail`` says so and nothing is ever heard."""
        try:
            self._inotify = Inotify(cache_size=_READ_EVENTS)
        except OSError as exc:
            self.detail = f"no inotify: {exc.strerror}"

    @property
    def works(self) -> bool:
        """Whether every change is heard of."""
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
            # By descriptor: a path could be somebody's link by now.
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
        """The next rename into place of this path is our own."""
        if self._inotify is not None and len(self._returned) < MOST:
            self._returned[rel] = None

    def take(self) -> Heard:
        """All that was heard since the last call."""
        heard, self._heard = self._heard, Heard()
        return heard

    async def run(self) -> None:
        """Drain events for ever; ends at once where there is no inotify."""
        if self._inotify is None:
            return
        async for event in self._inotify:
            self._event(event)

    def _event(self, event: Event) -> None:
        mask = event.mask
        number = None if event.watch is None else event.watch.wd
        if number is not None and Mask.IGNORED in mask:
            path = self._paths.pop(number, None)
            if path is not None and (watch := self._watches.get(path)) is not None and watch.wd == number:
                del self._watches[path]
            return
        parent = None if number is None else self._paths.get(number)
        if Mask.Q_OVERFLOW in mask or parent is None:
            self._heard.walk = True
            self._signal.set()
            return
        if event.name is None:
            return
        name = os.fsencode(event.name)
        rel = parent + b"/" + name if parent else name
        is_directory = Mask.ISDIR in mask
        if Mask.MOVED_FROM in mask:
            if is_directory:
                self._forget(rel)
            return
        moved = Mask.MOVED_TO in mask
        if moved and rel in self._returned:
            del self._returned[rel]
            moved = False
        self._heard.note(rel, is_directory=is_directory, moved=moved)
        self._signal.set()

    def _forget(self, path: bytes) -> None:
        """A directory was moved away, ours by a claim or anybody's: its watches would report under a wrong path."""
        below = path + b"/"
        for known in list(self._watches):
            if known == path or known.startswith(below):
                watch = self._watches.pop(known)
                self._paths.pop(watch.wd, None)
                if self._inotify is not None:
                    with suppress(OSError):  # the kernel has forgotten it already
                        self._inotify.rm_watch(watch)
