"""Decides which segments of a journal count: by the roster, by where keys end, and by their predecessors
(docs/events.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, exists, func, select, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.journal import record
from librarian_daemon.catalog.mesh.roster import Member
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.upserts import expanding
from librarian_protocol import segments
from librarian_protocol.authenticity import Signed
from librarian_protocol.entries import KINDS, Cutoff, SiteRekeyed
from librarian_protocol.errors import PeerError, SignatureInvalid
from librarian_protocol.history import End, Past, Walk, past
from librarian_protocol.journal_state import COUNTING, JournalState
from librarian_protocol.names import SiteName
from librarian_protocol.roster import KeyStatus
from librarian_protocol.segment_verdict import Place, begins, continues
from librarian_protocol.segments import NO_HASH
from librarian_protocol.versions import Version

_JOURNAL = schema.journal.c
#: What a segment is judged by, without its bytes.
_LINKS = tuple(
    _JOURNAL[name]
    for name in (
        "position",
        "epoch",
        "incarnation",
        "first_seq",
        "last_seq",
        "kind",
        "prev",
        "hash",
        "key",
        "state",
    )
)


# ---- one that arrives --------------------------------------------------------------------------------------


def standing_of(connection: Connection, member: Member, signed: Signed, segment_hash: str) -> KeyStatus | None:
    """The status of a segment that is not held yet; None while it is not known, since the segment at which its key
    ended is missing.

    Raises:
        SignatureInvalid: the site had not gone over to that key at its place.
    """
    segment = signed.segment
    ends = member.ends.get(signed.key, ())
    found = {
        end: past(
            segment_hash,
            segment.last_seq,
            end,
            followed=_is_followed(connection, member, end, segment_hash),
            whole=_is_whole(connection, end),
        )
        for end in ends
    }
    place = Version(segment.epoch, segment.incarnation, segment.first_seq)
    standing = member.standing(signed.key, place, lambda end: found[end] is Past.YES)
    if standing is KeyStatus.REFUSED:
        raise SignatureInvalid(
            f"entry {segment.first_seq} of site {member.site!r} is signed with {signed.key[:24]}…, which did not count"
            " there"
        )
    if standing is KeyStatus.ENDED and Past.NO not in found.values():
        return None
    return standing


def _is_followed(connection: Connection, member: Member, end: End, segment_hash: str) -> bool:
    """Whether a segment in the past of the end is held that is built on this one."""
    keys = [key for key, ends in member.ends.items() if end in ends]
    found = {"origin": str(member.site), "this": segment_hash, "keys": keys}
    return connection.scalar(_FOLLOWED, found) is not None


_FOLLOWED = (
    select(_JOURNAL.position)
    .where(
        _JOURNAL.prev == bindparam("this"),
        _JOURNAL.site == bindparam("origin"),
        _JOURNAL.state != JournalState.ENDED,
        _JOURNAL.key.in_(expanding("keys")),
    )
    .limit(1)
)


def _is_whole(connection: Connection, end: End) -> bool:
    """Whether all of the end's past is held: a segment is not applied, nor void, before all that it is built on."""
    return connection.scalar(_ARRIVED, {"tips": list(end.hashes)}) == len(end.hashes)


_ARRIVED = (
    select(func.count())
    .select_from(schema.journal)
    .where(
        _JOURNAL.hash.in_(expanding("tips")),
        _JOURNAL.state.in_([JournalState.APPLIED, JournalState.UNKNOWN, JournalState.VOID]),
    )
)


# ---- all that are held -------------------------------------------------------------------------------------


