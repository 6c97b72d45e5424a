"""Operations on what channels have told: how far each has come, and which incidents it will tell the end of."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.incidents import incident_of
from librarian_daemon.catalog.writer import Tx
from librarian_protocol.api import Incident

#: Incidents looked at at once.
PAGE = 200


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel has not told. ``upto`` is the id up to which ``new`` reaches."""

    new: list[Incident]
    over: list[Incident]
    upto: int


def pending(connection: Connection, channel: str) -> Pending:
    """Incidents behind the channel's cursor, and told ones that are over; a page of each, oldest first.

    A channel that is new begins with what is open, not with history.
    """
    incident, notice = schema.incident, schema.notice
    seen = connection.scalar(select(schema.channel.c.seen).where(schema.channel.c.label == channel))
    query = select(incident).order_by(incident.c.id).limit(PAGE)
    if seen is None:
        query = query.where(incident.c.resolved_at.is_(None))
    new = [incident_of(row) for row in connection.execute(query.where(incident.c.id > (seen or 0)))]
    over = connection.execute(
        select(incident)
        .join(notice, notice.c.incident == incident.c.id)
        .where(notice.c.channel == channel, incident.c.resolved_at.is_not(None))
        .order_by(incident.c.id)
        .limit(PAGE)
    )
    return Pending(new=new, over=[incident_of(row) for row in over], upto=new[-1].id if new else seen or 0)


def told(tx: Tx, channel: str, opened: list[int], over: list[int], upto: int) -> None:
    """The channel has told of these. Idempotent."""
    channels, notice = schema.channel, schema.notice
    moved = tx.connection.execute(update(channels).where(channels.c.label == channel).values(seen=upto))
    if not moved.rowcount:
        tx.connection.execute(insert(channels), {"label": channel, "seen": upto})
    gone = [*opened, *over]
    tx.connection.execute(delete(notice).where(notice.c.channel == channel, notice.c.incident.in_(gone)))
    if opened:
        tx.connection.execute(insert(notice), [{"channel": channel, "incident": one} for one in opened])
