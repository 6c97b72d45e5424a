"""Operations on heads: which journal tips are held here, which ones others hold, and which are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, delete, exists, insert, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import end_of_journal
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.heads import MAX_TIPS, MAX_WHY, HeldBack, Tip
from librarian_protocol.journal_state import JournalState
from librarian_protocol.names import SiteName
from librarian_protocol.segments import MAX_ENTRIES


def tips(connection: Connection) -> list[Tip]:
    """Every tip of every journal held here: segments that count or are proof, and that no held segment continues.

    It reads the ends of incarnations, one for each start of a daemon, and never the whole journal.
    """
    ends, proofs = connection.execute(_ENDS).all(), connection.execute(_PROOFS).all()
    found = {
        row.hash: Tip(site=SiteName(row.site), epoch=row.epoch, incarnation=row.incarnation, seq=row.seq, hash=row.hash)
        for row in [*ends, *proofs]
    }
    return list(found.values())[:MAX_TIPS]


_CURSOR, _JOURNAL, _LATER = schema.cursor.c, schema.journal.c, schema.journal.alias("later").c
_GOES_ON = _LATER.state.not_in((JournalState.HELD, JournalState.ENDED))
_ENDS = (
    select(_CURSOR.site, _CURSOR.epoch, _CURSOR.incarnation, _CURSOR.seq, _CURSOR.hash)
    .where(~exists().where(_LATER.prev == _CURSOR.hash, _GOES_ON))
    .order_by(_CURSOR.site, _CURSOR.epoch, _CURSOR.incarnation)
    .limit(MAX_TIPS)
)
_PROOFS = (
    select(_JOURNAL.site, _JOURNAL.epoch, _JOURNAL.incarnation, _JOURNAL.last_seq.label("seq"), _JOURNAL.hash)
    .where(_JOURNAL.state == JournalState.VOID, ~exists().where(_LATER.prev == _JOURNAL.hash, _GOES_ON))
    .order_by(_JOURNAL.site, _JOURNAL.epoch, _JOURNAL.first_seq)
    .limit(MAX_TIPS)
)


def heard(tx: Tx, peer: SiteName, told: Sequence[Tip]) -> None:
    """Record what a peer holds now, in place of what it held before."""
    head = schema.peer_head
    tx.connection.execute(delete(head).where(head.c.peer == str(peer)))
    if told:
        tx.connection.execute(
            insert(head),
            [
                {
                    "peer": str(peer),
                    "hash": tip.hash,
                    "origin": str(tip.site),
                    "epoch": tip.epoch,
                    "incarnation": tip.incarnation,
                    "seq": tip.seq,
                    "heard_at": tx.now,
                }
                for tip in {tip.hash: tip for tip in told}.values()
            ],
        )


class MissingTip(msgspec.Struct, frozen=True, kw_only=True):
    """A journal tip that others hold and this site does not."""

    origin: SiteName
    hash: str
    seq: int
    #: Who holds it, its own site first.
    peers: list[SiteName]


def missing(connection: Connection) -> list[MissingTip]:
    """All missing tips, by origin; at most a few hundred. A tip that is held here after a gap is missing too."""
    found: dict[str, MissingTip] = {}
    for row in connection.execute(_MISSING):
        tip = found.setdefault(row.hash, MissingTip(origin=SiteName(row.origin), hash=row.hash, seq=row.seq, peers=[]))
        tip.peers.append(SiteName(row.peer))
    # The site that wrote it is asked first.
    return [
        msgspec.structs.replace(
            tip, peers=[*(p for p in tip.peers if p == tip.origin), *(p for p in tip.peers if p != tip.origin)]
        )
        for tip in found.values()
    ]


_HEAD = schema.peer_head.c
_MISSING = (
    select(_HEAD.origin, _HEAD.hash, _HEAD.seq, _HEAD.peer)
    .where(~exists().where(_JOURNAL.hash == _HEAD.hash, _JOURNAL.state != JournalState.HELD))
    .order_by(_HEAD.origin, _HEAD.seq, _HEAD.hash, _HEAD.peer)
    .limit(MAX_TIPS)
)


def holds(connection: Connection, segment_hash: str) -> bool:
    """Whether a segment is held here, applied or not."""
    return connection.scalar(select(schema.journal.c.position).where(schema.journal.c.hash == segment_hash)) is not None


def applied_until(connection: Connection, origin: SiteName) -> int:
    """The greatest number of an entry of the origin that is applied here; 0 for none."""
    cursor = schema.cursor.c
    return (
        connection.scalar(select(cursor.seq).where(cursor.site == str(origin)).order_by(cursor.seq.desc()).limit(1))
        or 0
    )


def segments_behind(
    connection: Connection, origin: SiteName, after: int, *, limit: int, max_bytes: int
) -> list[tuple[str, bytes]]:
    """Signatures and payloads of an origin's segments that reach beyond entry ``after``, by their first entries.

    They include all branches and what is kept as proof, and exclude what lies beyond a cutoff. At least one segment is
    returned if there is one; more only within the bounds.
    """
    journal = schema.journal.c
    rows = connection.execute(
        select(journal.signature, journal.payload)
        .where(
            journal.site == str(origin),
            journal.first_seq > after - MAX_ENTRIES,  # the index has this one
            journal.last_seq > after,
            journal.state != JournalState.ENDED,
        )
        .order_by(journal.first_seq, journal.epoch, journal.incarnation, journal.hash)
        .limit(limit)
    )
    found: list[tuple[str, bytes]] = []
    size_bytes = 0
    for row in rows:
        payload = decompress(row.payload)
        size_bytes += len(payload)
        if found and size_bytes > max_bytes:
            break
        found.append((row.signature, payload))
    return found


def held_back(connection: Connection, own: SiteName, refusing: Mapping[SiteName, str]) -> list[HeldBack]:
    """Other sites' journals that do not advance here: held segments wait, or, by ``refusing``, segments are refused."""
    reading = schema.reading.c
    rows = connection.execute(select(reading.site, reading.stalled).where(reading.stalled != "").order_by(reading.site))
    why = {SiteName(row.site): row.stalled for row in rows} | dict(refusing)
    ends = {site: end_of_journal(connection, site)[0] for site in why}
    return [
        HeldBack(site=site, seq=ends[site], why=text[:MAX_WHY]) for site, text in sorted(why.items()) if site != own
    ]


def branches(connection: Connection, origin: SiteName) -> int:
    """How many tips of the origin's journal are held here."""
    return sum(tip.site == origin for tip in tips(connection))
