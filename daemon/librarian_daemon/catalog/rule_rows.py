"""Rules of the mesh as rows: what is written of an entry, and which rules count now."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, select

from librarian_daemon.catalog import schema
from librarian_protocol import wire
from librarian_protocol.entries import Entry, EntryId, HoldDeclared, HoldWithdrawn, KeepDeclared, KeepWithdrawn
from librarian_protocol.names import SiteName
from librarian_protocol.rules import Hold, Keep, in_force

_TABLES: dict[type[Entry], Table] = {
    KeepDeclared: schema.keep,
    KeepWithdrawn: schema.rule_withdrawal,
    HoldDeclared: schema.hold,
    HoldWithdrawn: schema.rule_withdrawal,
}
_ENTRIES = wire.decoder(list[EntryId])


def table_of(entry: Entry) -> Table:
    """Where an entry of that kind is written."""
    return _TABLES[type(entry)]


def row_of(entry: Entry) -> dict[str, Any]:
    """The columns of an entry, without those that say who wrote it, and when in its journal."""
    match entry:
        case KeepDeclared():
            columns: dict[str, Any] = {
                "match": entry.match,
                "instances": entry.instances,
                "domains": entry.domains,
                "role": entry.role,
            }
        case HoldDeclared():
            columns = {"match": entry.match, "until": entry.until}
        case KeepWithdrawn() | HoldWithdrawn():
            noun = "keep" if isinstance(entry, KeepWithdrawn) else "hold"
            columns = {"noun": noun, "supersedes": wire.encode(entry.supersedes).decode()}
        case _:
            raise TypeError(f"{type(entry).__name__} is no rule of the mesh")
    return {**columns, "reason": entry.reason, "at": entry.at}


def keeps(connection: Connection) -> list[Keep]:
    """The keep rules that count."""
    declared = [
        Keep(
            id=_id(row),
            match=row.match,
            instances=row.instances,
            domains=row.domains,
            role=row.role,
            reason=row.reason,
            at=row.at,
        )
        for row in connection.execute(select(schema.keep))
    ]
    return in_force(declared, _superseded(connection, "keep"))


def holds(connection: Connection) -> list[Hold]:
    """The holds that count, those too whose time has passed (:func:`librarian_protocol.rules.is_over`)."""
    declared = [
        Hold(id=_id(row), match=row.match, until=row.until, reason=row.reason, at=row.at)
        for row in connection.execute(select(schema.hold))
    ]
    return in_force(declared, _superseded(connection, "hold"))


def _id(row: Any) -> EntryId:
    return EntryId(site=SiteName(row.site), incarnation=row.incarnation, seq=row.seq)


def _superseded(connection: Connection, noun: str) -> set[EntryId]:
    withdrawal = schema.rule_withdrawal.c
    found = connection.scalars(select(withdrawal.supersedes).where(withdrawal.noun == noun))
    return {entry for text in found for entry in _ENTRIES.decode(text)}
