"""Taking journals into a catalog that nobody runs, as it would have come about: replay and audit."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from librarian_daemon.believing import counts, opened
from librarian_daemon.catalog import record, schema, telling
from librarian_daemon.catalog.believed import apply_segment
from librarian_daemon.catalog.journal import receive
from librarian_daemon.catalog.record import Place
from librarian_daemon.catalog.roster import Anchor, get_anchor, known_members, put_anchor
from librarian_daemon.catalog.telling import Sealed
from librarian_daemon.catalog.writer import decompress, silent
from librarian_protocol.errors import PeerError
from librarian_protocol.names import SiteName

#: Nobody's: a catalog that is rebuilt says nothing itself.
_NOBODY = SiteName("auditor")
ROSTER_KINDS = ("site.admitted", "site.revoked", "site.rekeyed", "site.announced")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A segment as it stands in a journal."""

    site: SiteName
    payload: bytes
    signature: str


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What a catalog was made of at one moment, while its daemon goes on."""

    #: None: it is of no mesh.
    anchor: Anchor | None
    #: The record's newest position.
    last: int
    #: What a callback site was told by letter, and by whom; nothing at others.
    letters: list[tuple[SiteName, Sealed]]


def moment(connection: Connection) -> Moment:
    """What stands in the catalog now; in one transaction, which sees nothing that comes meanwhile."""
    return Moment(
        anchor=get_anchor(connection),
        last=record.last_position(connection),
        letters=list(telling.kept(connection)),
    )


def records(
    connection: Connection, after: Place, upto: int, limit: int, kinds: Sequence[str] | None = None
) -> tuple[list[Record], Place | None]:
    """See :func:`record.page`; of these kinds or of all."""
    of_kinds = () if kinds is None else (schema.journal.c.kind.in_(kinds),)
    rows, following = record.page(connection, after, upto, limit, *of_kinds)
    found = [Record(site=SiteName(row.site), payload=decompress(row.payload), signature=row.signature) for row in rows]
    return found, following


def begin(connection: Connection, anchor: Anchor) -> None:
    """The catalog believes from this anchor on."""
    put_anchor(connection, anchor)


def apply_roster(connection: Connection, page: Sequence[Record], at: str) -> int:
    """What is believed of sites' admissions and keys; says how many segments. Again until it stays the same.

    The roster must be known before anything else is judged: whose key counts, and what a site may say.
    """
    taken = 0
    for one in page:
        member = known_members(connection).get(one.site)
        try:
            signed = opened(member, one.site, one.payload, one.signature)
            if not counts(member, signed):
                continue
        except PeerError:
            continue
        apply_segment(silent(connection, _NOBODY, 0, at), signed.segment, member)
        taken += 1
    return taken


def take_letters(connection: Connection, found: Sequence[tuple[SiteName, Sealed]], to: SiteName, at: str) -> list[str]:
    """Take letters as they were taken from the bus; says why some were not believed."""
    return telling.apply_kept(silent(connection, _NOBODY, 0, at), iter(found), to)


def take(connection: Connection, page: Sequence[Record], change: int, at: str) -> list[str]:
    """Take segments as they would be taken from the bus; says why some were not believed."""
    problems: list[str] = []
    for one in page:
        try:
            signed = opened(known_members(connection).get(one.site), one.site, one.payload, one.signature)
            receive(silent(connection, _NOBODY, change, at), signed, None)
        except PeerError as exc:
            problems.append(f"{one.site}: {exc.message}")
    return problems
