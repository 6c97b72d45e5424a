"""Applies journal entries, own ones included: the only way in which shared tables change (docs/events.md).

Every fact is a register written by one site. The entry carries the whole new state and wins if and only if its version
is greater. Nothing here depends on the old value, so entries may come late, twice, or in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, and_, delete, exists, or_, select, tuple_, update

from librarian_daemon.catalog import declared_rows, rule_rows, schema, statements
from librarian_daemon.catalog.meta import get_meta
from librarian_daemon.catalog.upserts import chunks, upsert, write_registers
from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    DigestAdded,
    Entry,
    EntryId,
    FileAttributed,
    FileEntry,
    FileIngested,
    FileWithdrawn,
    HoldDeclared,
    HoldWithdrawn,
    InstanceDoubted,
    InstanceHealed,
    InstanceRegistered,
    InstanceRemoved,
    InstanceSuspected,
    KeepDeclared,
    KeepWithdrawn,
    NameResolved,
    SiteAdmitted,
    SiteAnnounced,
    SiteRekeyed,
    SiteRevoked,
    StoreDeclared,
    StoreRetired,
    SubscriptionDeclared,
    SubscriptionWithdrawn,
)
from librarian_protocol.name_resolution import Resolution, meaning
from librarian_protocol.names import SiteName
from librarian_protocol.wanted import InstanceState


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Who said the entries, in which incarnation, and the local change number that their files get."""

    site: SiteName
    epoch: int
    incarnation: str
    change: int

    def version(self, entry: Entry) -> dict[str, Any]:
        """The register columns of a row that the entry writes."""
        return {"epoch": self.epoch, "incarnation": self.incarnation, "seq": entry.seq}


def apply(connection: Connection, entries: Sequence[Entry], said: Said, *, planned: bool = True) -> None:
    """Apply entries of one kind. Idempotent and commuting.

    ``planned``: without it they are of files that are known here, and that somebody was known to have: no row of a file
    changes, nor what a name means.
    """
    for page in chunks(entries):
        rule = _RULES.get(type(page[0]))
        if isinstance(page[0], FileEntry) and planned:
            for some in _once_each(cast(list[FileEntry], page)):
                _files(connection, some, said)
                if rule is not None:
                    rule(connection, some, said)
        elif rule is not None:
            rule(connection, page, said)
        if isinstance(page[0], FileEntry | NameResolved) and planned:
            names = {str(entry.name) for entry in cast(list[FileEntry | NameResolved], page)}
            conflicts(connection, sorted(names), said.change)


def _once_each(entries: list[FileEntry]) -> list[list[FileEntry]]:
    """The entries in their order, divided so that no part has two of one file: a statement writes a row once."""
    files = [(entry.name, entry.digest) for entry in entries]
    if len(set(files)) == len(files):
        return [entries]
    parts: list[list[FileEntry]] = [[]]
    seen: set[tuple[str, str]] = set()
    for entry, file in zip(entries, files, strict=True):
        if file in seen:
            parts.append([])
            seen = set()
        seen.add(file)
        parts[-1].append(entry)
    return parts


# ---- files -----------------------------------------------------------------------------------------------


def _files(connection: Connection, entries: Sequence[FileEntry], said: Said) -> None:
    """Insert rows for files that are not known yet, and set the change number of those that may be planned anew."""
    if isinstance(entries[0], FileIngested):
        origin = {"site": str(said.site), "epoch": said.epoch, "incarnation": said.incarnation}
        statements.INGESTED.run(connection, [_INGESTED(entry) for entry in entries], change=said.change, **origin)
    elif isinstance(entries[0], InstanceRegistered):
        here = get_meta(connection, "site") or ""
        statements.REGISTERED.run(connection, [_FACTS(entry) for entry in entries], change=said.change, site=here)
    else:
        withdrawn = isinstance(entries[0], FileWithdrawn)
        statements.MENTIONED.run(
            connection, [_FACTS(entry) for entry in entries], change=said.change, withdrawn=withdrawn
        )


