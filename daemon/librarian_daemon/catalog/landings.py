"""Operations on landings: the rows that intake and the replicator write around a rename (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from librarian_daemon.catalog import schema, statements
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.ports.ledger import NameStatus
from librarian_daemon.ports.store import Action, Landing
from librarian_protocol import wire
from librarian_protocol.attributes import Attributes
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    KINDS,
    FileAttributed,
    FileEntry,
    FileIngested,
    How,
    InstanceHealed,
    InstanceRegistered,
    Unit,
    kind_of,
)
from librarian_protocol.names import Name, SiteName


def standing(connection: Connection, store: str, files: Sequence[tuple[Name, Digest]]) -> list[tuple[NameStatus, str]]:
    """For each file what stands under its name, and the other digest or name for the message."""
    forms = [name.folded for name, _ in files]
    known: dict[str, list[tuple[str, str, bool, bool]]] = {}
    for form, name, digest, withdrawn, present in statements.NAMESAKES.rows(connection, sorted({*forms}), store=store):
        known.setdefault(form, []).append((name, digest, bool(withdrawn), bool(present)))
    for same in known.values():
        same.sort()
    above = below_files(connection, [name for name, _ in files])
    return [
        (NameStatus.BELOW, above[name])
        if name in above
        else _stands(name, digest, known[form])
        if form in known
        else (NameStatus.FREE, "")
        for (name, digest), form in zip(files, forms, strict=True)
    ]


def below_files(connection: Connection, names: Sequence[Name]) -> dict[Name, str]:
    """Those of the names that lie below a known file, and that file's name."""
    directories = {name.rpartition("/")[0] for name in names}
    above = {directory: _and_above(directory) for directory in directories if directory}
    ancestors = sorted({ancestor for some in above.values() for ancestor in some})
    if not ancestors:
        return {}
    taken = {name for (name,) in statements.TAKEN.rows(connection, ancestors)}
    below = {
        directory: next(ancestor for ancestor in some if ancestor in taken)
        for directory, some in above.items()
        if not taken.isdisjoint(some)
    }
    return {name: below[directory] for name in names if (directory := name.rpartition("/")[0]) in below}


def _and_above(directory: str) -> list[str]:
    """The directory and all that it lies in, from the top."""
    parts = directory.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _stands(name: Name, digest: Digest, known: list[tuple[str, str, bool, bool]]) -> tuple[NameStatus, str]:
    same = [file for file in known if file[0] == name]
    for _, other, withdrawn, present in same:
        if other == digest:
            if withdrawn:
                return NameStatus.WITHDRAWN, other
            return (NameStatus.PRESENT if present else NameStatus.KNOWN), other
    for _, other, withdrawn, _ in same:
        if not withdrawn:
            return NameStatus.TAKEN, other
    twins = [file[0] for file in known if file[0] != name and not file[2]]
    return (NameStatus.TWIN, twins[0]) if twins else (NameStatus.FREE, "")


def claimed(connection: Connection, site: SiteName, store: str, names: Sequence[Name]) -> set[str]:
    """Those of the names at which something of this site's stands in the store, or should."""
    if not names:
        return set()
    return {name for (name,) in statements.CLAIMED.rows(connection, names, site=str(site), store=store)}


def size_of(connection: Connection, name: Name, digest: str) -> int | None:
    """Bytes of a known file; None for an unknown one."""
    file = schema.file.c
    size_bytes = connection.scalar(select(file.size_bytes).where(file.name == name, file.digest == digest))
    return None if size_bytes is None else int(size_bytes)


def begin(tx: Tx, landings: Sequence[Landing]) -> list[Landing]:
    """Write the landing rows, before any byte is moved to its name. Repeatable.

    Returns them; those whose own instance is suspected heal it.
    """
    landings = _healing(tx, landings)
    alike: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for landing in landings:
        of_all = (landing.store, landing.root, landing.unit, kind_of(landing.entry), landing.action)
        alike.setdefault(of_all, []).append(
            (
                landing.id,
                landing.rel,
                landing.name,
                landing.digest,
                landing.size_bytes,
                wire.encode(landing.entry).decode(),
                landing.transfer,
                landing.manifest_rel,
                landing.list_rel,
                wire.encode(landing.attributes).decode(),
            )
        )
    for (store, root, unit, kind, action), rows in alike.items():
        statements.BEGUN.run(
            tx.connection,
            rows,
            store=store,
            root=root,
            unit=unit.value,
            kind=kind,
            action=action.value,
        )
    return list(landings)


def _healing(tx: Tx, landings: Sequence[Landing]) -> Sequence[Landing]:
    placing = sorted({landing.name for landing in landings if landing.action is Action.PLACE})
    if not placing:
        return landings
    suspected = {tuple(row) for row in statements.SUSPECTED.rows(tx.connection, placing, site=str(tx.site))}
    if not suspected:
        return landings
    return [
        msgspec.structs.replace(landing, action=Action.HEAL, entry=_healed(landing))
        if landing.action is Action.PLACE and (landing.name, landing.digest, landing.store) in suspected
        else landing
        for landing in landings
    ]


def _healed(landing: Landing) -> InstanceHealed:
    return InstanceHealed(
        name=landing.name,
        digest=landing.digest,
        size_bytes=landing.size_bytes,
        unit=landing.unit,
        store=landing.store,
    )