def judge_anew(connection: Connection, site: SiteName, member: Member | None, *, own: bool) -> bool:
    """Write into each segment's row whether it counts. Returns True if all rows said so already. Idempotent.

    ``own``: it is this site, which needs no admission to believe itself.
    """
    if member is None and not own:
        return connection.execute(_END_ALL, {"origin": str(site)}).rowcount == 0
    name_signers(connection, site, member)
    ended = set(not_counting(connection, site, member) if member is not None else ())
    rows = connection.scalars(
        select(_JOURNAL.position).where(_JOURNAL.site == str(site), _JOURNAL.state == JournalState.ENDED)
    )
    were = set(rows)
    again = were - ended
    _set_states(connection, dict.fromkeys(again, JournalState.HELD) | dict.fromkeys(ended, JournalState.ENDED))
    same = were == ended
    void_from = _two_stories(connection, site)
    lately: dict[str, _Place] = {}
    changed: dict[int, str] = {}
    for row in record.in_order(connection, _JOURNAL.site == str(site), columns=_LINKS):
        if row.position in ended:
            state = JournalState.ENDED
        elif row.incarnation in void_from and row.last_seq >= void_from[row.incarnation]:
            state = JournalState.VOID
        else:
            state = _state_of(row, lately.get(row.prev) or _place(connection, changed, row.prev))
        if state != row.state:
            changed[row.position] = state
            same = False
        lately[row.hash] = _Place(row.epoch, row.incarnation, row.last_seq, state)
        if len(lately) > 2 * _LATELY:
            for known in list(lately)[:_LATELY]:
                del lately[known]
        if len(changed) > _LATELY:
            _set_states(connection, changed)
            changed.clear()
    _set_states(connection, changed)
    return same


_END_ALL = (
    update(schema.journal)
    .where(_JOURNAL.site == bindparam("origin"), _JOURNAL.state != JournalState.ENDED)
    .values(state=JournalState.ENDED)
)
#: How many segments, and changes to rows, are remembered while a journal is gone through.
_LATELY = 2000


class _Place(NamedTuple):
    epoch: int
    incarnation: str
    last_seq: int
    state: str


def _state_of(row: Row[Any], predecessor: _Place | None) -> JournalState:
    """The state of a segment that neither ended nor equivocates."""
    counts = JournalState.APPLIED if row.kind in KINDS else JournalState.UNKNOWN
    if row.prev == NO_HASH:
        return counts if begins(row.epoch) else JournalState.VOID
    if predecessor is None or predecessor.state in {JournalState.HELD, JournalState.ENDED}:
        return JournalState.HELD
    before = Place(
        hash=row.prev,
        epoch=predecessor.epoch,
        incarnation=predecessor.incarnation,
        last_seq=predecessor.last_seq,
        applied=predecessor.state != JournalState.VOID,
    )
    if not before.applied or not continues(before, row.epoch, row.incarnation, row.first_seq):
        return JournalState.VOID
    return counts


def _place(connection: Connection, changed: Mapping[int, str], segment_hash: str) -> _Place | None:
    if segment_hash == NO_HASH:
        return None
    row = connection.execute(_PLACE, {"this": segment_hash}).first()
    if row is None:
        return None
    return _Place(row.epoch, row.incarnation, row.last_seq, changed.get(row.position, row.state))


_PLACE = select(_JOURNAL.position, _JOURNAL.epoch, _JOURNAL.incarnation, _JOURNAL.last_seq, _JOURNAL.state).where(
    _JOURNAL.hash == bindparam("this")
)


def _set_states(connection: Connection, states: Mapping[int, str]) -> None:
    if states:
        rows = [{"at": position, "state": state} for position, state in states.items()]
        connection.execute(_SET_STATE, rows)


_SET_STATE = update(schema.journal).where(_JOURNAL.position == bindparam("at")).values(state=bindparam("state"))


def not_counting(connection: Connection, site: SiteName, member: Member | None) -> Iterator[int]:
    """Positions of held segments of a site that do not count by the roster, whatever their rows say."""
    walk = Walk({end for ends in member.ends.values() for end in ends} if member else ())
    for row in record.in_order(connection, _JOURNAL.site == str(site), columns=_LINKS, backwards=True):
        inside = walk.step(row.hash, row.prev)
        place = Version(row.epoch, row.incarnation, row.first_seq)
        if member is None or member.standing(row.key, place, inside.__contains__) is not KeyStatus.COUNTS:
            yield row.position


def ended(connection: Connection, site: SiteName, member: Member | None, own: bool) -> tuple[int, set[int]]:
    """The last row of the record now, and which rows of the site do not count by the roster."""
    if member is None and own:
        return 0, set()
    return record.last_position(connection), set(not_counting(connection, site, member))


