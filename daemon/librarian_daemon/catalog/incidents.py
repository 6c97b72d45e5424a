"""Operations on incidents: what an operator must know of, one open row for each (code, subject)."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.writer import Tx
from librarian_protocol.api import Problem


def open_incident(tx: Tx, code: str, subject: str, message: str, hint: str) -> bool:
    """Open it, or count it again. Says whether it is new."""
    incident = schema.incident.c
    counted = tx.connection.execute(
        update(schema.incident)
        .where(incident.code == code, incident.subject == subject, incident.resolved_at.is_(None))
        .values(times=incident.times + 1, last_at=tx.now, message=message, hint=hint)
    )
    if counted.rowcount:
        return False
    tx.connection.execute(
        insert(schema.incident),
        {
            "code": code,
            "subject": subject,
            "message": message,
            "hint": hint,
            "opened_at": tx.now,
            "last_at": tx.now,
            "times": 1,
        },
    )
    return True


def resolve_incident(tx: Tx, code: str, subject: str) -> bool:
    """It is over. Idempotent; says whether one was open."""
    incident = schema.incident.c
    done = tx.connection.execute(
        update(schema.incident)
        .where(incident.code == code, incident.subject == subject, incident.resolved_at.is_(None))
        .values(resolved_at=tx.now)
    )
    return bool(done.rowcount)


def open_incidents(connection: Connection, limit: int) -> list[Problem]:
    """Open incidents, oldest first."""
    incident = schema.incident.c
    rows = connection.execute(
        select(schema.incident).where(incident.resolved_at.is_(None)).order_by(incident.id).limit(limit)
    )
    return [
        Problem(
            code=row.code,
            subject=row.subject,
            message=row.message,
            hint=row.hint,
            since=row.opened_at,
            count=row.times,
        )
        for row in rows
    ]


def open_subjects(connection: Connection, code: str, limit: int) -> list[str]:
    """What open incidents of a code are about, oldest first."""
    incident = schema.incident.c
    query = select(incident.subject).where(incident.resolved_at.is_(None), incident.code == code)
    return list(connection.scalars(query.order_by(incident.id).limit(limit)))
