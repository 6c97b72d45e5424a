"""Refolding: takes what one site said out of the shared tables and applies it again (docs/adr/0013).

Done when it turns out that some of it does not count (two stories about one number, a cut-off, a revocation, another
key), or counts now (wider grants). Every register is written by one site, so nobody else's facts are touched; what is
left equals a replay of all journals with the same knowledge. It costs a pass through that site's journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, exists, func, or_, select, update

from librarian_daemon.catalog import cursors, schema
from librarian_daemon.catalog.journal import letters, record
from librarian_daemon.catalog.journal.permissions import OF_THE_ROSTER, apply_segment
from librarian_daemon.catalog.journal.standings import judge_anew
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_daemon.catalog.meta import get_meta
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol import segments
from librarian_protocol.entries import FileIngested, SiteAdmitted, SiteRevoked
from librarian_protocol.journal_state import JournalState
from librarian_protocol.names import SiteName
from librarian_protocol.roster import Member

_JOURNAL = schema.journal.c
_PAGE = 200
#: Set by the migration after which origins must be found again.
ORIGINS = "origins"
#: Registers by who writes them.
_WRITTEN_BY = (
    (schema.instance, "site"),
    (schema.doubt, "doubter"),
    (schema.digest, "site"),
    (schema.attribute, "site"),
    (schema.subscription, "site"),
    (schema.store, "site"),
    (schema.announcement, "site"),
    (schema.admission, "admitter"),
    (schema.admitted, "admitter"),
    (schema.rekey, "site"),
    (schema.resolution, "site"),
    (schema.keep, "site"),
    (schema.hold, "site"),
    (schema.rule_withdrawal, "site"),
    (schema.cursor, "site"),
)


def refold(tx: Tx, site: SiteName) -> None:
    """Apply what counts of the site's journal, and nothing else of it. Idempotent."""
    member = known_members(tx.connection).get(site)
    judge_anew(tx.connection, site, member, own=site == tx.site)
    change = tx.next_change()
    touched = _touch(tx.connection, site, change)
    for table, column in _WRITTEN_BY:
        tx.connection.execute(delete(table).where(table.c[column] == str(site)))
    file = schema.file
    tx.connection.execute(
        update(file)
        .where(file.c.origin_site == str(site))
        .values(
            origin_site=None,
            origin_epoch=None,
            origin_incarnation=None,
            origin_seq=None,
            ingested_at=None,
            mtime_ns=None,
            origin_last=False,
        )
    )
    tx.connection.execute(update(file).where(file.c.withdrawn.is_(True)).values(withdrawn=False, change=change))
    _apply_again(tx, _JOURNAL.site == str(site))
    _apply_again(tx, _JOURNAL.kind == "file.withdrawn")
    tx.apply_said()
    letters.apply_kept(tx, letters.kept(tx.connection), tx.site)
    if touched and _lost_origin(tx.connection, change):
        _apply_again(tx, _JOURNAL.kind == "file.ingested")
    tx.recompute_conflicts(list(_names(tx.connection, change)))
    _forget_unspoken(tx.connection, change)


def _touch(connection: Connection, site: SiteName, change: int) -> bool:
    """Make the planner look again at every file that the site spoke of. Returns whether there was one."""
    file, instance, doubt, digest = schema.file, schema.instance.c, schema.doubt.c, schema.digest.c
    attribute = schema.attribute.c
    done = connection.execute(
        update(file)
        .where(
            or_(
                file.c.origin_site == str(site),
                file.c.id.in_(select(instance.file_id).where(instance.site == str(site))),
                file.c.id.in_(select(doubt.file_id).where(doubt.doubter == str(site))),
                file.c.id.in_(select(digest.file_id).where(digest.site == str(site))),
                file.c.id.in_(select(attribute.file_id).where(attribute.site == str(site))),
            )
        )
        .values(change=change)
    )
    return bool(done.rowcount)


def _apply_again(tx: Tx, *conditions: ColumnElement[bool]) -> None:
    members = known_members(tx.connection)
    for row in record.in_order(tx.connection, _JOURNAL.state == JournalState.APPLIED, *conditions):
        segment = segments.decode(decompress(row.payload))
        apply_segment(tx, segment, members.get(segment.site))
        if segment.kind in OF_THE_ROSTER:
            members = known_members(tx.connection)
        cursors.advance(tx.connection, segment.site, segment.epoch, segment.incarnation, segment.last_seq, row.hash)


