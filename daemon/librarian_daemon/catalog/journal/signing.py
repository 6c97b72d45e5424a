"""Operations on the signatures of this site's own segments: finds those that a wrong key made, and replaces them.

A signature stands beside its segment and is no part of its hash: signed again, a segment is the same one.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.journal.record import ChainRow, chain
from librarian_daemon.catalog.journal.refold import refold
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.errors import CatalogFault, SignatureInvalid
from librarian_protocol.keys import Purpose, SiteKey, verify
from librarian_protocol.names import SiteName
from librarian_protocol.roster import Member
from librarian_protocol.segments import hash_of
from librarian_protocol.versions import Version

#: First number and position of a segment; where a page ended.
Place = tuple[int, int]
BEGINNING: Place = (0, 0)


def wrongly_signed(
    connection: Connection, site: SiteName, key: str, after: Place
) -> tuple[list[tuple[int, bytes]], Place | None]:
    """Positions and payloads of one page of own segments that no key of this site signed, and ``key`` may sign.

    Also where the next page begins; None at the end, and where the site is of no mesh.
    """
    mine = known_members(connection).get(site)
    if mine is None:
        return [], None
    page = chain(connection, site, after)
    found = [(row.position, payload) for row in page if (payload := _wrong(row, mine, key)) is not None]
    return found, (page[-1].first_seq, page[-1].position) if page else None


def _wrong(row: ChainRow, mine: Member, key: str) -> bytes | None:
    """The payload, if no site accepts its signature. A damaged payload is not signed again."""
    try:
        payload = decompress(row.payload)
    except CatalogFault:
        return None
    place = Version(row.epoch, row.incarnation, row.first_seq)
    if key != mine.key or not mine.key_fits(key, place) or hash_of(payload) != row.hash:
        return None
    return None if any(_signed(key, payload, row.signature) for key in mine.every_key) else payload


def _signed(key: str, payload: bytes, signature: str) -> bool:
    try:
        verify(key, Purpose.SEGMENT, payload, signature)
    except SignatureInvalid:
        return False
    return True


def sign_again(tx: Tx, key: SiteKey, found: list[tuple[int, bytes]]) -> None:
    """Sign them with this key, and apply what counts again since. Idempotent."""
    for position, payload in found:
        by = key.sign(Purpose.SEGMENT, payload)
        tx.connection.execute(_SIGN, {"at": position, "by": by, "signer": key.public})
    if found:
        refold(tx, tx.site)


_SIGN = (
    update(schema.journal)
    .where(schema.journal.c.position == bindparam("at"))
    .values(signature=bindparam("by"), key=bindparam("signer"))
)
