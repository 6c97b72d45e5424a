"""Operations on incidents: what an operator must know of, one open row for each (code, subject)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import chunks
from librarian_protocol.api import Incident, Problem
from librarian_protocol.incidents import State, about


def open_incident(tx: Tx, code: str, subject: str, message: str, hint: str) -> bool:
    """Open it, or count it again. Returns whether it is new."""
    incident = schema.incident.c
    counted = tx.connection.execute(
        update(schema.incident)
        .where(incident.code == code, incident.subject == subject, incident.resolved_at.is_(None))
        .values(times=incident.times + 1, last_at=tx.now, message=message, hint=hint)
    )
    if counted.rowcount:
        return False
    _insert(tx, code, subject, message, hint, 1)
    return True


def _insert(tx: Tx, code: str, subject: str, message: str, hint: str, times: int) -> None:
    values = {"code": code, "subject": subject, "message": message, "hint": hint}
    tx.connection.execute(insert(schema.incident), values | {"opened_at": tx.now, "last_at": tx.now, "times": times})


def count_incident(tx: Tx, code: str, subject: str, number: int, message: str, hint: str) -> bool:
    """Note that it concerns ``number`` things now. Returns whether it is new: it was not open, or has grown since it
    was seen.
    """
    incident = schema.incident
    row = tx.connection.execute(
        select(incident).where(_INCIDENT.code == code, _INCIDENT.subject == subject, _INCIDENT.resolved_at.is_(None))
    ).first()
    if row is not None and (row.acknowledged_at is None or number <= row.times):
        values = {"times": number, "message": message, "hint": hint, "last_at": tx.now}
        if number <= row.times:
            del values["last_at"]
        tx.connection.execute(update(incident).where(_INCIDENT.id == row.id).values(values))
        return False
    if row is not None:
        tx.connection.execute(update(incident).where(_INCIDENT.id == row.id).values(resolved_at=tx.now))
    _insert(tx, code, subject, message, hint, number)
    return True


def resolve_all(tx: Tx, code: str, over: Callable[[str], bool]) -> list[str]:
    """Those of the code about whose subjects ``over`` says so are over; which ones were. Idempotent."""
    query = select(_INCIDENT.subject).where(_INCIDENT.resolved_at.is_(None), _INCIDENT.code == code)
    gone = [subject for subject in tx.connection.scalars(query) if over(subject)]
    if gone:
        tx.connection.execute(_RESOLVE, [{"of": code, "about": subject, "now": tx.now} for subject in gone])
    return gone


def resolve_incident(tx: Tx, code: str, subject: str) -> bool:
    """It is over. Idempotent; says whether one was open."""
    done = tx.connection.execute(_RESOLVE, {"of": code, "about": subject, "now": tx.now})
    return bool(done.rowcount)


_INCIDENT = schema.incident.c
_RESOLVE = (
    update(schema.incident)
    .where(_INCIDENT.code == bindparam("of"), _INCIDENT.subject == bindparam("about"), _INCIDENT.resolved_at.is_(None))
    .values(resolved_at=bindparam("now"))
)


def acknowledge(tx: Tx, incident_id: int, note: str) -> bool:
    """A person has seen it. What does not end by itself is over with that. Idempotent; False for an unknown one."""
    incident = schema.incident
    row = tx.connection.execute(select(incident).where(incident.c.id == incident_id)).first()
    if row is None:
        return False
    if row.resolved_at is None:
        values = {"acknowledged_at": tx.now, "note": note}
        if not about(row.code).ends_by_itself:
            values["resolved_at"] = tx.now
        tx.connection.execute(update(incident).where(incident.c.id == incident_id).values(values))
    return True


def acknowledge_many(tx: Tx, code: str | None, note: str) -> int:
    """A person has seen all that are open, or those of one code; how many nobody had seen. Idempotent."""
    query = select(_INCIDENT.id, _INCIDENT.code).where(
        _INCIDENT.resolved_at.is_(None), _INCIDENT.acknowledged_at.is_(None)
    )
    if code is not None:
        query = query.where(_INCIDENT.code == code)
    rows = tx.connection.execute(query).all()
    for ends in (True, False):
        seen = [row.id for row in rows if about(row.code).ends_by_itself is ends]
        values = {"acknowledged_at": tx.now, "note": note} | ({} if ends else {"resolved_at": tx.now})
        for page in chunks(seen):
            tx.connection.execute(update(schema.incident).where(_INCIDENT.id.in_(page)).values(values))
    return len(rows)


def open_incidents(connection: Connection, limit: int) -> list[Problem]:
    """Incidents that are not over, oldest first."""
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
            id=row.id,
            severity=about(row.code).severity.value,
            acknowledged=row.acknowledged_at is not None,
        )
        for row in rows
    ]


def count_open(connection: Connection) -> dict[tuple[str, bool], int]:
    """How many are not over, by code and whether they are acknowledged."""
    incident = schema.incident.c
    rows = connection.execute(
        select(incident.code, incident.acknowledged_at.is_not(None), func.count())
        .where(incident.resolved_at.is_(None))
        .group_by(incident.code, incident.acknowledged_at.is_not(None))
    )
    return {(code, bool(seen)): number for code, seen, number in rows}


def page_of(
    connection: Connection, *, state: State | None, code: str | None, before: int | None, limit: int
) -> list[Incident]:
    """Incidents, newest first, behind an id."""
    incident = schema.incident.c
    query = select(schema.incident).order_by(incident.id.desc()).limit(limit)
    if state is State.RESOLVED:
        query = query.where(incident.resolved_at.is_not(None))
    elif state is not None:
        seen = (
            incident.acknowledged_at.is_not(None) if state is State.ACKNOWLEDGED else incident.acknowledged_at.is_(None)
        )
        query = query.where(incident.resolved_at.is_(None), seen)
    if code is not None:
        query = query.where(incident.code == code)
    if before is not None:
        query = query.where(incident.id < before)
    return [incident_of(row) for row in connection.execute(query)]


def by_id(connection: Connection, incident_id: int) -> Incident | None:
    """One, with what it means and what to do; None for an unknown one."""
    row = connection.execute(select(schema.incident).where(schema.incident.c.id == incident_id)).first()
    if row is None:
        return None
    found, explained = incident_of(row), about(row.code)
    found.meaning, found.steps = explained.meaning, list(explained.steps)
    return found


def incident_of(row: Row[Any]) -> Incident:
    """A row as it is told, without what its code means."""
    explained = about(row.code)
    state = State.RESOLVED if row.resolved_at else State.ACKNOWLEDGED if row.acknowledged_at else State.OPEN
    return Incident(
        id=row.id,
        code=row.code,
        subject=row.subject,
        state=state.value,
        severity=explained.severity.value,
        title=explained.title,
        message=row.message,
        hint=row.hint,
        opened_at=row.opened_at,
        last_at=row.last_at,
        count=row.times,
        acknowledged_at=row.acknowledged_at,
        note=row.note,
        resolved_at=row.resolved_at,
    )


def open_subjects(connection: Connection, code: str, limit: int) -> list[str]:
    """What open incidents of a code are about, oldest first."""
    incident = schema.incident.c
    query = select(incident.subject).where(incident.resolved_at.is_(None), incident.code == code)
    return list(connection.scalars(query.order_by(incident.id).limit(limit)))
