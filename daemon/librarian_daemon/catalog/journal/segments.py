"""Operations on journals: this site's end, peers' segments, the outbox."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from librarian_daemon.catalog import cursors, schema
from librarian_daemon.catalog.committer import end_of_journal
from librarian_daemon.catalog.journal import quarantine, standings
from librarian_daemon.catalog.journal.permissions import OF_THE_ROSTER, apply_segment
from librarian_daemon.catalog.journal.refold import refold, refold_all, refold_changed
from librarian_daemon.catalog.mesh.roster import Member, known_members
from librarian_daemon.catalog.meta import get_meta, put_meta
from librarian_daemon.catalog.payloads import compress, decompress
from librarian_daemon.catalog.transaction import OutgoingSegment, Tx
from librarian_daemon.catalog.upserts import expanding, replacing, upsert
from librarian_protocol import segments
from librarian_protocol.authenticity import Signed
from librarian_protocol.entries import KINDS
from librarian_protocol.errors import NotAdmitted
from librarian_protocol.journal_state import COUNTING, NOT_COUNTING, JournalState
from librarian_protocol.names import SiteName
from librarian_protocol.roster import KeyStatus
from librarian_protocol.segment_verdict import MAX_HELD, Place, Verdict, judge
from librarian_protocol.segments import Position, Segment


def greatest_epoch(connection: Connection) -> int:
    """The greatest epoch that counts in any journal held here; 0 where there is none.

    Segments that wait or are void do not count: anybody could have claimed any epoch.
    """
    journal = schema.journal.c
    counting = select(journal.epoch).where(journal.state.in_(COUNTING))
    return connection.scalar(counting.order_by(journal.epoch.desc()).limit(1)) or 0


def greatest_epoch_begun(connection: Connection) -> int:
    """As :func:`greatest_epoch`, and what this site has begun without writing an entry."""
    return max(greatest_epoch(connection), int(get_meta(connection, "epoch") or 0))


def next_position(connection: Connection, site: SiteName, epoch: int, incarnation: str) -> Position:
    """Where a new incarnation continues this site's journal."""
    seq, last = end_of_journal(connection, site)
    return Position(site=site, epoch=epoch, incarnation=incarnation, seq=seq, hash=last)