_OF_A_FILE = "name", "name.folded", "digest", "size_bytes", "unit.value"
_FACTS = attrgetter(*_OF_A_FILE)
_INGESTED = attrgetter(*_OF_A_FILE, "seq", "at", "mtime_ns")


def conflicts(connection: Connection, names: Sequence[str], change: int) -> None:
    """Compute again what the names mean, and wake the planner for every file of names that changed.

    A file that was only mentioned, with no ingest and no instance, makes no conflict.
    """
    file, conflict, naming = schema.file, schema.conflict, schema.naming
    digests: dict[str, set[Digest]] = {}
    before: set[str] = set()
    kept_before: dict[str, str] = {}
    for name, digest, what in statements.PECULIAR.rows(connection, names) if names else ():
        if what == "spoken-of":
            digests.setdefault(name, set()).add(Digest(digest))
        elif what == "conflict":
            before.add(name)
        else:
            kept_before[name] = digest
    several = {name: found for name, found in digests.items() if len(found) > 1}
    decided = _decided(connection, sorted(several))
    meanings = {name: meaning(found, decided.get(name, ())) for name, found in several.items()}
    now = {name for name, result in meanings.items() if result.conflict}
    kept = {name: str(result.kept) for name, result in meanings.items() if result.kept is not None}
    if now - before:
        connection.execute(
            upsert(connection, conflict).on_conflict_do_nothing(), [{"name": n} for n in sorted(now - before)]
        )
    if before - now:
        connection.execute(delete(conflict).where(conflict.c.name.in_(sorted(before - now))))
    changed = {name for name in {*kept, *kept_before} if kept.get(name) != kept_before.get(name)}
    if changed:
        connection.execute(delete(naming).where(naming.c.name.in_(sorted(changed))))
        rows = [{"name": name, "kept": kept[name]} for name in sorted(changed) if name in kept]
        if rows:
            connection.execute(upsert(connection, naming), rows)
    changed |= now ^ before
    if changed:
        connection.execute(update(file).where(file.c.name.in_(sorted(changed))).values(change=change))


def spoken_of() -> Any:
    """Condition on ``file``: it has an ingest or an instance. Other files were only mentioned."""
    file, instance = schema.file.c, schema.instance.c
    return or_(file.origin_site.is_not(None), exists().where(instance.file_id == file.id))


def is_loser() -> Any:
    """Condition on ``file``: another file was decided to have its name."""
    naming, file = schema.naming.c, schema.file.c
    return exists().where(naming.name == file.name, naming.kept != file.digest)


def _decided(connection: Connection, names: Sequence[str]) -> dict[str, list[Resolution]]:
    """The decisions about each of these names."""
    found: dict[str, list[Resolution]] = {}
    if not names:
        return found
    for row in connection.execute(select(schema.resolution).where(schema.resolution.c.name.in_(names))):
        found.setdefault(row.name, []).append(
            Resolution(
                id=EntryId(site=SiteName(row.site), incarnation=row.incarnation, seq=row.seq),
                keep=Digest(row.keep),
                over=tuple(_DIGESTS.decode(row.over)),
                supersedes=tuple(_ENTRIES.decode(row.supersedes)),
            )
        )
    return found


_DIGESTS = wire.decoder(list[Digest])
_ENTRIES = wire.decoder(list[EntryId])


# ---- instances -------------------------------------------------------------------------------------------


def _instances(connection: Connection, entries: Sequence[Entry], said: Said) -> None:
    """The register (file, site, store). Only the site that owns a store speaks of its instances."""
    alike = _ALIKE[type(entries[0])]
    told: dict[Any, list[FileEntry]] = {}
    for entry in cast(Sequence[FileEntry], entries):
        told.setdefault(alike(entry), []).append(entry)
    by = {"site": str(said.site), "epoch": said.epoch, "incarnation": said.incarnation}
    for some in told.values():
        common = dict(zip(statements.INSTANCE_COMMON, _told(some[0]), strict=True))
        statements.INSTANCES.run(connection, [_INSTANCE(entry) for entry in some], **common, **by)


