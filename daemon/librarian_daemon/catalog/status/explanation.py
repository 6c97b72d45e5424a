"""The facts about one file that an explanation is made from."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, exists, select

from librarian_daemon.catalog import rule_rows, schema
from librarian_daemon.catalog.mesh.holders import Holders, holders
from librarian_daemon.catalog.mesh.roster import roster
from librarian_daemon.catalog.transfers import planning
from librarian_daemon.catalog.transfers.planning import FileState
from librarian_protocol.explanation import Facts, InstanceReport, SubscriptionReport
from librarian_protocol.names import Name, SiteName
from librarian_protocol.rules import Hold, Keep, is_over, matching
from librarian_protocol.wanted import Unwanted, wanted

#: Names that are looked through for one that is much like another.
_NEAR = 500


def facts(
    connection: Connection, here: SiteName, at: SiteName, name: Name, adapters: Sequence[str], now_s: float
) -> list[Facts]:
    """Of every file of that name, without what only the running daemon knows. ``now_s``: seconds since 1970."""
    rows = connection.execute(
        select(schema.file).where(schema.file.c.name == str(name)).order_by(schema.file.c.id)
    ).all()
    subscriptions, place = planning.load_here(connection, at, adapters)
    place = msgspec.structs.replace(place, now_s=int(now_s))
    known_holders = holders(connection)
    kept = connection.scalar(select(schema.naming.c.kept).where(schema.naming.c.name == str(name)))
    holds = [hold for hold in rule_rows.holds(connection) if not is_over(hold, now_s)]
    rules: list[Keep | Hold] = [*matching(rule_rows.keeps(connection), name), *matching(holds, name)]
    found: list[Facts] = []
    for known in planning.know(connection, rows):
        seen = planning.admitted(known, place)
        reports: list[SubscriptionReport] = []
        for subscription in subscriptions:
            verdict = wanted(seen.file, subscription, seen.instances, place)
            reason = verdict.reason if isinstance(verdict, Unwanted) else None
            reports.append(
                SubscriptionReport(
                    id=subscription.id[:8], match=subscription.match, from_site=subscription.from_site, unwanted=reason
                )
            )
        found.append(
            Facts(
                here=here,
                at=at,
                digest=known.file.digest,
                origin=known.file.origin,
                withdrawn=known.file.withdrawn,
                conflict=known.file.conflict,
                kept=kept,
                instances=_instances(connection, known, known_holders),
                subscriptions=reports,
                rules=rules,
                told=_told(connection, at, known.file_id) if at != here else None,
                last_heard=_last_heard(connection, at),
            )
        )
    return found


def _instances(connection: Connection, file: FileState, holders: Holders) -> list[InstanceReport]:
    instance, store = schema.instance.c, schema.store.c
    details = {
        (row.site, row.store): (row.label, row.detail)
        for row in connection.execute(
            select(instance.site, instance.store, store.label, instance.detail)
            .outerjoin(schema.store, (store.site == instance.site) & (store.id == instance.store))
            .where(instance.file_id == file.file_id)
        )
    }
    return [
        InstanceReport(
            site=instance.site,
            label=details[instance.site, instance.store][0] or instance.store[:8],
            state=holders.why_not(instance.site, instance.store) or instance.state.value,
            doubted=instance.doubted,
            detail=details[instance.site, instance.store][1],
        )
        for instance in file.instances
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