# ---- peers' segments -------------------------------------------------------------------------------------


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a segment, for the log, the counters and incidents."""

    verdict: Verdict
    #: Entries that were applied, of this segment and of held ones that waited for it.
    applied: int = 0
    #: Why entries inside were refused, and why the journal does not advance.
    refused: list[str] = []
    stalled: str = ""
    #: It was not held: so many are held already that reading must stop until the gap is filled.
    full: bool = False
    #: Another segment already continues the same predecessor: its site's catalog was restored (rewound).
    branched: bool = False


def receive(tx: Tx, signed: Signed, stream_seq: int | None) -> Received:
    """Judge, keep and apply a segment whose signature was checked, and advance the reader's cursor with it.

    ``stream_seq`` is None where it did not come by the site's stream: then no cursor in a stream advances.

    Raises:
        PeerError: by the roster as it is now, its key does not count at its place. Nothing is kept.
    """
    connection, segment = tx.connection, signed.segment
    members = known_members(connection)
    member = members.get(segment.site)
    if member is None:
        raise NotAdmitted(f"site {segment.site!r} is not of this mesh")
    segment_hash = segments.hash_of(signed.payload)
    state = connection.scalar(_STATE_OF, {"this": segment_hash})
    standing: KeyStatus | None = KeyStatus.COUNTS
    if state in {None, JournalState.ENDED}:
        standing = standings.standing_of(connection, member, signed, segment_hash)
        if standing is None:
            return _kept_aside(tx, member, signed, segment_hash, stream_seq)
        if standing is KeyStatus.COUNTS and state is not None:
            # It was kept with the signature of a key that ended. Anyone who has that key can sign anything again.
            connection.execute(_FORGET, {"this": segment_hash})
    verdict = judge(
        segment,
        segment_hash,
        at_place=_at_place(connection, segment, segment_hash),
        predecessor=_predecessor(connection, segment),
        void=_is_void(connection, segment),
        beyond=standing is KeyStatus.ENDED,
    )
    applied, refused, stalled = 0, list[str](), ""
    if verdict is Verdict.APPLY:
        position = _keep(tx, signed, segment_hash, JournalState.HELD)
        applied, refused = _release(tx, _Ready(position, segment, segment_hash), members)
    elif verdict is Verdict.HOLD:
        if held(connection, segment.site) >= MAX_HELD:
            return Received(
                verdict=verdict, full=True, stalled=f"gap before entry {segment.first_seq}; {MAX_HELD} segments held"
            )
        _keep(tx, signed, segment_hash, JournalState.HELD)
        if connection.scalar(_STATE_OF, {"this": segment.prev}) == "ended":
            # A segment that did not count until now turns out to be a predecessor of this one.
            refold(tx, segment.site)
        stalled = _stalled(connection, segment.site)
    elif verdict is Verdict.EQUIVOCATION:
        # Both are kept as proof and sent on. What builds on either of them no longer counts.
        _keep(tx, signed, segment_hash, JournalState.VOID)
        refold(tx, segment.site)
        stalled = _stalled(connection, segment.site)
    elif verdict is Verdict.BROKEN:
        _keep(tx, signed, segment_hash, JournalState.VOID)
        stalled = f"segment at entry {segment.first_seq} does not continue its predecessor"
    if segment.site == tx.site and verdict in {Verdict.APPLY, Verdict.HOLD}:
        quarantine.begin(tx, "entries of this site came back that its catalog did not hold")
    if stream_seq is None:
        _note_stalled(tx, segment.site, stalled)
    else:
        note_reading(tx, segment.site, stream_seq, stalled)
    branched = verdict is Verdict.APPLY and _branches(connection, segment, segment_hash)
    return Received(verdict=verdict, applied=applied, refused=refused, stalled=stalled, branched=branched)


def receive_all(tx: Tx, arrived: Sequence[tuple[Signed, int]]) -> list[Received]:
    """As :func:`receive`, of segments with their numbers in the site's stream, in this order.

    Raises:
        PeerError: as there, of one of them.
    """
    return [receive(tx, signed, stream_seq) for signed, stream_seq in arrived]


_FORGET = delete(schema.journal).where(schema.journal.c.hash == bindparam("this"))
_STATE_OF = select(schema.journal.c.state).where(schema.journal.c.hash == bindparam("this"))


def _kept_aside(tx: Tx, member: Member, signed: Signed, segment_hash: str, stream_seq: int | None) -> Received:
    """A segment under a key that ended, at which it cannot be told yet: it counts when the rest turns out to need it.

    As many are kept as that past can have, and some more: whoever has the key can make any number of them.
    """
    reach = max(end.last_seq for end in member.ends[signed.key])
    stalled = f"entry {reach}, at which a key of {member.site} ended, is not here"
    known = tx.connection.scalar(_STATE_OF, {"this": segment_hash}) is not None
    full = not known and held(tx.connection, member.site, JournalState.ENDED) >= MAX_HELD + reach
    if not known and not full:
        _keep(tx, signed, segment_hash, JournalState.ENDED)
    if stream_seq is None:
        _note_stalled(tx, member.site, stalled)
    elif not full:
        note_reading(tx, member.site, stream_seq, stalled)
    return Received(verdict=Verdict.ASIDE, stalled=stalled, full=full)


def _branches(connection: Connection, segment: Segment, segment_hash: str) -> bool:
    """Whether another segment of the site, in another incarnation, continues the same predecessor."""
    this = {"before": segment.prev, "origin": str(segment.site), "this": segment_hash}
    return connection.scalar(_OTHER_BRANCH, this) is not None


_JOURNAL = schema.journal.c
_ORIGINS = _JOURNAL.site == bindparam("origin")
_COUNTING = _JOURNAL.state.not_in(NOT_COUNTING)
_OTHER_BRANCH = (
    select(_JOURNAL.position)
    .where(_JOURNAL.prev == bindparam("before"), _ORIGINS, _JOURNAL.hash != bindparam("this"), _COUNTING)
    .limit(1)
)


def _at_place(connection: Connection, segment: Segment, segment_hash: str) -> str | None:
    """The hash of what is held with a number that this segment has; its own, if it is held."""
    place = {
        "origin": str(segment.site),
        "of": segment.incarnation,
        "least": segment.first_seq - segments.MAX_ENTRIES + 1,
        "first": segment.first_seq,
        "last": segment.last_seq,
    }
    held = connection.scalars(_OVERLAPPING, place).all()
    return segment_hash if segment_hash in held else next(iter(held), None)


_OVERLAPPING = select(_JOURNAL.hash).where(
    _ORIGINS,
    _JOURNAL.incarnation == bindparam("of"),
    _JOURNAL.first_seq.between(bindparam("least"), bindparam("last")),
    _JOURNAL.last_seq >= bindparam("first"),
    _JOURNAL.state != JournalState.ENDED,
)


def _predecessor(connection: Connection, segment: Segment) -> Place | None:
    row = connection.execute(_PREDECESSOR, {"before": segment.prev, "origin": str(segment.site)}).first()
    if row is None:
        return None
    return Place(
        hash=row.hash,
        epoch=row.epoch,
        incarnation=row.incarnation,
        last_seq=row.last_seq,
        applied=row.state in COUNTING,
    )


_PREDECESSOR = select(_JOURNAL.hash, _JOURNAL.epoch, _JOURNAL.incarnation, _JOURNAL.last_seq, _JOURNAL.state).where(
    _JOURNAL.hash == bindparam("before"), _ORIGINS, _COUNTING
)


def _is_void(connection: Connection, segment: Segment) -> bool:
    this = {"origin": str(segment.site), "of": segment.incarnation, "first": segment.first_seq}
    return bool(connection.scalar(_VOID_BEFORE, this))


_VOID_BEFORE = select(func.count()).where(
    _ORIGINS,
    _JOURNAL.incarnation == bindparam("of"),
    # The sum keeps SQLite from walking the whole journal by its numbers: what is void is little, and has an index.
    _JOURNAL.first_seq + 0 <= bindparam("first"),
    _JOURNAL.state == JournalState.VOID,
)


def held(connection: Connection, site: SiteName, state: JournalState = JournalState.HELD) -> int:
    """How many segments of the site are in that state; by default, those that wait for segments before them."""
    return connection.scalar(_HELD, {"origin": str(site), "state": state}) or 0


_HELD = select(func.count()).where(_ORIGINS, _JOURNAL.state == bindparam("state"))


def _keep(tx: Tx, signed: Signed, segment_hash: str, state: JournalState) -> int:
    segment = signed.segment
    written = tx.connection.execute(
        _KEEP,
        {
            "site": str(segment.site),
            "epoch": segment.epoch,
            "incarnation": segment.incarnation,
            "first_seq": segment.first_seq,
            "last_seq": segment.last_seq,
            "kind": segment.kind,
            "prev": segment.prev,
            "hash": segment_hash,
            "signature": signed.signature,
            "key": signed.key,
            "payload": compress(signed.payload),
            "state": state,
            "received_at": tx.now,
            "returned": segment.site == tx.site,
        },
    )
    position: int = written.scalar_one()
    return position


_KEEP = insert(schema.journal).returning(schema.journal.c.position)


class _Ready(NamedTuple):
    """A segment that is held here, and can be applied."""

    position: int
    segment: Segment
    hash: str


def _release(tx: Tx, first: _Ready, members: dict[SiteName, Member]) -> tuple[int, list[str]]:
    """Apply a held segment, then the segments that were held only because this one was missing."""
    ready, applied, refused = deque([first]), 0, list[str]()
    while ready:
        position, segment, segment_hash = ready.popleft()
        known, bad = apply_segment(tx, segment, members.get(segment.site))
        applied += known or 0
        refused += bad
        state = JournalState.UNKNOWN if known is None else JournalState.APPLIED
        tx.connection.execute(_SET_STATE, {"at": position, "state": state})
        cursors.advance(tx.connection, segment.site, segment.epoch, segment.incarnation, segment.last_seq, segment_hash)
        if segment.kind in OF_THE_ROSTER:
            refold_changed(tx, members)
            members = known_members(tx.connection)
        followers = tx.connection.execute(_FOLLOWERS, {"origin": str(segment.site), "before": segment_hash})
        for follower in followers.all():
            later = segments.decode(decompress(follower.payload))
            verdict = judge(
                later, follower.hash, at_place=None, predecessor=_predecessor(tx.connection, later),
                void=_is_void(tx.connection, later),
            )  # fmt: skip
            if verdict is Verdict.APPLY:
                ready.append(_Ready(follower.position, later, follower.hash))
    return applied, refused


_SET_STATE = update(schema.journal).where(_JOURNAL.position == bindparam("at")).values(state=bindparam("state"))
_FOLLOWERS = select(_JOURNAL.position, _JOURNAL.hash, _JOURNAL.payload).where(
    _ORIGINS, _JOURNAL.prev == bindparam("before"), _JOURNAL.state == JournalState.HELD
)


def apply_upgraded(tx: Tx) -> None:
    """After an upgrade to other rules of what counts: apply anew all that does, once."""
    if get_meta(tx.connection, "refold") == "1":
        refold_all(tx)
        put_meta(tx.connection, "refold", "")


def apply_unknown(tx: Tx) -> int:
    """After an upgrade: apply some segments whose kind was not known when they came. Says how many; 0: no more."""
    journal = schema.journal.c
    rows = tx.connection.execute(
        select(journal.position, journal.payload)
        .where(journal.state == JournalState.UNKNOWN, journal.kind.in_(sorted(KINDS)))
        .order_by(journal.position)
        .limit(100)
    ).all()
    for row in rows:
        segment = segments.decode(decompress(row.payload))
        apply_segment(tx, segment, known_members(tx.connection).get(segment.site))
        tx.connection.execute(
            update(schema.journal).where(journal.position == row.position).values(state=JournalState.APPLIED)
        )
    return len(rows)


# ---- the reader's cursor ---------------------------------------------------------------------------------


def note_reading(tx: Tx, site: SiteName, stream_seq: int, stalled: str) -> None:
    """Record how far the site's stream was read, and what stops its journal: ``stalled``, or segments that are held."""
    stalled = stalled or _stalled(tx.connection, site)
    row = {"site": str(site), "stream_seq": stream_seq, "heard_at": tx.now, "stalled": stalled}
    tx.connection.execute(_NOTE_READING(tx.connection), row)


