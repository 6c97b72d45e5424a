"""Operations on invitations."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol import wire
from librarian_protocol.entries import Access


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the newcomer will be; the inviter decides it."""

    access: Access = Access.FULL
    #: Failure domain; the site's own name where empty.
    domain: str = ""
    grants: list[str] = msgspec.field(default_factory=lambda: ["**"])
    may_admit: bool = False
    #: A person at the inviter compares fingerprints before it is admitted.
    confirm: bool = False


_TERMS = wire.decoder(Terms)


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was given out."""

    id: str
    secret: str
    bus_key: str | None
    #: Seconds since 1970.
    expires: int
    #: The site that used it; None while it is open.
    used_by: str | None
    terms: Terms = Terms()


def add(tx: Tx, invitation: Invitation) -> None:
    """Remember a token."""
    tx.connection.execute(
        insert(schema.invite),
        {
            "id": invitation.id,
            "secret": invitation.secret,
            "bus_key": invitation.bus_key,
            "expires": invitation.expires,
            "used_by": invitation.used_by,
            "created_at": tx.now,
            "terms": wire.encode(invitation.terms).decode(),
        },
    )


def find(connection: Connection, token_id: str) -> Invitation | None:
    """The invitation of a token."""
    row = connection.execute(select(schema.invite).where(schema.invite.c.id == token_id)).first()
    if row is None:
        return None
    return Invitation(
        id=row.id,
        secret=row.secret,
        bus_key=row.bus_key,
        expires=row.expires,
        used_by=row.used_by,
        terms=_TERMS.decode(row.terms),
    )


def used(tx: Tx, token_id: str, site: str) -> None:
    """The token is spent."""
    tx.connection.execute(update(schema.invite).where(schema.invite.c.id == token_id).values(used_by=site))


def open_bus_keys(connection: Connection, now: int) -> list[str]:
    """NKEYs of invitations whose time is not over, spent ones too: whoever comes with one is heard, and told of."""
    invite = schema.invite.c
    rows = connection.scalars(
        select(invite.bus_key).where(invite.bus_key.is_not(None), invite.expires > now).order_by(invite.id)
    )
    return [key for key in rows if key is not None]


def forget_expired(tx: Tx, before: int) -> None:
    """Drop invitations that expired before a time."""
    tx.connection.execute(delete(schema.invite).where(schema.invite.c.expires < before))