def keys_in_vain(connection: Connection, site: SiteName) -> list[str]:
    """Keys that the site went over to where its former key had ended already: they are none of its keys.

    What they signed was held in good faith before that was known, and is no fault of whoever holds it.
    """
    rows = connection.scalars(
        select(_JOURNAL.payload).where(
            _JOURNAL.site == str(site), _JOURNAL.kind == "site.rekeyed", _JOURNAL.state == JournalState.ENDED
        )
    )
    found = (entry for payload in rows for entry in segments.entries_of(segments.decode(decompress(payload))) or ())
    return sorted({entry.key for entry in found if isinstance(entry, SiteRekeyed)})


def is_signed_in_vain(keys: Sequence[str], site: SiteName, payload: bytes, signature: str) -> bool:
    """Whether one of these keys signed the segment."""
    if not keys:
        return False
    try:
        segments.open_of_member(payload, signature, site=site, keys=keys)
    except PeerError:
        return False
    return True


def name_signers(connection: Connection, site: SiteName, member: Member | None) -> None:
    """Find out which key signed each row of which that is not known yet. Idempotent."""
    unknown = (_JOURNAL.site == str(site), _JOURNAL.key == "")
    if member is None:
        return
    for row in record.in_order(connection, *unknown):
        with suppress(PeerError):
            _, key = segments.open_of_member(decompress(row.payload), row.signature, site=site, keys=member.every_key)
            connection.execute(_SET_KEY, {"at": row.position, "signer": key})


_SET_KEY = update(schema.journal).where(_JOURNAL.position == bindparam("at")).values(key=bindparam("signer"))


def _two_stories(connection: Connection, site: SiteName) -> dict[str, int]:
    """From which entry on each incarnation told two stories; what had ended tells none."""
    return {row.incarnation: row.first for row in connection.execute(_OVERLAPPING, {"origin": str(site)})}


_REACHED = (
    func.max(_JOURNAL.last_seq)
    .over(partition_by=_JOURNAL.incarnation, order_by=(_JOURNAL.first_seq, _JOURNAL.position), rows=(None, -1))
    .label("reached")
)
_SWEPT = (
    select(_JOURNAL.incarnation, _JOURNAL.first_seq, _REACHED)
    .where(_JOURNAL.site == bindparam("origin"), _JOURNAL.state != JournalState.ENDED)
    .subquery()
)
#: Of each incarnation the least first number that another row of it has, too.
_OVERLAPPING = (
    select(_SWEPT.c.incarnation, func.min(_SWEPT.c.first_seq).label("first"))
    .where(_SWEPT.c.first_seq <= _SWEPT.c.reached)
    .group_by(_SWEPT.c.incarnation)
)


# ---- where a journal ends here -----------------------------------------------------------------------------


def tips(connection: Connection, site: SiteName) -> list[Cutoff]:
    """The ends of what counts of a site's journal here."""
    rows = connection.execute(_TIPS, {"site": str(site)})
    return [Cutoff(incarnation=row.incarnation, seq=row.seq, hash=row.hash) for row in rows]


def _tips() -> Any:
    cursor, later = schema.cursor.c, schema.journal.alias("later").c
    return (
        select(cursor.incarnation, cursor.seq, cursor.hash)
        .where(
            cursor.site == bindparam("site"),
            ~exists().where(later.prev == cursor.hash, later.state.in_(COUNTING)),
        )
        .order_by(cursor.epoch, cursor.incarnation)
    )


_TIPS = _tips()


def left_out(connection: Connection, site: SiteName) -> tuple[int, int]:
    """How many segments and entries of a site are held here and do not count, for their key ended before."""
    row = connection.execute(
        select(func.count(), func.coalesce(func.sum(_JOURNAL.last_seq - _JOURNAL.first_seq + 1), 0)).where(
            _JOURNAL.site == str(site), _JOURNAL.state == JournalState.ENDED
        )
    ).one()
    return row[0], int(row[1])
