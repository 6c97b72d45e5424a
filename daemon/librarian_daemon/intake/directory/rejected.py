"""The content of ``.rejected``: list it and move it out. Blocking code; nothing is ever overwritten."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from librarian_adapters.beneath import READ_FILE
from librarian_daemon.fs.beneath import make_directories, move, opened, split
from librarian_daemon.intake.directory.drop import REJECTED, Drop, fsync_directories, parents, remove_empty, shown
from librarian_daemon.intake.directory.rejection import REASON, is_reason

_MOST_BYTES = 1 << 16
_NOT_WHAT = (" was not ingested; nothing", " was ingested and is in the store; this")


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A refused entry in ``.rejected``."""

    #: Its directory in ``.rejected``: when it was refused, and a random number.
    place: str
    #: As it was dropped, below the drop directory; escaped if it cannot be shown.
    what: str
    #: Kind of the error, such as ``name-taken``; "" if its text cannot be read.
    cause: str
    code: str
    at: str
    why: str
    hint: str


def refused(drop: Drop) -> Iterator[Refused]:
    """The entries of ``.rejected``, oldest first, without those that were taken out.

    Raises:
        StoreError: the drop directory cannot be read.
    """
    with drop.opened("reading .rejected") as fd:
        try:
            with opened(fd, REJECTED) as here:
                places = sorted(os.listdir(here))
        except FileNotFoundError:
            return
        for name in places:
            place = REJECTED + b"/" + os.fsencode(name)
            try:
                found = _refused(fd, place, name)
            except OSError as exc:
                if exc.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}:
                    raise
                continue  # it is being taken out now, or is not ours
            if found is not None:
                yield found


def _refused(drop: int, place: bytes, name: str) -> Refused | None:
    text = _text(drop, place)
    with opened(drop, place + b"/" + text, READ_FILE) as fd:
        said = os.read(fd, _MOST_BYTES).decode("utf-8", "replace")
    lines = {first: rest.strip() for first, _, rest in (line.partition(":") for line in said.splitlines())}
    what = lines.get("what", "")
    for end in _NOT_WHAT:
        what = what.partition(end)[0]
    if next(_things(drop, place, text, _depth(what)), None) is None:
        return None
    code, _, kind = lines.get("code", "").partition(" ")
    return Refused(
        place=name,
        what=what,
        cause=kind.replace("_", "-"),
        code=code,
        at=lines.get("when", ""),
        why=lines.get("why", ""),
        hint=lines.get("next", ""),
    )


def _depth(what: str) -> int:
    """The depth of the refused entry itself: the directories above it are ours."""
    return what.count("/") + 1


def _text(drop: int, place: bytes) -> bytes:
    """Name of the reason file in a place."""
    with opened(drop, place) as fd:
        return max(
            (reason for reason in map(os.fsencode, os.listdir(fd)) if is_reason(reason)), key=len, default=REASON
        )


def _things(drop: int, place: bytes, text: bytes, depth: int) -> Iterator[bytes]:
    """Paths of the refused entries below a place."""
    pending = [b""]
    while pending:
        path = pending.pop()
        with opened(drop, place + b"/" + path if path else place) as fd:
            for name in sorted(os.listdir(fd), reverse=True):
                rel = path + b"/" + os.fsencode(name) if path else os.fsencode(name)
                if rel == text:
                    continue
                if rel.count(b"/") + 1 < depth and _is_directory(fd, name):
                    pending.append(rel)
                else:
                    yield rel


def _is_directory(fd: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)


class Outcome(msgspec.Struct, frozen=True):
    """The result of moving one refused entry; ``problem`` is "" if it was moved."""

    found: Refused
    problem: str


_PROBLEMS = {
    errno.EEXIST: "its place there is occupied",
    errno.ENOTEMPTY: "its place there is occupied",
    errno.ENOTDIR: "a file stands where its directory should",
    errno.ELOOP: "a link stands where its directory should",
    errno.EXDEV: "that is another filesystem",
}


def move_out(drop: Drop, found: Refused, to: Drop) -> Outcome:
    """Move it to its own relative path below ``to``, which may be the drop directory itself.

    Raises:
        StoreError: the drop directory fails.
    """
    place = REJECTED + b"/" + os.fsencode(found.place)
    problem = ""
    with drop.opened("moving what was refused") as fd, to.opened("moving what was refused") as target:
        text = _text(fd, place)
        for rel in list(_things(fd, place, text, _depth(found.what))):
            try:
                make_directories(target, split(rel)[0], 0o777)
                move(fd, place + b"/" + rel, target, rel)
                fsync_directories(target, [*parents(rel), b""])
            except OSError as exc:
                problem = f"{shown(rel)}: {_PROBLEMS.get(exc.errno or 0, exc.strerror or str(exc))}"
        if not problem:
            _clear(fd, place, text)
    return Outcome(found, problem)


def _clear(drop: int, place: bytes, text: bytes) -> None:
    """Remove the reason file and the empty directories; everything else stays."""
    pending, found = [place], list[bytes]()
    while pending:
        path = pending.pop()
        found.append(path)
        with suppress(FileNotFoundError), opened(drop, path) as fd, os.scandir(fd) as entries:
            pending += [
                path + b"/" + os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)
            ]
    with suppress(FileNotFoundError), opened(drop, place) as fd:
        os.unlink(text, dir_fd=fd)
    for path in sorted(found, key=len, reverse=True):
        remove_empty(drop, path)
