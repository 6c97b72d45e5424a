"""The row of one instance while it is given up: its states, and what takes it from one to the next. Pure.

=========  =======  =======  =======  =====  =========  =========  =========  =========  ========  ====================
stage      intend   decide   trashed  close  timed_out  land       heal       suspect    withdraw  put_back
=========  =======  =======  =======  =====  =========  =========  =========  =========  ========  ====================
available  pending                                      available  available  suspected  decided
suspected                                               available  available  suspected  decided
pending             decided                  available  available  available  suspected  decided
decided                      trashed                    available  available             decided   available, suspected
trashed                               gone              available  available             trashed   available, suspected
gone                                                    available
=========  =======  =======  =======  =====  =========  =========  =========  =========  ========  ====================

An empty cell: nothing happens, or it is refused as a fault of the caller (``InvalidTransition``).
``started`` is for every stage: a start aborts what was pending and puts back what was decided.

Theory of operation. An attempt is known by its nonce: fresh for each, and gone from the row as soon as the row is
available again, in the same transaction. What acts for an attempt (an answer that comes, a rename, an unlink) names
the nonce it acts for, and does nothing where the row has another: :func:`is_of`. Whoever renames or unlinks holds the
file's lock, and asks that under the lock. Landing, healing, resolving, putting back and withdrawing hold the same lock.

A row that is pending, decided or in trash never vouches. Its bytes are served all the same.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from librarian_protocol.errors import InvalidTransition


class Stage(StrEnum):
    """Where an instance is."""

    AVAILABLE = "available"
    SUSPECTED = "suspected"
    #: Others are asked, round 1.
    PENDING = "pending"
    #: Round 1 was enough. The bytes are to be renamed, or just were.
    DECIDED = "decided"
    #: The bytes stand in trash: the grace, then round 2.
    TRASHED = "trashed"
    GONE = "gone"


#: Stages of an attempt.
OPEN = frozenset({Stage.PENDING, Stage.DECIDED, Stage.TRASHED})


class Row(msgspec.Struct, frozen=True):
    """What the catalog has of an instance, as far as giving it up goes."""

    stage: Stage = Stage.AVAILABLE
    #: 128 random bits in hex: of the open attempt. Round 2 has another one than round 1. "" where none is open.
    nonce: str = ""
    #: The directory below ``trash/`` that the bytes are renamed to: the nonce they were decided under. A row that is
    #: gone keeps it: only what stands in that directory may be unlinked after a crash.
    trash: str = ""
    #: When the bytes came to trash for the first time, in seconds of the wall clock; a start keeps it.
    since_s: float | None = None
    #: Given up because the file was withdrawn: without vouches.
    withdrawn: bool = False


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a start finds in the store for a row."""

    #: The directory in trash whose list names it and which still has its bytes; "" where there is none.
    trash: str = ""
    #: Something stands at its name.
    named: bool = False


class Action(StrEnum):
    """What is done with the bytes before the row is committed."""

    NOTHING = "nothing"
    #: Rename them back from trash, and hash them. Where good bytes of the file stand at the name already, those in
    #: trash are unlinked instead.
    PUT_BACK = "put-back"
    #: Unlink them in trash.
    UNLINK = "unlink"


AVAILABLE = Row()


def is_of(row: Row, nonce: str) -> bool:
    """Whether the attempt is still the row's. Asked under the file's lock before each rename and unlink."""
    return row.nonce == nonce


def intend(row: Row, nonce: str) -> Row:
    """An attempt begins under a fresh nonce. Committed before anybody is asked.

    Raises:
        InvalidTransition: it is not available.
    """
    _expect(row, "intend", Stage.AVAILABLE)
    return Row(Stage.PENDING, nonce, since_s=row.since_s)


def decide(row: Row, nonce: str) -> Row:
    """Round 1 was enough. Committed before the bytes are renamed. Of another attempt, or a second time: nothing."""
    if not is_of(row, nonce) or row.stage in (Stage.DECIDED, Stage.TRASHED):
        return row
    return msgspec.structs.replace(row, stage=Stage.DECIDED, trash=nonce)


def trashed(row: Row, nonce: str, fresh: str, now_s: float) -> Row:
    """The bytes of the attempt ``nonce`` stand in trash, durably. Round 2 will be asked under ``fresh``.

    Raises:
        InvalidTransition: they were renamed, and it is not decided.
    """
    if not is_of(row, nonce):
        return row
    _expect(row, "find in trash", Stage.DECIDED)
    since_s = now_s if row.since_s is None else min(row.since_s, now_s)
    return msgspec.structs.replace(row, stage=Stage.TRASHED, nonce=fresh, since_s=since_s)


