"""Operations on mail: letters that wait for the bus (docs/events.md)."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.errors import CatalogFault
from librarian_protocol.names import SiteName

#: At most this many wait for one recipient. More are not kept: a request is repeated.
MAX_WAITING = 10_000


class QueuedMail(msgspec.Struct, frozen=True, kw_only=True):
    """A letter that the bus has not acknowledged."""

    position: int
    id: str
    recipient: SiteName
    verb: str
    body: bytes
    written_at: str


def send(tx: Tx, letter_id: str, to: SiteName, verb: str, body: bytes) -> None:
    """Queue a letter. ``body`` is JSON; ``letter_id`` 128 random bits in hex.

    Raises:
        CatalogFault: too many wait for that site already.
    """
    mail = schema.mail
    waiting = tx.connection.scalar(select(func.count()).where(mail.c.recipient == str(to))) or 0
    if waiting >= MAX_WAITING:
        raise CatalogFault(f"{waiting} letters wait for {to}", hint="is the bus connected? see `lbctl status`")
    tx.connection.execute(
        insert(mail),
        {"id": letter_id, "recipient": str(to), "verb": verb, "body": body, "written_at": tx.now},
    )
    tx.mailed()


def waiting(connection: Connection, limit: int) -> list[QueuedMail]:
    """The oldest letters that wait, in order."""
    rows = connection.execute(_WAITING, {"limit": limit})
    return [
        QueuedMail(
            position=row.position,
            id=row.id,
            recipient=SiteName(row.recipient),
            verb=row.verb,
            body=row.body,
            written_at=row.written_at,
        )
        for row in rows
    ]


_WAITING = select(schema.mail).order_by(schema.mail.c.position).limit(bindparam("limit"))


def acknowledged(tx: Tx, positions: list[int]) -> None:
    """The bus has these. Idempotent."""
    tx.connection.execute(delete(schema.mail).where(schema.mail.c.position.in_(positions)))