def _lost_origin(connection: Connection, change: int) -> bool:
    """Whether a touched file has no origin now, or a recovery's, although another site speaks of an instance of it."""
    file, instance = schema.file.c, schema.instance.c
    return bool(
        connection.scalar(
            select(file.id)
            .where(
                file.change >= change,
                or_(file.origin_site.is_(None), file.origin_last.is_(True)),
                exists().where(instance.file_id == file.id),
            )
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


#: Set by a migration that keeps more of some entries than was kept before: the tables to be made again, with blanks
#: between them.
AGAIN = "again"
#: The kinds that each is made of; of all of them it holds nothing else.
_MADE_OF = {
    schema.admitted.name: (schema.admitted, ("site.admitted",)),
    schema.subscription.name: (schema.subscription, ("subscription.declared", "subscription.withdrawn")),
}


def make_again(tx: Tx) -> list[str]:
    """Make the tables again that a migration named, from the record. Returns their names.

    A register is replaced only by a greater version: the rows of before are removed first. It costs a pass over all
    entries of those kinds, once.
    """
    names = (get_meta(tx.connection, AGAIN) or "").split()
    for name in names:
        table, kinds = _MADE_OF[name]
        tx.connection.execute(delete(table))
        _apply_again(tx, _JOURNAL.kind.in_(kinds))
    if names:
        tx.apply_said()
        letters.apply_kept(tx, letters.kept(tx.connection), tx.site)
        tx.connection.execute(delete(schema.meta).where(schema.meta.c.key == AGAIN))
    return names


def refold_origins(tx: Tx) -> bool:
    """Find the origins again, and what they say. Returns whether there was anything to do.

    A migration asks for it: the rule was another one, or less was kept of an origin. It costs a pass over all ingests,
    once.
    """
    if get_meta(tx.connection, ORIGINS) is None:
        return False
    for row in record.in_order(tx.connection, _JOURNAL.state == JournalState.APPLIED, _JOURNAL.kind == "file.ingested"):
        segment = segments.decode(decompress(row.payload))
        lasts = [
            entry
            for entry in segments.entries_of(segment) or ()
            if isinstance(entry, FileIngested) and not entry.mtime_ns
        ]
        file = schema.file
        for entry in lasts:
            tx.connection.execute(
                update(file)
                .where(
                    file.c.name == str(entry.name),
                    file.c.digest == str(entry.digest),
                    file.c.origin_site == str(segment.site),
                    file.c.origin_incarnation == segment.incarnation,
                    file.c.origin_seq == entry.seq,
                )
                .values(origin_last=True)
            )
    _apply_again(tx, _JOURNAL.kind == "file.ingested")
    letters.apply_kept(tx, letters.kept(tx.connection), tx.site)
    tx.connection.execute(delete(schema.meta).where(schema.meta.c.key == ORIGINS))
    return True


def say_of_roster(tx: Tx, entry: SiteAdmitted | SiteRevoked) -> None:
    """Append the entry, and apply again what now counts of the sites that it is about."""
    before = known_members(tx.connection)
    tx.append(entry)
    refold_changed(tx, before)


def refold_changed(tx: Tx, before: Mapping[SiteName, Member]) -> None:
    """Refold every site for which the change of the roster changed which entries count."""
    _settle(tx, {site: _rules(member) for site, member in before.items()})


def refold_all(tx: Tx) -> None:
    """Apply again all that counts, of every journal. Idempotent."""
    _settle(tx, {SiteName(site): () for site in record.origins(tx.connection)})


def _settle(tx: Tx, judged: dict[SiteName, _Rules | tuple[()] | None]) -> None:
    """Judge anew whatever was judged by other rules than those of the roster as it is, until nothing changes.

    What a site says of others may count no more, or again. Each round settles the sites that are one admission farther
    from the anchor.
    """
    rounds = 0
    while rounds < _SPARE_ROUNDS or rounds < _SPARE_ROUNDS + _words(tx.connection):
        rounds += 1
        members = known_members(tx.connection)
        rules = {site: _rules(members.get(site)) for site in {**judged, **members}}
        changed = sorted(site for site, now in rules.items() if judged.get(site) != now)
        if not changed:
            return
        # Who is not of the mesh may still turn out to be.
        changed = [site for site in changed if rules[site] is not None] or changed
        for site in changed:
            then, now = judged.get(site), rules[site]
            judged[site] = now
            if not record.has_journal(tx.connection, site):
                continue
            same = judge_anew(tx.connection, site, members.get(site), own=site == tx.site)
            if same and isinstance(then, _Rules) and now and then.rights == now.rights:
                continue  # another key, and nothing that it signed counts otherwise: a walk, and no pass
            refold(tx, site)


#: Each site and each key takes a round at most. Only statements that would undo one another could go on for ever; then
#: the last round stands.
_SPARE_ROUNDS = 100


def _words(connection: Connection) -> int:
    """How often anybody said something about the roster."""
    journal = schema.journal.c
    about = ("site.admitted", "site.revoked", "site.rekeyed")
    return connection.scalar(select(func.count()).where(journal.kind.in_(about))) or 0


class _Rules(NamedTuple):
    """What decides which entries of a site count: what it may say, and with which keys."""

    rights: tuple[object, ...]
    keys: tuple[object, ...]


def _rules(member: Member | None) -> _Rules | None:
    if member is None:
        return None
    return _Rules(
        (member.grants, member.access, member.may_admit, member.revoked, member.may_rule),
        (member.keys, member.former, member.ends),
    )
