"""The roster: which sites are admitted, computed from admissions whenever it is read (docs/architecture.md).

An admission counts when its writer may admit: the mesh's first site as this site knows it (the *anchor*: itself, or
the inviter whose key came with the token), or a site admitted by one that counts, with the right to admit.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.writer import get_meta, put_meta
from librarian_protocol import wire
from librarian_protocol.entries import AdapterOffer
from librarian_protocol.names import SiteName

_OFFERS = wire.decoder(list[AdapterOffer])
_TEXTS = wire.decoder(list[str])


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """An admitted site."""

    site: SiteName
    key: str
    access: str
    domain: str
    grants: list[str]
    bus: list[str]
    may_admit: bool
    #: None for the anchor.
    admitter: SiteName | None
    software: str
    offers: list[AdapterOffer]
    #: The certificate that it announced for its data address, DER in base64; None where none is to be pinned.
    certificate: str | None = None


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """The site whose admissions this one believes from the beginning."""

    mesh: str
    site: SiteName
    key: str


_ANCHOR = wire.decoder(Anchor)


def get_anchor(connection: Connection) -> Anchor | None:
    """The anchor, or None before this site is of any mesh."""
    text = get_meta(connection, "anchor")
    return _ANCHOR.decode(text) if text else None


def put_anchor(connection: Connection, anchor: Anchor) -> None:
    """Set the anchor. Idempotent."""
    put_meta(connection, "anchor", wire.encode(anchor).decode())


def roster(connection: Connection) -> dict[SiteName, Member]:
    """All admitted sites, this one included where it is one."""
    anchor = get_anchor(connection)
    if anchor is None:
        return {}
    admissions = connection.execute(select(schema.admission).order_by(schema.admission.c.site)).all()
    announced = {row.site: row for row in connection.execute(select(schema.announcement))}
    found: dict[SiteName, Member] = {}
    pending: list[tuple[SiteName, str]] = [(anchor.site, anchor.key)]
    seen: set[str] = set()
    while pending:
        admitter, _ = pending.pop(0)
        if admitter in seen:
            continue
        seen.add(admitter)
        for row in admissions:
            site = SiteName(row.site)
            if row.admitter != admitter or site in found:
                continue
            if site == anchor.site and row.key != anchor.key:
                continue
            news = announced.get(row.site)
            found[site] = Member(
                site=site,
                key=row.key,
                access=row.access,
                domain=row.domain,
                grants=_TEXTS.decode(row.grants),
                bus=_TEXTS.decode(row.bus),
                may_admit=row.may_admit,
                admitter=None if site == anchor.site else admitter,
                software=news.software if news else "",
                offers=_OFFERS.decode(news.adapters) if news else [],
                certificate=news.certificate if news else None,
            )
            if row.may_admit:
                pending.append((site, row.key))
    if anchor.site not in found:
        # Known from the token alone, until its own journal has arrived.
        found[anchor.site] = Member(
            site=anchor.site,
            key=anchor.key,
            access="full",
            domain="",
            grants=["**"],
            bus=[],
            may_admit=True,
            admitter=None,
            software="",
            offers=[],
        )
    return found