_INSTANCE = attrgetter("name", "digest", "size_bytes", "seq")
#: Of entries of one kind, what :func:`_told` makes its answer of.
_ALIKE: dict[type[Entry], attrgetter[Any]] = {
    FileIngested: attrgetter("store", "at"),
    InstanceRegistered: attrgetter("store", "at", "how", "source_site"),
    InstanceHealed: attrgetter("store", "at"),
    InstanceSuspected: attrgetter("store", "at", "reason"),
    InstanceRemoved: attrgetter("store", "at", "reason"),
}


def _told(entry: FileEntry) -> tuple[str | None, ...]:
    """What an entry tells of an instance beside the file: ``statements.INSTANCE_COMMON``."""
    how, source, detail, state = "", None, "", InstanceState.AVAILABLE
    match entry:
        case FileIngested():
            how = "ingested"
        case InstanceRegistered():
            how, source = entry.how.value, str(entry.source_site)
        case InstanceHealed():
            how = "healed"
        case InstanceSuspected():
            state, detail = InstanceState.SUSPECTED, entry.reason
        case InstanceRemoved():
            state, detail = InstanceState.REMOVED, entry.reason
        case _:
            raise TypeError(f"{type(entry).__name__} says nothing of an instance")
    return entry.store, state.value, how, source, detail, entry.at


def _doubts(connection: Connection, entries: Sequence[Entry], said: Said) -> None:
    for page in chunks(cast(Sequence[InstanceDoubted], entries)):
        ids = file_ids(connection, page)
        write_registers(
            connection,
            schema.doubt,
            [
                {
                    "doubter": str(said.site),
                    "file_id": ids[(entry.name, entry.digest)],
                    "site": str(entry.owner),
                    "store": entry.store,
                    "reason": entry.reason,
                    "of_epoch": entry.epoch,
                    "of_incarnation": entry.incarnation,
                    "of_seq": entry.entry_seq,
                    **said.version(entry),
                }
                for entry in page
            ],
        )


def file_ids(connection: Connection, entries: Sequence[FileEntry]) -> dict[tuple[str, str], int]:
    """Row ids by (name, digest) of at most a chunk of files."""
    file = schema.file
    names = sorted({str(entry.name) for entry in entries})
    rows = connection.execute(select(file.c.name, file.c.digest, file.c.id).where(file.c.name.in_(names)))
    return {(name, digest): row_id for name, digest, row_id in rows}


def _digests(connection: Connection, entries: Sequence[Entry], said: Said) -> None:
    page = cast(Sequence[DigestAdded], entries)
    ids = file_ids(connection, page)
    connection.execute(
        upsert(connection, schema.digest).on_conflict_do_nothing(),
        [{"file_id": ids[(e.name, e.digest)], "site": str(said.site), "other": str(e.other)} for e in page],
    )


def _attributes(connection: Connection, entries: Sequence[Entry], said: Said) -> None:
    page = cast(Sequence[FileAttributed], entries)
    ids = file_ids(connection, page)
    write_registers(
        connection,
        schema.attribute,
        [
            {
                "file_id": ids[(entry.name, entry.digest)],
                "site": str(said.site),
                "executable": entry.executable,
                "list": entry.list and str(entry.list),
                **said.version(entry),
            }
            for entry in page
        ],
    )


# ---- sites, stores, subscriptions ------------------------------------------------------------------------


def _subscriptions(connection: Connection, entries: Sequence[Entry], said: Said) -> None:
    for entry in cast(Sequence[SubscriptionDeclared | SubscriptionWithdrawn], entries):
        row = {"site": str(said.site), **declared_rows.subscription(entry), **said.version(entry)}
        write_registers(connection, schema.subscription, [row])


