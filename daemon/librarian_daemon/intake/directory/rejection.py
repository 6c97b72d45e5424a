"""Refuses: moves the entry whole to ``.rejected/<utc>-<id>/``, with a reason file beside it. Blocking code.

Its owner can take it out again: the directories made for it are world-writable and sticky, so nobody can move another
user's files.
"""

from __future__ import annotations

import os
import stat

from librarian_daemon.fs.beneath import make_directories, move, opened, split, write_file
from librarian_daemon.intake.directory.claimed import Claimed
from librarian_daemon.intake.directory.drop import REJECTED, Drop, fsync_directories, parents, shown
from librarian_protocol.errors import LibrarianError

REASON = b"REASON.txt"
#: The cause in the reason file of an original that is already in the store.
ORIGINAL_LEFT = "original_left"
_REFUSED = " was not ingested; nothing of it was changed or removed"
_ACCEPTED = " was ingested and is in the store; this is what is left of the original"
_OPEN_TO_OWNERS = stat.S_ISVTX | 0o777


def reason_text(drop: Drop, claimed: Claimed, error: LibrarianError, at: str, *, accepted: bool = False) -> str:
    """The text for the person who dropped it: what, where, why, what to do."""
    return "\n".join(
        [
            f"what:  {shown(claimed.rel)}{_ACCEPTED if accepted else _REFUSED}",
            f"where: {drop.path}",
            f"when:  {at}",
            f"why:   {shown(os.fsencode(error.message))}",
            f"next:  {error.hint or 'put right what is wrong, then move it into the drop directory again'}",
            f"code:  {error.code} {ORIGINAL_LEFT if accepted else error.kind}",
            "",
        ]
    )


def refuse(drop: Drop, claimed: Claimed, text: str, at: str, refusal_id: str) -> str:
    """Move it out of ``.claimed`` and write the reason. Returns its new path below the drop directory.

    The reason is written first, so a crash never leaves a refused entry without one.

    Args:
        at: the time in RFC 3339.
        refusal_id: random, so that no two refusals share a directory.

    Raises:
        PermissionError: we may not move it: it stays claimed.
        StoreFull, NoInodes, StoreFault: the drop directory's filesystem does not take it.
    """
    compact = at.replace("-", "").replace(":", "").split(".")[0]
    place = REJECTED + b"/" + f"{compact}Z-{refusal_id}".encode()
    target = place + b"/" + claimed.rel
    reason = reason_beside(claimed.rel)
    kept = None
    with drop.opened("refusing") as fd:
        make_directories(fd, place)
        with opened(fd, place) as here:
            write_file(here, reason, text.encode())
        make_directories(fd, split(target)[0])
        try:
            move(fd, claimed.path, fd, target)
        except PermissionError as exc:
            kept = exc
            _unmake(fd, place, reason, parents(target))
        else:
            for directory in parents(target)[:-1]:
                with opened(fd, directory) as made:
                    os.fchmod(made, _OPEN_TO_OWNERS)
            fsync_directories(fd, [*parents(target), split(claimed.path)[0]])
    if kept is not None:
        raise kept
    return os.fsdecode(place)


def reason_beside(rel: bytes) -> bytes:
    """Name of the reason file beside an entry of possibly the same name: of two such names the longer is the reason
    file.
    """
    top = rel.split(b"/")[0]
    return b"_" + top if is_reason(top) else REASON


def is_reason(name: bytes) -> bool:
    """Whether a reason file can have that name."""
    return name.lstrip(b"_") == REASON


def _unmake(drop: int, place: bytes, reason: bytes, made: list[bytes]) -> None:
    with opened(drop, place) as here:
        os.unlink(reason, dir_fd=here)
    for directory in made[:-1]:
        parent, name = split(directory)
        with opened(drop, parent) as fd:
            os.rmdir(name, dir_fd=fd)
