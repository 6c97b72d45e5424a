"""The rows of own instances that are being given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, exists, func, select, update

from librarian_daemon.catalog import schema, statements
from librarian_daemon.catalog.apply import is_loser
from librarian_daemon.catalog.upserts import chunks
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    Entry,
    FileIngested,
    InstanceHealed,
    InstanceRegistered,
    InstanceSuspected,
    Unit,
)
from librarian_protocol.eviction.row import OPEN, Row, Stage
from librarian_protocol.names import Name
from librarian_protocol.wanted import InstanceState


class Kept(StrEnum):
    """What a row of ``eviction`` says: a stage of an attempt, or what one left."""

    PENDING = "pending"
    DECIDED = "decided"
    TRASHED = "trashed"
    #: The instance is removed; its bytes in trash are to be unlinked.
    GONE = "gone"
    #: The instance is available; of an attempt only its time in trash is kept.
    SINCE = "since"
    #: The instance is available: it landed once more. What stands in trash of the attempt is to be unlinked.
    LANDED = "landed"


#: Their bytes do not stand at their names, or are about to leave them.
AWAY = (Kept.DECIDED.value, Kept.TRASHED.value)


class Giving(msgspec.Struct, frozen=True, kw_only=True):
    """An own instance with a row, and its file."""

    file_id: int
    store: str
    name: Name
    digest: Digest
    size_bytes: int
    unit: Unit
    kept: Kept
    nonce: str
    trash: str
    number: int
    since_s: float | None
    why: str
    #: An instance in an archive must be left.
    needs_archive: bool

    @property
    def away(self) -> bool:
        """Whether its bytes do not stand at its name, or are about to leave it."""
        return self.kept.value in AWAY

    @property
    def row(self) -> Row:
        """As the machine has it, of one whose attempt is open."""
        return Row(Stage(self.kept.value), self.nonce, self.trash, self.since_s)


def row_of(state: str | None, kept: Giving | None) -> Row | None:
    """The machine's row of an own instance; None where there is no instance.

    Args:
        state: what its register says.
        kept: its row of ``eviction``.
    """
    if kept is not None and kept.kept.value in OPEN:
        return kept.row
    since_s = None if kept is None else kept.since_s
    match state:
        case InstanceState.AVAILABLE.value:
            return Row(since_s=since_s)
        case InstanceState.SUSPECTED.value:
            return Row(Stage.SUSPECTED)
        case InstanceState.REMOVED.value:
            return Row(Stage.GONE, trash="" if kept is None else kept.trash)
        case _:
            return None


_EVICTION, _FILE = schema.eviction.c, schema.file.c
_SELECT = select(schema.eviction, _FILE.name, _FILE.digest, _FILE.size_bytes, _FILE.unit).join(
    schema.file, _FILE.id == _EVICTION.file_id
)


def of_files(connection: Connection, ids: Sequence[int]) -> dict[tuple[int, str], Giving]:
    """By file and store, those of these files that have a row."""
    if not any_(connection):
        return {}
    return {
        (one.file_id, one.store): one
        for some in chunks(ids)
        for one in _givings(connection.execute(_SELECT.where(_EVICTION.file_id.in_(some))))
    }


def in_stage(connection: Connection, store: str, stages: Sequence[Kept], limit: int) -> list[Giving]:
    """Some rows of a store in these stages, those of one nonce together."""
    wanted = _SELECT.where(_EVICTION.store == store, _EVICTION.stage.in_([stage.value for stage in stages]))
    wanted = wanted.order_by(_EVICTION.stage, _EVICTION.nonce, _EVICTION.file_id)
    return _givings(connection.execute(wanted.limit(limit)))


def due(connection: Connection, store: str, until_s: float, limit: int, but: Sequence[str] = ()) -> list[Giving]:
    """Of one attempt's bytes in trash, those that came there before ``until_s``; not of these attempts."""
    wanted = (
        _EVICTION.store == store,
        _EVICTION.stage == Kept.TRASHED.value,
        _EVICTION.since_s <= until_s,
        _EVICTION.nonce.not_in(["", *but]),
    )
    nonce = connection.scalar(select(_EVICTION.nonce).where(*wanted).order_by(_EVICTION.since_s).limit(1))
    if nonce is None:
        return []
    return _givings(
        connection.execute(_SELECT.where(*wanted, _EVICTION.nonce == nonce).order_by(_EVICTION.file_id).limit(limit))
    )


def voided(connection: Connection, store: str, limit: int) -> list[Giving]:
    """Those whose attempt ended, and whose bytes are to be put back."""
    wanted = (_EVICTION.store == store, _EVICTION.stage.in_(AWAY), _EVICTION.nonce == "")
    return _givings(connection.execute(_SELECT.where(*wanted).order_by(_EVICTION.file_id).limit(limit)))


def in_conflict(connection: Connection, store: str, limit: int) -> list[Giving]:
    """Those in trash of whose names something else is said by now, or which an administrator withdrew."""
    if not any_(connection):
        return []
    other = exists().where(schema.conflict.c.name == _FILE.name) | is_loser() | _FILE.withdrawn.is_(True)
    wanted = (_EVICTION.store == store, _EVICTION.stage.in_(AWAY), other)
    return _givings(connection.execute(_SELECT.where(*wanted).order_by(_EVICTION.file_id).limit(limit)))


