"""The shared tables as any site must have them: without row ids and local change numbers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from librarian_daemon.catalog import schema

SHARED = (
    schema.admission,
    schema.admitted,
    schema.announcement,
    schema.file,
    schema.conflict,
    schema.instance,
    schema.doubt,
    schema.subscription,
    schema.store,
    schema.digest,
    schema.attribute,
    schema.keep,
    schema.hold,
    schema.rule_withdrawal,
)
Shared = dict[str, list[dict[str, Any]]]


def shared(connection: Connection) -> Shared:
    """All rows of all shared tables, in an order that does not depend on how they came."""
    files = {row.id: (row.name, row.digest) for row in connection.execute(select(schema.file))}
    found: Shared = {}
    for table in SHARED:
        rows: list[dict[str, Any]] = []
        for row in connection.execute(select(table)).mappings():
            values = {
                key: value for key, value in row.items() if key not in {"id", "change"} or table is not schema.file
            }
            if "file_id" in values:
                values["file_id"] = files[values["file_id"]]
            rows.append(values)
        found[table.name] = sorted(rows, key=repr)
    return found
