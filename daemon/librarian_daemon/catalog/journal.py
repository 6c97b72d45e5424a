"""Operations on journals: this site's end, peers' segments, the outbox."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from librarian_daemon.catalog import cursors, recovery, schema
from librarian_daemon.catalog.believed import apply_segment
from librarian_daemon.catalog.refolding import refold, refold_changed
from librarian_daemon.catalog.roster import known_members
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


def receive(tx: Tx, segment: Segment, payload: bytes, signature: str, stream_seq: int | None) -> Received:
    """Judge, keep and apply a segment whose signature was checked, and advance the reader's cursor with it.

    ``stream_seq`` is None where it did not come by the site's stream: then no cursor in a stream advances.
    """
    connection = tx.connection
    segment_hash = segments.hash_of(payload)
    verdict = judge(
        segment,
        segment_hash,
        at_place=_at_place(connection, segment, segment_hash),
        predecessor=_predecessor(connection, segment),
        void=_is_void(connection, segment),
    )
    applied, refused, stalled = 0, list[str](), ""
    if verdict is Verdict.APPLY:
        _keep(tx, segment, payload, signature, segment_hash, "held")
        applied, refused = _release(tx, segment.site, segment_hash)
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
    journal = schema.journal.c
    other = connection.scalar(
        select(journal.position)
        .where(
            journal.prev == segment.prev,
            journal.site == str(segment.site),
            journal.hash != segment_hash,
            journal.state != "void",
        )
        .limit(1)
    )
    return other is not None


#: Kinds that can change which entries of other sites count.
_OF_THE_ROSTER = frozenset({"site.admitted", "site.revoked"})


def _at_place(connection: Connection, segment: Segment, segment_hash: str) -> str | None:
    """The hash of what is held with a number that this segment has; its own, if it is held."""
    journal = schema.journal.c
    held = connection.scalars(
        select(journal.hash).where(
            journal.site == str(segment.site),
            journal.incarnation == segment.incarnation,
            journal.first_seq.between(segment.first_seq - segments.MAX_ENTRIES + 1, segment.last_seq),
            journal.last_seq >= segment.first_seq,
        )
    ).all()
    return segment_hash if segment_hash in held else next(iter(held), None)


def _predecessor(connection: Connection, segment: Segment) -> Place | None:
    journal = schema.journal.c
    row = connection.execute(
        select(journal.hash, journal.epoch, journal.incarnation, journal.last_seq, journal.state).where(
            journal.hash == segment.prev, journal.site == str(segment.site), journal.state != "void"
        )
    ).first()
    if row is None:
        return None
    return Place(
        hash=row.hash,
        epoch=row.epoch,
        incarnation=row.incarnation,
        last_seq=row.last_seq,
        applied=row.state in {"applied", "unknown"},
    )


def _is_void(connection: Connection, segment: Segment) -> bool:
    journal = schema.journal.c
    found = connection.scalar(
        select(func.count()).where(
            journal.site == str(segment.site),
            journal.incarnation == segment.incarnation,
            journal.first_seq <= segment.first_seq,
            journal.state == "void",
        )
    )
    return bool(found)


def held(connection: Connection, site: SiteName) -> int:
    """How many segments of the site wait here for what comes before them."""
    journal = schema.journal.c
    return connection.scalar(select(func.count()).where(journal.site == str(site), journal.state == "held")) or 0


def _keep(tx: Tx, segment: Segment, payload: bytes, signature: str, segment_hash: str, state: str) -> None:
    tx.connection.execute(
        insert(schema.journal),
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


def _release(tx: Tx, site: SiteName, first_hash: str) -> tuple[int, list[str]]:
    """Apply a held segment, then whatever was held only because this one was missing."""
    journal = schema.journal.c
    ready, applied, refused = [first_hash], 0, list[str]()
    while ready:
        row = tx.connection.execute(
            select(journal.position, journal.payload, journal.hash).where(journal.hash == ready.pop(0))
        ).one()
        segment = segments.decode(decompress(row.payload))
        before = known_members(tx.connection) if segment.kind in _OF_THE_ROSTER else None
        known, bad = apply_segment(tx, segment)
        applied += known or 0
        refused += bad
        tx.connection.execute(
            update(schema.journal)
            .where(journal.position == row.position)
            .values(state="unknown" if known is None else "applied")
        )
        cursors.advance(tx.connection, segment.site, segment.epoch, segment.incarnation, segment.last_seq, row.hash)
        if before is not None:
            refold_changed(tx, before)
        followers = tx.connection.execute(
            select(journal.hash, journal.payload).where(
                journal.site == str(site), journal.prev == row.hash, journal.state == "held"
            )
        )
        for follower in followers.all():
            later = segments.decode(decompress(follower.payload))
            verdict = judge(
                later, follower.hash, at_place=None, predecessor=_predecessor(tx.connection, later),
                void=_is_void(tx.connection, later),
            )  # fmt: skip
            if verdict is Verdict.APPLY:
                ready.append(follower.hash)
    return applied, refused


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
        apply_segment(tx, segments.decode(decompress(row.payload)))
        tx.connection.execute(update(schema.journal).where(journal.position == row.position).values(state="applied"))
    return len(rows)


# ---- the reader's cursor ---------------------------------------------------------------------------------


def note_reading(tx: Tx, site: SiteName, stream_seq: int, stalled: str) -> None:
    """Remember how far the site's stream was read, and what stops its journal: ``stalled``, or what is held of it."""
    stalled = stalled or _stalled(tx.connection, site)
    statement = upsert(tx.connection, schema.reading)
    new = statement.excluded
    tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["site"],
            set_={"stream_seq": new.stream_seq, "heard_at": new.heard_at, "stalled": new.stalled},
        ),
        {
            "site": str(site),
            "stream_seq": stream_seq,
            "heard_at": tx.now,
            "stalled": stalled,
        },
    )


