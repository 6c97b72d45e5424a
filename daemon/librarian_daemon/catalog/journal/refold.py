"""Refolding: what one site said is taken out of the shared tables and applied anew (docs/adr/0013).

Done when it turns out that some of it does not count (two stories about one number, a cut-off, a revocation, another
key), or counts now (wider grants). Every register is written by one site, so nobody else's facts are touched; what is
left equals a replay of all journals with the same knowledge. It costs a pass through that site's journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import ColumnElement, Connection, delete, exists, or_, select, update

from librarian_daemon.catalog import cursors, record, schema, telling
from librarian_daemon.catalog.believed import OF_THE_ROSTER, apply_segment
from librarian_daemon.catalog.roster import known_members
from librarian_daemon.catalog.writer import Tx, decompress
from librarian_protocol import segments
from librarian_protocol.entries import SiteAdmitted, SiteRevoked
from librarian_protocol.errors import PeerError
from librarian_protocol.names import SiteName
from librarian_protocol.registers import Version
from librarian_protocol.roster import Member
from librarian_protocol.segments import NO_HASH

_JOURNAL = schema.journal.c
_PAGE = 200
#: Registers by who writes them.
_WRITTEN_BY = (
    (schema.instance, "site"),
    (schema.doubt, "doubter"),
    (schema.digest, "site"),
    (schema.subscription, "site"),
    (schema.store, "site"),
    (schema.announcement, "site"),
    (schema.admission, "admitter"),
    (schema.rekey, "site"),
    (schema.resolution, "site"),
    (schema.cursor, "site"),
)


def refold(tx: Tx, site: SiteName) -> None:
    """Apply what counts of the site's journal, and nothing else of it. Idempotent."""
    member = known_members(tx.connection).get(site)
    _judge_anew(tx.connection, site, member)
    change = tx.next_change()
    touched = _touch(tx.connection, site, change)
    for table, column in _WRITTEN_BY:
        tx.connection.execute(delete(table).where(table.c[column] == str(site)))
    file = schema.file
    tx.connection.execute(
        update(file)
        .where(file.c.origin_site == str(site))
        .values(origin_site=None, origin_epoch=None, origin_incarnation=None, origin_seq=None, ingested_at=None)
    )
    tx.connection.execute(update(file).where(file.c.withdrawn.is_(True)).values(withdrawn=False, change=change))
    _apply_again(tx, _JOURNAL.site == str(site))
    _apply_again(tx, _JOURNAL.kind == "file.withdrawn")
    telling.apply_kept(tx, telling.kept(tx.connection), tx.site)
    if touched and _lost_origin(tx.connection, change):
        _apply_again(tx, _JOURNAL.kind == "file.ingested")
    tx.recompute_conflicts(list(_names(tx.connection, change)))
    _forget_unspoken(tx.connection, change)


def _judge_anew(connection: Connection, site: SiteName, member: Member | None) -> None:
    """Which segments count: in chain order, each with its predecessor, none void by itself."""
    journal = schema.journal
    ended = set(_ended(connection, site, member))
    void_from = _two_stories(connection, site, ended)
    counting: set[str] = {NO_HASH}
    for row in record.in_order(connection, _JOURNAL.site == str(site)):
        told_twice = row.incarnation in void_from and row.last_seq >= void_from[row.incarnation]
        if row.hash in ended:
            state = "ended"
        elif told_twice:
            state = "void"
        elif row.prev in counting:
            state = "unknown" if row.state == "unknown" else "applied"
            counting.add(row.hash)
        else:
            known = connection.scalar(select(journal.c.state).where(journal.c.hash == row.prev))
            state = "held" if known in {None, "held"} else "void"
        if state != row.state:
            connection.execute(update(journal).where(journal.c.position == row.position).values(state=state))


def _ended(connection: Connection, site: SiteName, member: Member | None) -> Iterator[str]:
    """Hashes of what lies beyond the site's cutoff, under a key that had ended there."""
    if member is None or member.cutoff is None:
        return
    for row in record.in_order(connection, _JOURNAL.site == str(site)):
        try:
            _, key = segments.open_of_member(
                decompress(row.payload), row.signature, site=member.site, keys=member.every_key
            )
        except PeerError:
            yield row.hash
            continue
        if member.is_ended(key, Version(row.epoch, row.incarnation, row.first_seq)):
            yield row.hash


