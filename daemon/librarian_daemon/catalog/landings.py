"""Operations on landings: what intake and the replicator write down around a rename (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.statements import chunks, expanding, inserting, replacing
from librarian_daemon.catalog.writer import Tx
from librarian_daemon.ports import Landing, Standing
from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import KINDS, FileEntry, Unit, kind_of
from librarian_protocol.names import Name
from librarian_protocol.wanted import InstanceState


def standing(connection: Connection, store: str, files: Sequence[tuple[Name, Digest]]) -> list[tuple[Standing, str]]:
    """For each file what stands under its name, and the other digest or name for the message."""
    folded = sorted({name.folded for name, _ in files})
    known: dict[str, list[tuple[str, str, bool, bool]]] = {}
    for page in chunks(folded):
        for row in connection.execute(_FOLDED, {"folded": page, "store": store}):
            known.setdefault(row.folded, []).append((row.name, row.digest, row.withdrawn, row.file_id is not None))
    above = below_files(connection, [name for name, _ in files])
    return [
        (Standing.BELOW, above[name]) if name in above else _stands(name, digest, known.get(name.folded, []))
        for name, digest in files
    ]


_FILE, _INSTANCE = schema.file.c, schema.instance.c
_NAMES = expanding("names")
_FOLDED = (
    select(_FILE.folded, _FILE.name, _FILE.digest, _FILE.withdrawn, _INSTANCE.file_id)
    .outerjoin(
        schema.instance,
        (_INSTANCE.file_id == _FILE.id)
        & (_INSTANCE.store == bindparam("store"))
        & (_INSTANCE.state == InstanceState.AVAILABLE.value),
    )
    .where(_FILE.folded.in_(expanding("folded")))
    .order_by(_FILE.name, _FILE.digest)
)


def below_files(connection: Connection, names: Sequence[Name]) -> dict[Name, str]:
    """Those of the names that lie below a known file, and that file's name."""
    ancestors = {above for name in names for above in _ancestors(name)}
    taken: set[str] = set()
    for page in chunks(sorted(ancestors)):
        taken.update(connection.scalars(_TAKEN, {"names": page}))
    found: dict[Name, str] = {}
    for name in names:
        above = next((one for one in _ancestors(name) if one in taken), None)
        if above is not None:
            found[name] = above
    return found


_TAKEN = select(_FILE.name).where(_FILE.name.in_(_NAMES), _FILE.withdrawn.is_(False))


def _ancestors(name: Name) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _stands(name: Name, digest: Digest, known: list[tuple[str, str, bool, bool]]) -> tuple[Standing, str]:
    same = [one for one in known if one[0] == name]
    for _, other, withdrawn, present in same:
        if other == digest:
            if withdrawn:
                return Standing.WITHDRAWN, other
            return (Standing.PRESENT if present else Standing.KNOWN), other
    for _, other, withdrawn, _ in same:
        if not withdrawn:
            return Standing.TAKEN, other
    twins = [one[0] for one in known if one[0] != name and not one[2]]
    return (Standing.TWIN, twins[0]) if twins else (Standing.FREE, "")


def begin(tx: Tx, landings: Sequence[Landing]) -> None:
    """Write the landing rows, before any byte is moved to its name. Repeatable."""
    rows = [
        {
            "id": one.id,
            "store": one.store,
            "root": one.root,
            "rel": one.rel,
            "name": str(one.name),
            "digest": str(one.digest),
            "size_bytes": one.size_bytes,
            "unit": one.unit.value,
            "manifest_rel": one.manifest_rel,
            "kind": kind_of(one.entry),
            "entry": wire.encode(one.entry),
            "transfer": one.transfer,
        }
        for one in landings
    ]
    if rows:
        tx.connection.execute(_BEGIN(tx.connection), rows)


_BEGIN = inserting(schema.landing, lambda insert: insert.on_conflict_do_nothing())


def finish(tx: Tx, landings: Sequence[Landing]) -> list[Landing]:
    """The bytes stand at their names: say so in the journal, and drop the rows.

    Repeatable: a landing whose row is gone was finished before and is said no more. Returns those said now.
    """
    live = _still_there(tx.connection, landings)
    now = [one for one in landings if one.id in live]
    run: list[FileEntry] = []
    for one in now:
        assert isinstance(one.entry, FileEntry)
        if run and type(one.entry) is not type(run[0]):
            tx.say(*run)
            run = []
        run.append(one.entry)
    tx.say(*run)
    _note_verified(tx, now)
    _drop(tx.connection, now)
    return now


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
        )
        for row in rows
    ]


def _still_there(connection: Connection, landings: Sequence[Landing]) -> set[str]:
    found: set[str] = set()
    for page in chunks(landings):
        found.update(connection.scalars(_LANDINGS, {"ids": [one.id for one in page]}))
    return found


_IDS = expanding("ids")
_LANDINGS = select(schema.landing.c.id).where(schema.landing.c.id.in_(_IDS))
_END = delete(schema.landing).where(schema.landing.c.id.in_(_IDS))


def _drop(connection: Connection, landings: Sequence[Landing]) -> None:
    for page in chunks(landings):
        connection.execute(_END, {"ids": [one.id for one in page]})


def _note_verified(tx: Tx, landings: Sequence[Landing]) -> None:
    for page in chunks(landings):
        note_verified(tx, page[0].store, [(one.name, one.digest) for one in page])


def note_verified(tx: Tx, store: str, files: Sequence[tuple[Name, Digest]]) -> None:
    """Remember that these instances of one store were read whole just now and found right."""
    wanted = {(str(name), str(digest)) for name, digest in files}
    rows = tx.connection.execute(_NAMED, {"names": sorted({name for name, _ in wanted})})
    values = [
        {"file_id": row.id, "store": store, "at": tx.now} for row in rows.all() if (row.name, row.digest) in wanted
    ]
    if values:
        tx.connection.execute(_VERIFIED(tx.connection), values)


_NAMED = select(_FILE.id, _FILE.name, _FILE.digest).where(_FILE.name.in_(_NAMES))
_VERIFIED = replacing(schema.verified, "file_id", "store")