def finish(tx: Tx, landings: Sequence[Landing], *, verified: bool = True) -> list[Landing]:
    """The bytes are at their names: append that to the journal, and drop the rows.

    Repeatable: a landing whose row is gone was finished before and is said no more. Returns those said now, with what
    was said: a file whose ingest is known was found again, and keeps its origin.
    """
    live = _drop(tx.connection, landings)
    mended = [landing for landing in landings if landing.id in live and landing.action is Action.HEAL]
    for store in sorted({landing.store for landing in mended}):
        files = [(landing.name, landing.digest) for landing in mended if landing.store == store]
        statements.KEPT_BAD.run(tx.connection, files, store=store)
        statements.ALL_GOOD.run(tx.connection, files, store=store)
    return say(tx, [landing for landing in landings if landing.id in live], verified=verified)


def absent(connection: Connection, site: SiteName, landings: Sequence[Landing]) -> list[Landing]:
    """Those of the landings, all into one store, of which no good instance is registered."""
    if not landings:
        return []
    files = [(landing.name, landing.digest) for landing in landings]
    found = statements.PRESENT.rows(connection, files, site=str(site), store=landings[0].store)
    present = {tuple(row) for row in found}
    return [landing for landing in landings if (landing.name, landing.digest) not in present]


def say(tx: Tx, landings: Sequence[Landing], *, verified: bool = True, planned: bool = True) -> list[Landing]:
    """The bytes are at their names: append that to the journal. Returns the landings with what was said.

    ``planned``: as of :meth:`Tx.append`.
    """
    now = _found_again(tx, landings)
    # Before the ingests: a site that has received a file's ingest then also knows its attributes.
    tx.append(*[said for landing in now for said in _attributed(landing)])
    run: list[FileEntry] = []
    for landing in now:
        assert isinstance(landing.entry, FileEntry)
        if run and type(landing.entry) is not type(run[0]):
            tx.append(*run, planned=planned)
            run = []
        run.append(landing.entry)
    tx.append(*run, planned=planned)
    if verified:
        _note_verified(tx, now)
    return now


def _attributed(landing: Landing) -> list[FileAttributed]:
    kept = landing.attributes
    if not isinstance(landing.entry, FileIngested) or (not kept.executable and kept.list is None):
        return []
    return [
        FileAttributed(
            name=landing.name,
            digest=landing.digest,
            size_bytes=landing.size_bytes,
            unit=landing.unit,
            executable=kept.executable,
            list=kept.list,
        )
    ]


def _found_again(tx: Tx, landings: Sequence[Landing]) -> list[Landing]:
    ingesting = [landing for landing in landings if isinstance(landing.entry, FileIngested)]
    if not ingesting:
        return list(landings)
    files = [(landing.name, landing.digest) for landing in ingesting]
    known = {tuple(row) for row in statements.WITH_ORIGIN.rows(tx.connection, files)}
    return [
        msgspec.structs.replace(landing, entry=_registered(landing, tx.site))
        if isinstance(landing.entry, FileIngested) and (landing.name, landing.digest) in known
        else landing
        for landing in landings
    ]


def _registered(landing: Landing, site: SiteName) -> InstanceRegistered:
    return InstanceRegistered(
        name=landing.name,
        digest=landing.digest,
        size_bytes=landing.size_bytes,
        unit=landing.unit,
        store=landing.store,
        source_site=site,
        how=How.FOUND,
    )


def abandon(tx: Tx, landings: Sequence[Landing]) -> None:
    """Drop the rows; nothing else was done. Idempotent."""
    _drop(tx.connection, landings)


def unfinished(connection: Connection, store: str) -> list[Landing]:
    """Landing rows that a crash left in a store."""
    rows = connection.execute(
        select(schema.landing).where(schema.landing.c.store == store).order_by(schema.landing.c.id)
    )
    return [
        Landing(
            id=row.id,
            store=row.store,
            root=row.root,
            rel=row.rel,
            name=Name(row.name),
            digest=Digest(row.digest),
            size_bytes=row.size_bytes,
            unit=Unit(row.unit),
            manifest_rel=row.manifest_rel,
            entry=wire.decoder(KINDS[row.kind]).decode(row.entry),
            transfer=row.transfer,
            action=Action(row.action),
            attributes=_ATTRIBUTES.decode(row.attributes),
            list_rel=row.list_rel,
        )
        for row in rows
    ]


_ATTRIBUTES = wire.decoder(Attributes)


def _drop(connection: Connection, landings: Sequence[Landing]) -> set[str]:
    """Those of the landings whose rows were still there."""
    if not landings:
        return set()
    live = [id_ for (id_,) in statements.STANDING.rows(connection, [landing.id for landing in landings])]
    if live:
        statements.ENDED.run(connection, live)
    return set(live)


def _note_verified(tx: Tx, landings: Sequence[Landing]) -> None:
    for store in {landing.store for landing in landings}:
        note_verified(tx, store, [(landing.name, landing.digest) for landing in landings if landing.store == store])


def note_verified(tx: Tx, store: str, files: Sequence[tuple[Name, Digest]]) -> None:
    """Remember that these instances of one store were read whole just now and found right."""
    if files:
        statements.VERIFIED.run(tx.connection, sorted(set(files)), store=store, at=tx.now)