def _stores(connection: Connection, entries: Sequence[Entry], said: Said) -> None:
    for entry in cast(Sequence[StoreDeclared | StoreRetired], entries):
        row = {"site": str(said.site), **declared_rows.store(entry), **said.version(entry)}
        write_registers(connection, schema.store, [row])


def _admissions(connection: Connection, entries: Sequence[Entry], said: Said) -> None:
    """One register for each (admitter, site): admitted, or revoked. And one for what it was admitted as."""
    for entry in cast(Sequence[SiteAdmitted | SiteRevoked], entries):
        register = {"admitter": str(said.site), "site": str(entry.site)}
        row = {**register, **declared_rows.admission(entry), **said.version(entry)}
        write_registers(connection, schema.admission, [row])
        if isinstance(entry, SiteAdmitted):
            bare = msgspec.structs.replace(entry, seq=0, at="")
            row = {**register, "entry": wire.encode(bare).decode(), **said.version(entry)}
            write_registers(connection, schema.admitted, [row])


def _rekeys(connection: Connection, entries: Sequence[Entry], said: Said) -> None:
    connection.execute(
        upsert(connection, schema.rekey).on_conflict_do_nothing(),
        [
            {
                "site": str(said.site),
                "key": entry.key,
                "tips": wire.encode(entry.tips).decode(),
                **said.version(entry),
            }
            for entry in cast(Sequence[SiteRekeyed], entries)
        ],
    )


def _resolutions(connection: Connection, entries: Sequence[Entry], said: Said) -> None:
    page = cast(Sequence[NameResolved], entries)
    connection.execute(
        upsert(connection, schema.resolution).on_conflict_do_nothing(),
        [
            {
                "site": str(said.site),
                "name": str(entry.name),
                "keep": str(entry.keep),
                "over": wire.encode([str(digest) for digest in entry.over]).decode(),
                "supersedes": wire.encode(entry.supersedes).decode(),
                **said.version(entry),
            }
            for entry in page
        ],
    )


def _rules(connection: Connection, entries: Sequence[Entry], said: Said) -> None:
    """Rules of the mesh, and their withdrawals."""
    connection.execute(
        upsert(connection, rule_rows.table_of(entries[0])).on_conflict_do_nothing(),
        [{"site": str(said.site), **rule_rows.row_of(entry), **said.version(entry)} for entry in entries],
    )


def _announcements(connection: Connection, entries: Sequence[Entry], said: Said) -> None:
    for entry in cast(Sequence[SiteAnnounced], entries):
        row = {"site": str(said.site), **declared_rows.announcement(entry), **said.version(entry)}
        write_registers(connection, schema.announcement, [row])


_RULES: dict[type[Entry], Callable[[Connection, Sequence[Entry], Said], None]] = {
    FileIngested: _instances,
    InstanceRegistered: _instances,
    InstanceHealed: _instances,
    InstanceSuspected: _instances,
    InstanceRemoved: _instances,
    InstanceDoubted: _doubts,
    DigestAdded: _digests,
    FileAttributed: _attributes,
    SubscriptionDeclared: _subscriptions,
    SubscriptionWithdrawn: _subscriptions,
    StoreDeclared: _stores,
    StoreRetired: _stores,
    SiteAdmitted: _admissions,
    SiteRevoked: _admissions,
    SiteRekeyed: _rekeys,
    NameResolved: _resolutions,
    SiteAnnounced: _announcements,
    KeepDeclared: _rules,
    KeepWithdrawn: _rules,
    HoldDeclared: _rules,
    HoldWithdrawn: _rules,
}


def unanswered() -> Any:
    """Condition on ``instance`` joined with ``doubt``: no state later than the doubted one was written."""
    instance, doubt = schema.instance.c, schema.doubt.c
    return and_(
        doubt.file_id == instance.file_id,
        doubt.site == instance.site,
        doubt.store == instance.store,
        tuple_(instance.epoch, instance.incarnation, instance.seq)
        <= tuple_(doubt.of_epoch, doubt.of_incarnation, doubt.of_seq),
    )