def _two_stories(connection: Connection, site: SiteName, ended: set[str]) -> dict[str, int]:
    """From which entry on each incarnation told two stories; what had ended tells none.

    Of two that overlap the later one was not taken as counting: so only such ones are compared, each with the few rows
    whose numbers can reach into its own.
    """
    one, other = schema.journal.alias("one"), schema.journal.alias("other")
    rows = connection.execute(
        select(one.c.incarnation, one.c.first_seq, other.c.first_seq, one.c.hash, other.c.hash)
        .join(
            other,
            (other.c.site == one.c.site)
            & (other.c.incarnation == one.c.incarnation)
            & (other.c.hash != one.c.hash)
            & other.c.first_seq.between(one.c.first_seq - segments.MAX_ENTRIES + 1, one.c.last_seq)
            & (other.c.last_seq >= one.c.first_seq),
        )
        .where(one.c.site == str(site), one.c.state.in_(schema.NOT_COUNTING))
    )
    found: dict[str, int] = {}
    for incarnation, first, second, *hashes in rows:
        if not ended.isdisjoint(hashes):
            continue
        found[incarnation] = min(found.get(incarnation, 1 << 63), max(first, second))
    return found


def _touch(connection: Connection, site: SiteName, change: int) -> bool:
    """Have the planner look again at every file of which the site said something; whether there was one."""
    file, instance, doubt, digest = schema.file, schema.instance.c, schema.doubt.c, schema.digest.c
    done = connection.execute(
        update(file)
        .where(
            or_(
                file.c.origin_site == str(site),
                file.c.id.in_(select(instance.file_id).where(instance.site == str(site))),
                file.c.id.in_(select(doubt.file_id).where(doubt.doubter == str(site))),
                file.c.id.in_(select(digest.file_id).where(digest.site == str(site))),
            )
        )
        .values(change=change)
    )
    return bool(done.rowcount)


def _apply_again(tx: Tx, *conditions: ColumnElement[bool]) -> None:
    members = known_members(tx.connection)
    for row in record.in_order(tx.connection, _JOURNAL.state == "applied", *conditions):
        segment = segments.decode(decompress(row.payload))
        apply_segment(tx, segment, members.get(segment.site))
        if segment.kind in OF_THE_ROSTER:
            members = known_members(tx.connection)
        cursors.advance(tx.connection, segment.site, segment.epoch, segment.incarnation, segment.last_seq, row.hash)


def _lost_origin(connection: Connection, change: int) -> bool:
    """Whether a touched file has no origin now although another site speaks of an instance of it."""
    file, instance = schema.file.c, schema.instance.c
    return bool(
        connection.scalar(
            select(file.id)
            .where(file.change >= change, file.origin_site.is_(None), exists().where(instance.file_id == file.id))
            .limit(1)
        )
    )


def _forget_unspoken(connection: Connection, change: int) -> None:
    """Touched files of which nobody says anything now, and which nothing here is about."""
    file = schema.file
    connection.execute(
        delete(file).where(
            file.c.change >= change,
            file.c.origin_site.is_(None),
            file.c.withdrawn.is_(False),
            *(~exists().where(table.c.file_id == file.c.id) for table in _ABOUT_FILES),
        )
    )


_ABOUT_FILES = [
    table
    for table in schema.metadata.sorted_tables
    if any(key.column is schema.file.c.id for key in table.foreign_keys)
]


def _names(connection: Connection, change: int) -> Iterator[str]:
    """Names of the files that were touched."""
    file = schema.file.c
    after = 0
    while True:
        page = connection.execute(
            select(file.id, file.name).where(file.change >= change, file.id > after).order_by(file.id).limit(_PAGE)
        ).all()
        for row in page:
            yield row.name
        if len(page) < _PAGE:
            return
        after = page[-1].id


def say_of_roster(tx: Tx, entry: SiteAdmitted | SiteRevoked) -> None:
    """Say it, and apply anew what counts now of the sites that it is about."""
    before = known_members(tx.connection)
    tx.say(entry)
    refold_changed(tx, before)


def refold_changed(tx: Tx, before: Mapping[SiteName, Member]) -> None:
    """Refold every site of which other entries count now than before the roster changed."""
    for site, now in known_members(tx.connection).items():
        then = before.get(site)
        if then is not None and _counts(then) != _counts(now):
            refold(tx, site)


def _counts(member: Member) -> tuple[object, ...]:
    """What decides which entries of a site count."""
    return member.grants, member.cutoff, member.former, member.access, member.may_admit, member.revoked