_NOTE_READING = replacing(schema.reading, "site")


def _note_stalled(tx: Tx, site: SiteName, stalled: str) -> None:
    """What stops the site's journal, where nothing came by its stream."""
    stalled = stalled or _stalled(tx.connection, site)
    tx.connection.execute(_NOTE_STALLED, {"origin": str(site), "stalled": stalled})


_NOTE_STALLED = (
    update(schema.reading).where(schema.reading.c.site == bindparam("origin")).values(stalled=bindparam("stalled"))
)


def _stalled(connection: Connection, site: SiteName) -> str:
    """Why segments of the site that are held here are not applied; "" where there are none."""
    row = connection.execute(_STALLED, {"origin": str(site)}).first()
    if row is None:
        return ""
    if row.state == "void":
        return f"two segments signed for entry {row.first_seq} of incarnation {row.incarnation}"
    return f"gap before entry {row.first_seq}"


_STALLED = (
    select(_JOURNAL.state, _JOURNAL.incarnation, _JOURNAL.first_seq)
    .where(_ORIGINS, _JOURNAL.state.in_([JournalState.VOID, JournalState.HELD]))
    .order_by(_JOURNAL.state.desc(), _JOURNAL.epoch, _JOURNAL.first_seq)
    .limit(1)
)


def read_after(connection: Connection, site: SiteName) -> int:
    """The reader's cursor in the site's stream; 0 at first."""
    reading = schema.reading.c
    return connection.scalar(select(reading.stream_seq).where(reading.site == str(site))) or 0


