"""Replays journals into a catalog that no daemon runs on, for replay and audit. First the record, then what counts of
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial

import msgspec
from sqlalchemy import Connection, func, insert, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.journal import letters, record, standings
from librarian_daemon.catalog.journal.letters import Sealed
from librarian_daemon.catalog.journal.record import Place
from librarian_daemon.catalog.journal.refold import refold_all
from librarian_daemon.catalog.mesh.roster import Anchor, get_anchor, get_said, known_members, put_anchor
from librarian_daemon.catalog.payloads import compress, decompress
from librarian_daemon.catalog.transaction import silent
from librarian_protocol import exports, segments
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.journal_state import JournalState
from librarian_protocol.keys import fingerprint
from librarian_protocol.names import SiteName
from librarian_protocol.roster import is_stated
from librarian_protocol.versions import Version


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A segment as it stands in a journal."""

    #: In whose journal; None where only the segment says that.
    site: SiteName | None
    payload: bytes
    signature: str


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What a catalog consisted of at one moment, while its daemon runs on."""

    #: None: it is of no mesh.
    anchor: Anchor | None
    #: The record's newest position.
    last: int
    #: Letters that a callback site received, with their senders; none at other sites.
    letters: list[tuple[SiteName, Sealed]]


def moment(connection: Connection) -> Moment:
    """What is in the catalog now. It is read in one transaction, which does not see later changes."""
    return Moment(
        anchor=get_anchor(connection),
        last=record.last_position(connection),
        letters=list(letters.kept(connection)),
    )


def records(connection: Connection, after: Place, upto: int, limit: int) -> tuple[list[Record], Place | None]:
    """See :func:`record.page`."""
    rows, following = record.page(connection, after, upto, limit)
    found = [Record(site=SiteName(row.site), payload=decompress(row.payload), signature=row.signature) for row in rows]
    return found, following


def begin(connection: Connection, anchor: Anchor, told: Sequence[tuple[SiteName, Sealed]]) -> None:
    """Set the catalog's anchor, and insert these letters."""
    put_anchor(connection, anchor)
    rows = [
        {"sender": str(sender), "payload": sealed.payload, "signature": sealed.signature} for sender, sealed in told
    ]
    if rows:
        connection.execute(insert(schema.letter), rows)


def take(connection: Connection, page: Sequence[Record], at: str) -> list[str]:
    """Write segments into the record, each once. Returns why some are invalid. Which of them count is not examined."""
    problems: list[str] = []
    found: dict[str, dict[str, object]] = {}
    for entry in page:
        try:
            segment = segments.opened_first(entry.payload)
            if entry.site is not None and segment.site != entry.site:
                raise SegmentInvalid(f"a segment of {segment.site} stands in the journal of {entry.site}")
        except SegmentInvalid as exc:
            problems.append(f"{entry.site or 'a segment of the file'}: {exc.message}")
            continue
        segment_hash = segments.hash_of(entry.payload)
        if segment_hash in found and found[segment_hash]["signature"] != entry.signature:
            problems.append(f"{segment.site}, entry {segment.first_seq}: it stands twice, with two signatures")
            continue
        found[segment_hash] = {
            "site": str(segment.site),
            "epoch": segment.epoch,
            "incarnation": segment.incarnation,
            "first_seq": segment.first_seq,
            "last_seq": segment.last_seq,
            "kind": segment.kind,
            "prev": segment.prev,
            "hash": segment_hash,
            "signature": entry.signature,
            "payload": compress(entry.payload),
            "state": JournalState.HELD,
            "received_at": at,
        }
    journal = schema.journal.c
    held = connection.execute(select(journal.hash, journal.signature).where(journal.hash.in_(list(found)))).all()
    known = {row.hash: row.signature for row in held}
    problems += [
        f"{row['site']}, entry {row['first_seq']}: it stands twice, with two signatures"
        for segment_hash, row in found.items()
        if known.get(segment_hash, row["signature"]) != row["signature"]
    ]
    rows = [row for segment_hash, row in found.items() if segment_hash not in known]
    if rows:
        connection.execute(insert(schema.journal), rows)
    return problems


