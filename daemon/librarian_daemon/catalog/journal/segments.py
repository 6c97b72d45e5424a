"""Operations on journals: this site's end, peers' segments, the outbox."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from librarian_daemon.believing import Signed, counts
from librarian_daemon.catalog import cursors, recovery, schema
from librarian_daemon.catalog.believed import OF_THE_ROSTER, apply_segment
from librarian_daemon.catalog.refolding import refold, refold_changed
from librarian_daemon.catalog.roster import Member, known_members
from librarian_daemon.catalog.statements import expanding, replacing
from librarian_daemon.catalog.statements import insert as upsert
from librarian_daemon.catalog.writer import Tx, compress, decompress, end_of_journal, get_meta
from librarian_protocol import segments
from librarian_protocol.entries import KINDS
from librarian_protocol.names import SiteName
from librarian_protocol.receiving import MAX_HELD, Place, Verdict, judge
from librarian_protocol.segments import Position, Segment


def greatest_epoch(connection: Connection) -> int:
    """The greatest epoch in any journal held here; 0 where there is none."""
    return connection.scalar(select(func.coalesce(func.max(schema.journal.c.epoch), 0))) or 0


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
    #: Entries that were applied, of this segment and of held ones that it set free.
    applied: int = 0
    #: Why entries inside were refused, and why the journal does not advance.
    refused: list[str] = []
    stalled: str = ""
    #: Not even held: so many are held already that pulling must stop until the gap is filled.
    full: bool = False
    #: The segment goes on from where another one does already: its site's catalog was restored (rewound).
    branched: bool = False


def receive(tx: Tx, signed: Signed, stream_seq: int | None) -> Received:
    """Judge, keep and apply a segment whose signature was checked, and advance the reader's cursor with it.

    ``stream_seq`` is None where it did not come by the site's stream: then no cursor in a stream advances.

    Raises:
        PeerError: by the roster as it is now, its key does not count at its place. Nothing is kept.
    """
    connection, segment, payload, signature = tx.connection, signed.segment, signed.payload, signed.signature
    members = known_members(connection)
    beyond = not counts(members.get(segment.site), signed)
    segment_hash = segments.hash_of(payload)
    verdict = judge(
        segment,
        segment_hash,
        at_place=_at_place(connection, segment, segment_hash),
        predecessor=_predecessor(connection, segment),
        void=_is_void(connection, segment),
        beyond=beyond,
    )
    applied, refused, stalled = 0, list[str](), ""
    if verdict is Verdict.APPLY:
        position = _keep(tx, segment, payload, signature, segment_hash, "held")
        applied, refused = _release(tx, _Ready(position, segment, segment_hash), members)
    elif verdict is Verdict.HOLD:
        if held(connection, segment.site) >= MAX_HELD:
            return Received(
                verdict=verdict, full=True, stalled=f"gap before entry {segment.first_seq}; {MAX_HELD} segments held"
            )
        _keep(tx, segment, payload, signature, segment_hash, "held")
        stalled = _stalled(connection, segment.site)
    elif verdict is Verdict.EQUIVOCATION:
        # Both are kept as proof, and go round; what builds on either does not count any more.
        _keep(tx, segment, payload, signature, segment_hash, "void")
        refold(tx, segment.site)
        stalled = _stalled(connection, segment.site)
    elif verdict is Verdict.BROKEN:
        _keep(tx, segment, payload, signature, segment_hash, "void")
        stalled = f"segment at entry {segment.first_seq} does not continue its predecessor"
    if segment.site == tx.site and verdict in {Verdict.APPLY, Verdict.HOLD}:
        recovery.begin(tx, "entries of this site came back that its catalog did not hold")
    if stream_seq is None:
        _note_stalled(tx, segment.site, stalled)
    else:
        note_reading(tx, segment.site, stream_seq, stalled)
    branched = verdict is Verdict.APPLY and _branches(connection, segment, segment_hash)
    return Received(verdict=verdict, applied=applied, refused=refused, stalled=stalled, branched=branched)


def _branches(connection: Connection, segment: Segment, segment_hash: str) -> bool:
    """Whether another segment of the site, in another incarnation, continues the same predecessor."""
    this = {"before": segment.prev, "origin": str(segment.site), "this": segment_hash}
    return connection.scalar(_OTHER_BRANCH, this) is not None


_JOURNAL = schema.journal.c
_ORIGINS = _JOURNAL.site == bindparam("origin")
_COUNTING = _JOURNAL.state.not_in(schema.NOT_COUNTING)
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
    _JOURNAL.state != "ended",
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
        applied=row.state in {"applied", "unknown"},
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
    _JOURNAL.state == "void",
)


def held(connection: Connection, site: SiteName) -> int:
    """How many segments of the site wait here for what comes before them."""
    return connection.scalar(_HELD, {"origin": str(site)}) or 0


_HELD = select(func.count()).where(_ORIGINS, _JOURNAL.state == "held")


def _keep(tx: Tx, segment: Segment, payload: bytes, signature: str, segment_hash: str, state: str) -> int:
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
            "signature": signature,
            "payload": compress(payload),
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
    """Apply a held segment, then whatever was held only because this one was missing."""
    ready, applied, refused = deque([first]), 0, list[str]()
    while ready:
        position, segment, segment_hash = ready.popleft()
        known, bad = apply_segment(tx, segment, members.get(segment.site))
        applied += known or 0
        refused += bad
        state = "unknown" if known is None else "applied"
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
    _ORIGINS, _JOURNAL.prev == bindparam("before"), _JOURNAL.state == "held"
)


def apply_unknown(tx: Tx) -> int:
    """After an upgrade: apply some segments whose kind was not known when they came. Says how many; 0: no more."""
    journal = schema.journal.c
    rows = tx.connection.execute(
        select(journal.position, journal.payload)
        .where(journal.state == "unknown", journal.kind.in_(sorted(KINDS)))
        .order_by(journal.position)
        .limit(100)
    ).all()
    for row in rows:
        segment = segments.decode(decompress(row.payload))
        apply_segment(tx, segment, known_members(tx.connection).get(segment.site))
        tx.connection.execute(update(schema.journal).where(journal.position == row.position).values(state="applied"))
    return len(rows)


# ---- the reader's cursor ---------------------------------------------------------------------------------


def note_reading(tx: Tx, site: SiteName, stream_seq: int, stalled: str) -> None:
    """Remember how far the site's stream was read, and what stops its journal: ``stalled``, or what is held of it."""
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
    .where(_ORIGINS, _JOURNAL.state.in_(["void", "held"]))
    .order_by(_JOURNAL.state.desc(), _JOURNAL.epoch, _JOURNAL.first_seq)
    .limit(1)
)


def read_after(connection: Connection, site: SiteName) -> int:
    """The reader's cursor in the site's stream; 0 at first."""
    reading = schema.reading.c
    return connection.scalar(select(reading.stream_seq).where(reading.site == str(site))) or 0


# ---- the outbox ------------------------------------------------------------------------------------------


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A segment that the bus has not acknowledged."""

    position: int
    kind: str
    hash: str
    signature: str
    payload: bytes


def outgoing(connection: Connection, limit: int) -> list[Outgoing]:
    """The oldest segments of the outbox, in order."""
    rows = connection.execute(_OUTGOING, {"limit": limit})
    return [
        Outgoing(
            position=row.position,
            kind=row.kind,
            hash=row.hash,
            signature=row.signature,
            payload=decompress(row.payload),
        )
        for row in rows
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
    """Everything of this site goes out again: the bus has forgotten its stream."""
    own = select(schema.journal.c.position).where(schema.journal.c.site == str(site))
    tx.connection.execute(upsert(tx.connection, schema.outbox).from_select(["position"], own).on_conflict_do_nothing())