# ---- the outbox ------------------------------------------------------------------------------------------


def outgoing(connection: Connection, limit: int, passed: Sequence[int] = ()) -> list[OutgoingSegment]:
    """The oldest segments of the outbox, in order, without those at ``passed``."""
    rows = connection.execute(_OUTGOING, {"limit": limit + len(passed)})
    without = set(passed)
    found = [row for row in rows if row.position not in without][:limit]
    return [
        OutgoingSegment(
            position=row.position,
            kind=row.kind,
            hash=row.hash,
            signature=row.signature,
            payload=decompress(row.payload),
        )
        for row in found
    ]


_OUTGOING = (
    select(_JOURNAL.position, _JOURNAL.kind, _JOURNAL.hash, _JOURNAL.signature, _JOURNAL.payload)
    .join(schema.outbox, schema.outbox.c.position == _JOURNAL.position)
    .order_by(schema.outbox.c.position)
    .limit(bindparam("limit"))
)


def acknowledged(tx: Tx, positions: list[int]) -> None:
    """The bus has these. Idempotent."""
    tx.connection.execute(_LEAVE_OUTBOX, {"positions": positions})


_LEAVE_OUTBOX = delete(schema.outbox).where(schema.outbox.c.position.in_(expanding("positions")))


def requeue_all(tx: Tx, site: SiteName) -> None:
    """Put everything of this site into the outbox again: the bus has lost its stream."""
    own = select(schema.journal.c.position).where(schema.journal.c.site == str(site))
    tx.connection.execute(upsert(tx.connection, schema.outbox).from_select(["position"], own).on_conflict_do_nothing())
