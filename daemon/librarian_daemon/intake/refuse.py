"""Refusing: the thing goes to ``.rejected/<utc>-<id>/`` whole, with the reason in words beside it. Blocking code."""

from __future__ import annotations

import os

from librarian_daemon.intake.claim import Claimed
from librarian_daemon.intake.drop import REJECTED, Drop, fsync_directories, parents, shown
from librarian_daemon.store.confined import make_directories, move, opened, split, write_file
from librarian_protocol.errors import LibrarianError

REASON = b"REASON.txt"


def reason_text(drop: Drop, claimed: Claimed, error: LibrarianError, at: str) -> str:
    """What the person who dropped it reads: what, where, why, what next."""
    return "\n".join(
        [
            f"what:  {shown(claimed.rel)} was not ingested; nothing of it was changed or removed",
            f"where: {drop.path}",
            f"when:  {at}",
            f"why:   {error.message}",
            f"next:  {error.hint or 'put right what is wrong, then move it into the drop directory again'}",
            f"code:  {error.code} {error.kind}",
            "",
        ]
    )


def refuse(drop: Drop, claimed: Claimed, error: LibrarianError, at: str, refusal_id: str) -> str:
    """Move it out of ``.claimed`` and say why; where it went, below the drop directory.

    The reason is written first, so that no crash leaves a refused thing without one.

    Args:
        at: the time in RFC 3339.
        refusal_id: random, so that no two refusals share a directory.

    Raises:
        StoreFull, NoInodes, StoreFault: the drop directory's filesystem does not take it.
    """
    compact = at.replace("-", "").replace(":", "").split(".")[0]
    place = REJECTED + b"/" + f"{compact}Z-{refusal_id}".encode()
    target = place + b"/" + claimed.rel
    # A thing of that very name must find its place free.
    reason = b"_" + REASON if claimed.rel.split(b"/")[0] == REASON else REASON
    with drop.opened("refusing") as fd:
        make_directories(fd, place)
        with opened(fd, place) as here:
            write_file(here, reason, reason_text(drop, claimed, error, at).encode())
        make_directories(fd, split(target)[0])
        move(fd, claimed.path, fd, target)
        fsync_directories(fd, [*parents(target), split(claimed.path)[0]])
    return os.fsdecode(place)
