"""Operations on letters to callback sites (protocol/letters.py): at the sender, and at the recipient."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.apply import Said
from librarian_daemon.catalog.journal.mail import send
from librarian_daemon.catalog.journal.permissions import not_allowed
from librarian_daemon.catalog.mesh import offers
from librarian_daemon.catalog.mesh.roster import Member, known_members
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import upsert
from librarian_protocol import letters, mail, segments
from librarian_protocol.entries import MAX_INTEGER, Access, Entry
from librarian_protocol.errors import PeerError, SegmentInvalid
from librarian_protocol.letters import TELL, Told
from librarian_protocol.names import Name, SiteName
from librarian_protocol.offers import is_offered

#: Segments that are looked at in one transaction.
PAGE = 50
#: Letters that may wait for one recipient. More are written when the bus has taken these.
MAX_AHEAD = 200


class Sealed(msgspec.Struct, frozen=True):
    """A letter as it came."""

    payload: bytes
    signature: str


# ---- the sender ------------------------------------------------------------------------------------------


def tell(tx: Tx, peer: SiteName, new_id: Callable[[], str]) -> bool:
    """Write the next letters to a callback site. Returns whether there may be more to write now."""
    telling = schema.telling
    known = tx.connection.execute(select(telling).where(telling.c.recipient == str(peer))).one_or_none()
    if known is None:
        row = {"recipient": str(peer), "position": 0, "number": 0, "hash": segments.NO_HASH, "begins": True}
        tx.connection.execute(insert(telling), row)
        known = tx.connection.execute(select(telling).where(telling.c.recipient == str(peer))).one()
    waiting = select(func.count()).where(schema.mail.c.recipient == str(peer), schema.mail.c.verb == TELL)
    if (tx.connection.scalar(waiting) or 0) >= MAX_AHEAD:
        return False
    chosen = offers.of(tx.connection, peer)

    def offered(name: Name) -> bool:
        return is_offered(Access.CALLBACK, chosen, name)

    told, begins, position = Told(number=known.number, hash=known.hash), known.begins, known.position
    count = 0
    journal = schema.journal.c
    page = tx.connection.execute(
        select(journal.position, journal.payload)
        .where(journal.site == str(tx.site), journal.position > position)
        .order_by(journal.position)
        .limit(PAGE)
    )
    for segment_row in page:
        segment = segments.decode(decompress(segment_row.payload))
        for body, behind in letters.tellings(told, segment, offered, begins=begins):
            send(tx, new_id(), peer, TELL, body)
            told, begins = behind, False
        position = segment_row.position
        count += 1
    if count:
        tx.connection.execute(
            update(telling)
            .where(telling.c.recipient == str(peer))
            .values(position=position, number=told.number, hash=told.hash, begins=begins)
        )
    return count == PAGE


def tell_again(tx: Tx, peer: SiteName) -> None:
    """Tell everything again from the beginning: the site lost something, or is offered other files now. Idempotent."""
    telling = schema.telling
    tx.connection.execute(update(telling).where(telling.c.recipient == str(peer)).values(position=0, begins=True))


# ---- the recipient ---------------------------------------------------------------------------------------


def hear(tx: Tx, letter: mail.Mail, sealed: Sealed) -> tuple[Told, Told] | None:
    """Apply a letter and keep it. Returns how far the chain was and is now, or None if the letter was received before.

    Raises:
        SegmentInvalid: it is malformed; nothing is kept.
    """
    table = schema.told
    row = tx.connection.execute(select(table).where(table.c.sender == str(letter.sender))).one_or_none()
    told = Told() if row is None else Told(number=row.number, hash=row.hash, whole=row.whole)
    telling = letters.decode(letter.body)
    now = letters.receive(told, letter.body, telling)
    if now is None:
        return None
    values = {"sender": str(letter.sender), "number": now.number, "hash": now.hash, "whole": now.whole}
    tx.connection.execute(
        upsert(tx.connection, table).values(**values).on_conflict_do_update(index_elements=["sender"], set_=values)
    )
    if telling.begins:  # all is told again: what came before no longer counts
        tx.connection.execute(delete(schema.letter).where(schema.letter.c.sender == str(letter.sender)))
    tx.connection.execute(
        insert(schema.letter),
        {"sender": str(letter.sender), "payload": sealed.payload, "signature": sealed.signature},
    )
    _apply(tx, letter, None)
    return told, now


def kept(connection: Connection, sender: SiteName | None = None) -> Iterator[tuple[SiteName, Sealed]]:
    """Letters that were received, in order; of one sender or of all."""
    letter = schema.letter.c
    query = select(letter.sender, letter.payload, letter.signature).order_by(letter.position)
    if sender is not None:
        query = query.where(letter.sender == str(sender))
    for row in connection.execute(query):
        yield SiteName(row.sender), Sealed(row.payload, row.signature)


def apply_kept(tx: Tx, found: Iterator[tuple[SiteName, Sealed]], to: SiteName) -> list[str]:
    """Apply letters once more, each checked as when it came. Returns which were refused."""
    problems: list[str] = []
    for sender, sealed in found:
        member = known_members(tx.connection).get(sender)
        try:
            _apply(tx, *open_kept(member, sender, sealed, to))
        except PeerError as exc:
            problems.append(f"a letter of {sender}: {exc.message}")
    return problems


def open_kept(member: Member | None, sender: SiteName, sealed: Sealed, to: SiteName) -> tuple[mail.Mail, str]:
    """Check a kept letter with every key that its sender ever had. Also returns the key that signed it.

    Raises:
        SegmentInvalid, SignatureInvalid: it is not valid.
    """
    problem: PeerError = SegmentInvalid(f"{sender} is not of the mesh")
    for key in member.every_key if member else []:
        try:
            return mail.open_signed(sealed.payload, sealed.signature, sender=sender, to=to, key=key), key
        except PeerError as exc:
            problem = exc
    raise problem


def _apply(tx: Tx, letter: mail.Mail, key: str | None) -> None:
    """Apply it; ``key`` signed it, None for the sender's present one.

    Letters name no segments: what was told under a key that ended counts up to the greatest number at which it ended.
    """
    telling = letters.decode(letter.body)
    found = letters.entries_of(telling, letter.sender)
    member = known_members(tx.connection).get(letter.sender)
    ends = member.ends.get(key, ()) if member is not None and key is not None else ()
    reach = min((end.last_seq for end in ends), default=MAX_INTEGER)
    good = [
        entry
        for entry in found or ()
        if isinstance(entry, Entry) and not not_allowed(entry, letter.sender, member) and entry.seq <= reach
    ]
    said = Said(site=letter.sender, epoch=telling.epoch, incarnation=telling.incarnation, change=0)
    tx.apply_foreign(good, said)