def _note_stalled(tx: Tx, site: SiteName, stalled: str) -> None:
    """What stops the site's journal, where nothing came by its stream."""
    stalled = stalled or _stalled(tx.connection, site)
    reading = schema.reading
    tx.connection.execute(update(reading).where(reading.c.site == str(site)).values(stalled=stalled))


def _stalled(connection: Connection, site: SiteName) -> str:
    """Why segments of the site that are held here are not applied; "" where there are none."""
    journal = schema.journal.c
    row = connection.execute(
        select(journal.state, journal.incarnation, journal.first_seq)
        .where(journal.site == str(site), journal.state.in_(["void", "held"]))
        .order_by(journal.state.desc(), journal.epoch, journal.first_seq)
        .limit(1)
    ).first()
    if row is None:
        return ""
    if row.state == "void":
        return f"two segments signed for entry {row.first_seq} of incarnation {row.incarnation}"
    return f"gap before entry {row.first_seq}"


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
    journal, outbox = schema.journal.c, schema.outbox.c
    rows = connection.execute(
        select(journal.position, journal.kind, journal.hash, journal.signature, journal.payload)
        .join(schema.outbox, outbox.position == journal.position)
        .order_by(outbox.position)
        .limit(limit)
    )
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


def acknowledged(tx: Tx, positions: list[int]) -> None:
    """The bus has these. Idempotent."""
    tx.connection.execute(delete(schema.outbox).where(schema.outbox.c.position.in_(positions)))


def requeue_all(tx: Tx, site: SiteName) -> None:
    """Everything of this site goes out again: the bus has forgotten its stream."""
    own = select(schema.journal.c.position).where(schema.journal.c.site == str(site))
    tx.connection.execute(upsert(tx.connection, schema.outbox).from_select(["position"], own).on_conflict_do_nothing())


# ---- reading the record ----------------------------------------------------------------------------------


def segments_after(
    connection: Connection, position: int, *, site: str | None, limit: int
) -> list[tuple[int, str, str, str, bytes]]:
    """Rows ``(position, state, hash, signature, payload)`` behind a position, in the order of arrival here."""
    journal = schema.journal.c
    query = select(journal.position, journal.state, journal.hash, journal.signature, journal.payload).where(
        journal.position > position
    )
    if site is not None:
        query = query.where(journal.site == site)
    rows = connection.execute(query.order_by(journal.position).limit(limit))
    return [(row.position, row.state, row.hash, row.signature, decompress(row.payload)) for row in rows]


class ChainRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the record, as it stands."""

    position: int
    epoch: int
    incarnation: str
    first_seq: int
    last_seq: int
    kind: str
    prev: str
    hash: str
    signature: str
    payload: bytes
    state: str


def chain(connection: Connection, site: str, after: tuple[int, int]) -> list[ChainRow]:
    """Rows of one site's journal behind ``(first_seq, position)``, in the order of the chain; one page."""
    journal = schema.journal.c
    rows = connection.execute(
        select(schema.journal)
        .where(
            journal.site == site,
            (journal.first_seq > after[0]) | ((journal.first_seq == after[0]) & (journal.position > after[1])),
        )
        .order_by(journal.first_seq, journal.position)
        .limit(200)
    )
    return [ChainRow(**{field: getattr(row, field) for field in ChainRow.__struct_fields__}) for row in rows]


def last_position(connection: Connection) -> int:
    """The newest row of the record; 0 where it is empty."""
    return connection.scalar(select(func.coalesce(func.max(schema.journal.c.position), 0))) or 0


def has_journal(connection: Connection, site: str) -> bool:
    """Whether any segment of the site was ever taken here."""
    return (
        connection.scalar(select(schema.journal.c.position).where(schema.journal.c.site == site).limit(1)) is not None
    )


def hash_at(connection: Connection, site: str, incarnation: str, seq: int) -> str | None:
    """The hash of the segment that ends with this entry; None where none does."""
    journal = schema.journal.c
    return connection.scalar(
        select(journal.hash).where(
            journal.site == site, journal.incarnation == incarnation, journal.last_seq == seq, journal.state != "void"
        )
    )
