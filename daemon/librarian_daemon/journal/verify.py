"""Verifies journals: every segment's bytes, hash, signature, numbers and place in the chain (``events verify``)."""

from __future__ import annotations

from collections.abc import Sequence

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import record, standings
from librarian_daemon.catalog.journal.record import ChainRow
from librarian_daemon.catalog.mesh.roster import Member, known_members
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.status import queries
from librarian_protocol import segments
from librarian_protocol.api import JournalReport
from librarian_protocol.authenticity import opened
from librarian_protocol.errors import CatalogFault, PeerError
from librarian_protocol.journal_state import COUNTING, JournalState
from librarian_protocol.names import SiteName
from librarian_protocol.versions import Version

#: Problems listed of one journal; a damaged one could have a million.
MAX_PROBLEMS = 20
#: The columns of the record that repeat fields of the segment.
_SAME = ("epoch", "incarnation", "first_seq", "last_seq", "kind", "prev")


async def verify_journal(catalog: Catalog, site: SiteName, own_key: str | None) -> JournalReport:
    """Verify one site's journal as it is held here. ``own_key`` is given for this site's own journal."""
    member = (await catalog.read(known_members)).get(site)
    report = JournalReport(site=site, segments=0, entries=0, last_seq=0, hash=segments.NO_HASH, problems=[])
    ends: dict[str, int] = {segments.NO_HASH: 0}
    reached = (await catalog.read(queries.heads)).get(site, 0)  # before the walk: the journal grows meanwhile
    last, ended = await catalog.read(standings.ended, site, member, own_key is not None)
    in_vain = await catalog.read(standings.keys_in_vain, site)
    after = (0, 0)
    while True:
        page = await catalog.read(record.chain, site, after)
        if not page:
            break
        for row in page:
            after = (row.first_seq, row.position)
            report.segments += 1
            report.entries += row.last_seq - row.first_seq + 1
            problem = _check(row, site, member, own_key, ends, in_vain)
            if not problem and row.position <= last:
                problem = _misjudged(row, row.position in ended)
            if problem and len(report.problems) < MAX_PROBLEMS:
                report.problems.append(problem)
            ends[row.hash] = row.last_seq
            if row.state in COUNTING and row.last_seq >= report.last_seq:
                report.last_seq, report.hash = row.last_seq, row.hash
        # Only the newest ends can still be continued, except where a site was rewound; those are few.
        if len(ends) > 10_000:
            ends = dict(list(ends.items())[-5_000:])
    if reached > report.last_seq:
        report.problems.append(f"the journal ends before entry {reached}, which was applied")
    return report


def _misjudged(row: ChainRow, ended: bool) -> str:
    if ended == (row.state == JournalState.ENDED):
        return ""
    where = f"entries {row.first_seq}-{row.last_seq} (segment {row.hash[:16]}…)"
    if ended:
        return f"{where}: {row.state}, although its key had ended"
    return f"{where}: it does not count here, although its key had not ended"


def _check(
    row: ChainRow,
    site: SiteName,
    member: Member | None,
    own_key: str | None,
    ends: dict[str, int],
    in_vain: Sequence[str],
) -> str:
    where = f"entries {row.first_seq}-{row.last_seq} (segment {row.hash[:16]}…)"
    try:
        payload = decompress(row.payload)
    except CatalogFault as exc:
        return f"{where}: {exc.message}"
    if segments.hash_of(payload) != row.hash:
        return f"{where}: the stored bytes do not have the stored hash"
    if row.state == JournalState.ENDED and member is None:
        return ""  # of a site that is not of the mesh: it is kept, and counts for nothing
    try:
        if member is not None:
            signed = opened(member, site, payload, row.signature)
            segment = signed.segment
            if signed.key != row.key:
                return f"{where}: another key signed it than the catalog's row says"
        else:  # this site itself, before it is admitted anywhere; or a site that is not of the mesh
            segment = segments.open_signed(payload, row.signature, site=site, key=own_key or "")
    except PeerError as exc:
        if row.state == JournalState.ENDED and standings.is_signed_in_vain(in_vain, site, payload, row.signature):
            return ""
        return f"{where}: {exc.message}"
    if any(getattr(segment, field) != getattr(row, field) for field in _SAME):
        return f"{where}: the catalog's row does not say what the segment says"
    if row.state == "ended":
        place = Version(segment.epoch, segment.incarnation, segment.first_seq)
        fits = member is None or member.key_fits(row.key, place)
        return "" if fits else f"{where}: the site had not gone over to the key that signed it"
    if row.state == "held":
        return f"{where}: held, the segment before it is missing"
    if row.state == "void":
        return f"{where}: void, two segments were signed for one place"
    if ends.get(segment.prev) != segment.first_seq - 1:
        return f"{where}: its predecessor is not held, or does not end where it begins"
    return ""