def has_lost_its_name(connection: Connection, file_id: int) -> bool:
    """Whether another file was decided to have its name."""
    return bool(connection.scalar(select(exists().where(_FILE.id == file_id, is_loser()))))


def named(connection: Connection, name: Name) -> list[Giving]:
    """Those of a name."""
    return _givings(connection.execute(_SELECT.where(_FILE.name == str(name))))


def after(connection: Connection, store: str, file_id: int, limit: int) -> list[Giving]:
    """Those in trash, in the order of their files."""
    wanted = _SELECT.where(_EVICTION.store == store, _EVICTION.stage.in_(AWAY), _EVICTION.file_id > file_id)
    return _givings(connection.execute(wanted.order_by(_EVICTION.file_id).limit(limit)))


class Trashed(msgspec.Struct, frozen=True, kw_only=True):
    """What of a store stands in trash."""

    files: int = 0
    size_bytes: int = 0


def trashed(connection: Connection, store: str) -> Trashed:
    """How much of a store stands in trash."""
    found = connection.execute(
        select(func.count(), func.sum(_FILE.size_bytes))
        .select_from(schema.eviction)
        .join(schema.file, _FILE.id == _EVICTION.file_id)
        .where(_EVICTION.store == store, _EVICTION.stage.in_(AWAY))
    ).one()
    return Trashed(files=found[0], size_bytes=int(found[1] or 0))


def any_(connection: Connection) -> bool:
    """Whether there is any row."""
    return connection.execute(_ANY).first() is not None


_ANY = select(_EVICTION.file_id).limit(1)


def is_away(connection: Connection, file_id: int, store: str) -> bool:
    """Whether an own instance's bytes do not stand at their name, or are about to leave it."""
    wanted = exists().where(_EVICTION.file_id == file_id, _EVICTION.store == store, _EVICTION.stage.in_(AWAY))
    return bool(connection.scalar(select(wanted)))


def away_in(connection: Connection, store: str, ids: Sequence[int]) -> set[int]:
    """Those of the files whose bytes do not stand at their names in the store, or are about to leave them."""
    if not ids or not any_(connection):
        return set()
    wanted = select(_EVICTION.file_id).where(_EVICTION.store == store, _EVICTION.stage.in_(AWAY))
    return {found for some in chunks(ids) for found in connection.scalars(wanted.where(_EVICTION.file_id.in_(some)))}


# ---- writing ---------------------------------------------------------------------------------------------


def begin(connection: Connection, store: str, ids: Sequence[int], *, nonce: str, why: str, needs_archive: bool) -> None:
    """Begin an attempt: a time in trash of before is kept."""
    statements.GIVEN_UP.run(
        connection, list(ids), store=store, stage=Kept.PENDING.value, nonce=nonce, why=why, needs_archive=needs_archive
    )


def move(connection: Connection, store: str, ids: Sequence[int], **columns: Any) -> None:
    """Change rows."""
    for some in chunks(ids):
        connection.execute(
            update(schema.eviction).where(_EVICTION.store == store, _EVICTION.file_id.in_(some)).values(**columns)
        )


def number(connection: Connection, store: str, numbers: Mapping[int, int]) -> None:
    """Say which number in its directory in trash each of the files has."""
    statements.NUMBERED.run(connection, list(numbers.items()), store=store)


def end(connection: Connection, store: str, ids: Sequence[int]) -> None:
    """Delete rows: the instances are as their registers say."""
    for some in chunks(ids):
        connection.execute(delete(schema.eviction).where(_EVICTION.store == store, _EVICTION.file_id.in_(some)))


def void(connection: Connection, said: Sequence[Entry]) -> None:
    """This site says of its instances that they are good, or bad: whatever was open of them is void.

    Called in the transaction that says it. What is decided or stands in trash stays so where its bytes were found bad:
    putting it back hashes it.
    """
    if not any_(connection):
        return
    by_store: dict[str, list[tuple[str, str]]] = {}
    for entry in said:
        assert isinstance(entry, FileIngested | InstanceRegistered | InstanceHealed | InstanceSuspected)
        by_store.setdefault(entry.store, []).append((entry.name, entry.digest))
    for store, files in by_store.items():
        if not isinstance(said[0], InstanceSuspected):
            statements.LANDED_MEANWHILE.run(connection, files, store=store)
        statements.VOIDED.run(connection, files, store=store)


def _givings(rows: Any) -> list[Giving]:
    return [
        Giving(
            file_id=row.file_id,
            store=row.store,
            name=Name(row.name),
            digest=Digest(row.digest),
            size_bytes=row.size_bytes,
            unit=Unit(row.unit),
            kept=Kept(row.stage),
            nonce=row.nonce,
            trash=row.trash,
            number=row.number,
            since_s=row.since_s,
            why=row.why,
            needs_archive=bool(row.needs_archive),
        )
        for row in rows
    ]
