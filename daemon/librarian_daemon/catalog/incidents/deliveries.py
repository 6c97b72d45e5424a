"""Operations on what channels have sent: how far each has come, and of which incidents it will send the end."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.incidents.incidents import incident_of
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.api import Incident

#: Incidents in one page.
PAGE = 200


class PendingNotices(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel has not sent. ``upto`` is the id up to which ``new`` reaches; ``more``: there are others."""

    new: list[Incident]
    over: list[Incident]
    upto: int
    more: bool = False


def pending(connection: Connection, channel: str) -> PendingNotices:
    """Incidents after the channel's cursor, and sent ones that are over; a page of each, oldest first.

    A new channel starts with open incidents, not with history.
    """
    incident, notice = schema.incident, schema.notice
    seen = connection.scalar(select(schema.channel.c.seen).where(schema.channel.c.label == channel))
    query = select(incident).order_by(incident.c.id).limit(PAGE)
    if seen is None:
        query = query.where(incident.c.resolved_at.is_(None))
    new = [incident_of(row) for row in connection.execute(query.where(incident.c.id > (seen or 0)))]
    ended = connection.execute(
        select(incident)
        .join(notice, notice.c.incident == incident.c.id)
        .where(notice.c.channel == channel, incident.c.resolved_at.is_not(None))
        .order_by(incident.c.id)
        .limit(PAGE)
    )
    over = [incident_of(row) for row in ended]
    more = PAGE in {len(new), len(over)}
    return PendingNotices(new=new, over=over, upto=new[-1].id if new else seen or 0, more=more)


def told(tx: Tx, channel: str, opened: list[int], over: list[int], upto: int) -> None:
    """Note that the channel has sent these. Idempotent."""
    channels, notice = schema.channel, schema.notice
    moved = tx.connection.execute(update(channels).where(channels.c.label == channel).values(seen=upto))
    if not moved.rowcount:
        tx.connection.execute(insert(channels), {"label": channel, "seen": upto})
    gone = [*opened, *over]
    tx.connection.execute(delete(notice).where(notice.c.channel == channel, notice.c.incident.in_(gone)))
    if opened:
        tx.connection.execute(insert(notice), [{"channel": channel, "incident": incident} for incident in opened])
