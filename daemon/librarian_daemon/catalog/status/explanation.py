"""The facts about one file that an explanation is made from."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from sqlalchemy import Connection, exists, select

from librarian_daemon.catalog import planning, schema
from librarian_daemon.catalog.planning import Known
from librarian_daemon.catalog.roster import roster
from librarian_protocol.explaining import Facts, Standing, Wish
from librarian_protocol.names import Name, SiteName
from librarian_protocol.wanted import Unwanted, wanted

#: Names that are looked through for one that is much like another.
_NEAR = 500


def facts(connection: Connection, here: SiteName, at: SiteName, name: Name, adapters: Sequence[str]) -> list[Facts]:
    """Of every file of that name, without what only the running daemon knows."""
    rows = connection.execute(
        select(schema.file).where(schema.file.c.name == str(name)).order_by(schema.file.c.id)
    ).all()
    subscriptions, place = planning.load_here(connection, at, adapters)
    kept = connection.scalar(select(schema.naming.c.kept).where(schema.naming.c.name == str(name)))
    found: list[Facts] = []
    for known in planning.know(connection, rows):
        seen = planning.admitted(known, place)
        wishes: list[Wish] = []
        for one in subscriptions:
            verdict = wanted(seen.file, one, seen.instances, place)
            reason = verdict.reason if isinstance(verdict, Unwanted) else None
            wishes.append(Wish(id=one.id[:8], match=one.match, from_site=one.from_site, unwanted=reason))
        found.append(
            Facts(
                here=here,
                at=at,
                digest=known.file.digest,
                origin=known.file.origin,
                withdrawn=known.file.withdrawn,
                conflict=known.file.conflict,
                kept=kept,
                instances=_standings(connection, known),
                wishes=wishes,
                told=_told(connection, at, known.file_id) if at != here else None,
                last_heard=_last_heard(connection, at),
            )
        )
    return found


def _standings(connection: Connection, known: Known) -> list[Standing]:
    instance, store = schema.instance.c, schema.store.c
    details = {
        (row.site, row.store): (row.label, row.detail)
        for row in connection.execute(
            select(instance.site, instance.store, store.label, instance.detail)
            .outerjoin(schema.store, (store.site == instance.site) & (store.id == instance.store))
            .where(instance.file_id == known.file_id)
        )
    }
    return [
        Standing(
            site=one.site,
            label=details[one.site, one.store][0] or one.store[:8],
            state=one.state.value,
            doubted=one.doubted,
            detail=details[one.site, one.store][1],
        )
        for one in known.instances
    ]


def _told(connection: Connection, at: SiteName, file_id: int) -> bool | None:
    """Whether a site holds the origin's journal up to the entry that ingested the file; None where it never told."""
    head, file = schema.peer_head.c, schema.file.c
    if connection.scalar(select(head.peer).where(head.peer == str(at)).limit(1)) is None:
        return None
    row = connection.execute(select(file.origin_site, file.origin_seq).where(file.id == file_id)).one()
    if row.origin_site is None or row.origin_site == str(at):
        return True
    return bool(
        connection.scalar(
            select(exists().where(head.peer == str(at), head.origin == row.origin_site, head.seq >= row.origin_seq))
        )
    )


def _last_heard(connection: Connection, at: SiteName) -> str | None:
    reading = schema.reading.c
    return connection.scalar(select(reading.heard_at).where(reading.site == str(at)))


def near(connection: Connection, name: str, limit: int) -> list[str]:
    """Names beside this one that are much like it, to be offered where nobody has heard of it."""
    file = schema.file.c
    stem = name[: name.rfind("/") + 1] or name[:1]
    names = connection.scalars(
        select(file.name).where(file.name >= stem, file.name < stem + "\U0010ffff").order_by(file.name).limit(_NEAR)
    )
    return difflib.get_close_matches(name, list(dict.fromkeys(names)), n=limit)


def members(connection: Connection) -> list[SiteName]:
    """The roster's names."""
    return sorted(roster(connection))
