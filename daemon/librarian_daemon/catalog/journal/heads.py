"""Operations on heads: which journal ends are held here, which ones others hold, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, exists, insert, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.writer import Tx, decompress
from librarian_protocol.heads import MAX_LEAVES, Leaf
from librarian_protocol.names import SiteName
from librarian_protocol.segments import MAX_ENTRIES


def leaves(connection: Connection) -> list[Leaf]:
    """Every end of every journal held here: segments that count or are proof, and that nothing held continues.

    Read from the ends of incarnations, of which there are as many as starts; never from the whole journal.
    """
    ends, proofs = connection.execute(_ENDS).all(), connection.execute(_PROOFS).all()
    found = {
        row.hash: Leaf(
            site=SiteName(row.site), epoch=row.epoch, incarnation=row.incarnation, seq=row.seq, hash=row.hash
        )
        for row in [*ends, *proofs]
    }
    return list(found.values())[:MAX_LEAVES]


_CURSOR, _JOURNAL, _LATER = schema.cursor.c, schema.journal.c, schema.journal.alias("later").c
_GOES_ON = _LATER.state.not_in(("held", "ended"))
_ENDS = (
    select(_CURSOR.site, _CURSOR.epoch, _CURSOR.incarnation, _CURSOR.seq, _CURSOR.hash)
    .where(~exists().where(_LATER.prev == _CURSOR.hash, _GOES_ON))
    .order_by(_CURSOR.site, _CURSOR.epoch, _CURSOR.incarnation)
    .limit(MAX_LEAVES)
)
_PROOFS = (
    select(_JOURNAL.site, _JOURNAL.epoch, _JOURNAL.incarnation, _JOURNAL.last_seq.label("seq"), _JOURNAL.hash)
    .where(_JOURNAL.state == "void", ~exists().where(_LATER.prev == _JOURNAL.hash, _GOES_ON))
    .order_by(_JOURNAL.site, _JOURNAL.epoch, _JOURNAL.first_seq)
    .limit(MAX_LEAVES)
)


def heard(tx: Tx, peer: SiteName, told: Sequence[Leaf]) -> None:
    """What a peer holds now, in place of what it held before."""
    head = schema.peer_head
    tx.connection.execute(delete(head).where(head.c.peer == str(peer)))
    if told:
        tx.connection.execute(
            insert(head),
            [
                {
                    "peer": str(peer),
                    "hash": leaf.hash,
                    "origin": str(leaf.site),
                    "epoch": leaf.epoch,
                    "incarnation": leaf.incarnation,
                    "seq": leaf.seq,
                    "heard_at": tx.now,
                }
                for leaf in {leaf.hash: leaf for leaf in told}.values()
            ],
        )


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A journal end that others hold and this site does not."""

    origin: SiteName
    hash: str
    seq: int
    #: Who holds it, its own site first.
    peers: list[SiteName]


def missing(connection: Connection) -> list[Missing]:
    """All of them, by origin; at most a few hundred. What hangs in the air here, behind a gap, is missing too."""
    found: dict[str, Missing] = {}
    for row in connection.execute(_MISSING):
        one = found.setdefault(row.hash, Missing(origin=SiteName(row.origin), hash=row.hash, seq=row.seq, peers=[]))
        one.peers.append(SiteName(row.peer))
    # Whoever wrote it is asked first.
    return [
        msgspec.structs.replace(
            one, peers=[*(p for p in one.peers if p == one.origin), *(p for p in one.peers if p != one.origin)]
        )
        for one in found.values()
    ]


_HEAD = schema.peer_head.c
_MISSING = (
    select(_HEAD.origin, _HEAD.hash, _HEAD.seq, _HEAD.peer)
    .where(~exists().where(_JOURNAL.hash == _HEAD.hash, _JOURNAL.state != "held"))
    .order_by(_HEAD.origin, _HEAD.seq, _HEAD.hash, _HEAD.peer)
    .limit(MAX_LEAVES)
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
    """Signatures and payloads of an origin's segments that reach behind entry ``after``, by their first entries.

    All branches, and what is kept as proof, are among them; what lies beyond a cutoff is not. At least one, where there
    is one, else within the bounds.
    """
    journal = schema.journal.c
    rows = connection.execute(
        select(journal.signature, journal.payload)
        .where(
            journal.site == str(origin),
            journal.first_seq > after - MAX_ENTRIES,  # the index has this one
            journal.last_seq > after,
            journal.state != "ended",
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


def branches(connection: Connection, origin: SiteName) -> int:
    """How many ends of the origin's journal are held here."""
    return sum(leaf.site == origin for leaf in leaves(connection))


def peers_heard(connection: Connection) -> dict[SiteName, str]:
    """When each peer last announced its heads."""
    head = schema.peer_head.c
    return {
        SiteName(row.peer): row.heard_at
        for row in connection.execute(select(head.peer, head.heard_at).distinct().order_by(head.peer))
    }