def fold(connection: Connection, site: SiteName, at: str) -> list[str]:
    """Apply what counts of the record, and of letters to ``site``. Returns what of it is not authentic."""
    tx = silent(connection, site, 0, at)
    refold_all(tx)
    # A site that only sent letters has no journal here.
    problems = letters.apply_kept(tx, letters.kept(connection), site)
    return [*problems, *_not_believed(connection), *_not_stated(connection)]


def _not_believed(connection: Connection) -> Iterator[str]:
    """Why the record does not verify. An ended key, or a site outside the mesh, is not a fault of the record."""
    journal, members = schema.journal.c, known_members(connection)
    columns = (journal.site, journal.epoch, journal.incarnation, journal.first_seq, journal.state, journal.key)
    found = record.in_order(
        connection,
        journal.state.in_([JournalState.HELD, JournalState.VOID, JournalState.ENDED]),
        columns=(journal.position, *columns),
    )
    in_vain = cache(partial(standings.keys_in_vain, connection))
    for row in found:
        where = f"{row.site}, entry {row.first_seq} of incarnation {row.incarnation}"
        if row.state == "held":
            yield f"{where}: the segment before it is missing"
        elif row.state == "void":
            yield f"{where}: void: another segment has the same number, or it does not continue its predecessor"
        elif (member := members.get(SiteName(row.site))) is not None:
            place = Version(row.epoch, row.incarnation, row.first_seq)
            if not row.key and not _is_in_vain(connection, member.site, row.position, in_vain(member.site)):
                yield f"{where}: no key that this site has or had signed it"
            elif row.key and not member.key_fits(row.key, place):
                yield f"{where}: the site had not gone over to the key that signed it"


def _is_in_vain(connection: Connection, site: SiteName, position: int, keys: Sequence[str]) -> bool:
    row = connection.execute(
        select(schema.journal.c.payload, schema.journal.c.signature).where(schema.journal.c.position == position)
    ).one()
    return standings.is_signed_in_vain(keys, site, decompress(row.payload), row.signature)


def _not_stated(connection: Connection) -> Iterator[str]:
    """Statements that claim to be the administrator's and are not signed by the key that is trusted, or for another
    mesh.
    """
    anchor = get_anchor(connection)
    if anchor is None or anchor.administrator is None:
        return
    for said in get_said(connection):
        if said.entry.administrator is not None and not is_stated(anchor, said.entry):
            about = f"{said.admitter} says of {said.entry.site}"
            yield f"{about} what the administrator did not sign for mesh {anchor.mesh}"


def left_out(connection: Connection) -> list[str]:
    """What of the record counts for nothing, although it is no fault of the record: of which sites, how much, why."""
    journal, members = schema.journal.c, known_members(connection)
    rows = connection.execute(
        select(journal.site, func.count().label("segments"), func.sum(journal.last_seq - journal.first_seq + 1))
        .where(journal.state == JournalState.ENDED)
        .group_by(journal.site)
        .order_by(journal.site)
    )
    return [
        f"{row.site}: {row.segments:,} segments ({int(row[2]):,} entries) do not count: "
        + ("their key ended" if SiteName(row.site) in members else "the site is not of the mesh")
        for row in rows
    ]


def exporter_problem(connection: Connection, begun: exports.Begin) -> str:
    """Why the end of an exported file is worth nothing; "" where it is the word of a site of the mesh."""
    member = known_members(connection).get(begun.by)
    if member is not None and begun.key in member.every_key and begun.key not in member.ends:
        return ""
    return (
        f"the file is closed with key {fingerprint(begun.key)}, which is not one that counts of {begun.by}: newer"
        " segments may have been left out"
    )
