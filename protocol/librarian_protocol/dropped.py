"""Why something stands in a drop directory and is not taken: the reasons, how they end, what to do about each.

========================  ==============================================================================================
reason                    it ends
========================  ==============================================================================================
``still-being-written``   when nobody has it open for writing
``not-quiet-yet``         when nothing about it has changed for ``quiet_s``
``no-marker``             when the marker stands in the book
``not-readable``          when the daemon's user may read all of it
``holds-unfinished``      when no name in the book is a tool's temporary one (``unfinished.py``)
``not-seen-moved``        when it is moved in (``complete = "moved"``)
``not-seen-finished``     when rsync finishes it with its time, or it is moved in
``not-permitted``         when the daemon's user may move it out of its directory
``other-filesystem``      when it stands on the drop directory's filesystem
``cannot-be-moved``       when the system lets it be renamed
``paused``                when the pause that a person has made is over (``lbctl resume intake``)
========================  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Reason(StrEnum):
    """Why it waits."""

    STILL_WRITTEN = "still-being-written"
    NOT_QUIET = "not-quiet-yet"
    NO_MARKER = "no-marker"
    NOT_READABLE = "not-readable"
    HOLDS_UNFINISHED = "holds-unfinished"
    NOT_SEEN_MOVED = "not-seen-moved"
    NOT_SEEN_FINISHED = "not-seen-finished"
    NOT_PERMITTED = "not-permitted"
    OTHER_FILESYSTEM = "other-filesystem"
    CANNOT_MOVE = "cannot-be-moved"
    PAUSED = "paused"


#: What a person has to do. The other reasons are of whoever is writing, and end with his work.
HINTS = {
    Reason.NOT_READABLE: "its owner makes it readable for the daemon's user: `chmod -R g+rX PATH`,"
    " `chgrp -R GROUP PATH` (deploy/README.md)",
    Reason.HOLDS_UNFINISHED: "run the tool again to its end; where that name is the book's own, or is left over: remove"
    " it, or move the book out of the drop directory and in again",
    Reason.NOT_SEEN_MOVED: "move it out of the drop directory and in again: only what was seen to be moved in is taken",
    Reason.NOT_SEEN_FINISHED: "whether rsync was at its end, or was stopped (-P), cannot be seen: run it again with -t"
    " or -a, which sets the time at the end; or move the file out of the drop directory and in again",
    Reason.NOT_PERMITTED: "the daemon's user must be able to write to its directory, and to it where it is one:"
    " `chmod -R g+rwX PATH`, `chgrp -R GROUP PATH` (deploy/README.md)",
    Reason.OTHER_FILESYSTEM: "what is mounted below a drop directory is not taken: move it into the drop directory",
    Reason.CANNOT_MOVE: "the system does not let it be renamed, as where it is a mount point: see the message",
}
#: These are for a person from the first moment; of the others a little patience is had: people put them right.
AT_ONCE = frozenset({Reason.NOT_PERMITTED, Reason.OTHER_FILESYSTEM, Reason.CANNOT_MOVE})
#: Times ``quiet_s`` that the others have until they are an incident.
PATIENCE = 10
#: Things that an incident names.
NAMED = 3


class Outstanding(msgspec.Struct, frozen=True, kw_only=True):
    """Things that stand in one drop directory for one cause: one incident."""

    number: int
    #: In words; it names some of the things.
    message: str
    hint: str


def is_for_a_person(reason: str, waited_s: float, quiet_s: float) -> bool:
    """Whether something has waited so long for that reason that a person must know."""
    return reason in HINTS and (reason in AT_ONCE or waited_s >= PATIENCE * quiet_s)


def waiting(reason: str, number: int, examples: Sequence[str], *, at_least: bool) -> Outstanding:
    """What is said of things that wait for one reason; ``examples`` are some of them, one or more, in words."""
    more = f" and {number - len(examples[:NAMED]):,} more" if number > len(examples[:NAMED]) else ""
    count = f"{'at least ' if at_least else ''}{number:,} {'things wait' if number > 1 else 'thing waits'}"
    return Outstanding(
        number=number,
        message=f"{count} ({reason}): {', '.join(examples[:NAMED])}{more}",
        hint=HINTS[Reason(reason)] + "; `lbctl status` names what waits",
    )


def refused(cause: str, number: int, last: str, why: str, hint: str, before: Sequence[str]) -> Outstanding:
    """What is said of things that were refused for one cause.

    Args:
        cause: kind of the error, such as ``name-taken``.
        last: what was refused last; ``why`` and ``hint`` are of it.
        before: some others.
    """
    others = f"; {number - 1:,} before it, such as {', '.join(before[:NAMED])}" if before else ""
    return Outstanding(
        number=number,
        message=f"{number:,} {'were' if number > 1 else 'was'} refused ({cause}), the last {last}: {why}{others}",
        hint=f"{hint or 'see the reason'}; `lbctl rejected list --cause {cause}` names them, `lbctl rejected retry` "
        "drops them again, `lbctl rejected return` moves them elsewhere: that ends this",
    )