def grace_left_s(row: Row, grace_s: float, now_s: float) -> float:
    """Seconds until round 2 may be asked. Where the clock was set back: the whole grace, until it is right again."""
    since_s = now_s if row.since_s is None else min(row.since_s, now_s)
    return max(0.0, since_s + grace_s - now_s)


def close(row: Row, nonce: str) -> Row:
    """Round 2 was enough, or a withdrawal's time is over. Committed before the bytes in trash are unlinked.

    Raises:
        InvalidTransition: they are not in trash.
    """
    if not is_of(row, nonce):
        return row
    _expect(row, "close", Stage.TRASHED)
    return Row(Stage.GONE, trash=row.trash)


def timed_out(row: Row, nonce: str) -> Row:
    """Too few answers came in time. What was decided is put back instead (:func:`put_back`)."""
    if row.stage is not Stage.PENDING or not is_of(row, nonce):
        return row
    return Row(since_s=row.since_s)


def put_back(row: Row, *, intact: bool) -> Row:
    """The bytes stand at their name again and were hashed. Committed after the rename.

    For every reason not to go on with what was decided: too few answers in round 2, a hold, a conflict, a resolution,
    a person's wish.

    Raises:
        InvalidTransition: it was not decided.
    """
    _expect(row, "put back", Stage.DECIDED, Stage.TRASHED)
    return AVAILABLE if intact else Row(Stage.SUSPECTED)


def land(row: Row) -> Row:
    """Verified bytes stand at the name: pulled, dropped once more, or found. Whatever was open is void.

    Bytes of the file that stand in trash are unlinked after the commit; after a crash the next start does it.
    """
    return AVAILABLE


def heal(row: Row) -> Row:
    """Good bytes were exchanged for bad ones. Whatever was open is void.

    Raises:
        InvalidTransition: it is gone: nothing is mended then, it may only land.
    """
    _expect(row, "heal", *(stage for stage in Stage if stage is not Stage.GONE))
    return AVAILABLE


def suspect(row: Row) -> Row:
    """Its bytes are bad, or missing. What was pending is void.

    Raises:
        InvalidTransition: it is decided or in trash, where putting it back hashes it, or gone.
    """
    _expect(row, "suspect", Stage.AVAILABLE, Stage.SUSPECTED, Stage.PENDING)
    return Row(Stage.SUSPECTED)


def withdraw(row: Row, nonce: str) -> Row:
    """An administrator withdrew the file: its bytes go to trash without vouches. What was open is void.

    Its time in trash counts from when the bytes first came there, also where a rule had brought them.

    Raises:
        InvalidTransition: it is gone.
    """
    _expect(row, "withdraw", *(stage for stage in Stage if stage is not Stage.GONE))
    stage = Stage.TRASHED if row.stage is Stage.TRASHED else Stage.DECIDED
    return Row(stage, nonce, row.trash or nonce, row.since_s, withdrawn=True)


def at_start(row: Row, found: Found) -> Action:
    """What a start does with the bytes, before :func:`started`. Can be repeated after a crash.

    The trash's own list tells of the bytes, whatever the row says: the catalog may be older than the trash. They are
    unlinked only where the row is gone *and* names that very directory. A row that is gone may be older than bytes that
    came back since and were decided about again.
    """
    if not found.trash:
        return Action.NOTHING
    if row.stage is Stage.GONE and row.trash == found.trash:
        return Action.UNLINK
    return Action.PUT_BACK


def started(row: Row, *, put_back: bool, named: bool, intact: bool) -> Row:
    """The row after a start. No attempt outlives the incarnation that asked.

    Args:
        put_back: bytes were put back from trash.
        named: something stands at the name now.
        intact: it was hashed and is right; asked only where it was put back or decided.
    """
    if put_back:
        return Row(since_s=row.since_s) if intact else Row(Stage.SUSPECTED)
    if row.stage is Stage.PENDING:
        return Row(since_s=row.since_s)
    if row.stage in (Stage.DECIDED, Stage.TRASHED):
        return Row(since_s=row.since_s) if named and intact else Row(Stage.SUSPECTED)
    return row


def _expect(row: Row, what: str, *stages: Stage) -> None:
    if row.stage not in stages:
        raise InvalidTransition(f"cannot {what} an instance that is {row.stage}")
