"""Receives a segment of a site's journal from any source: verifies, judges and applies it, and reports what is
wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import segments
from librarian_daemon.catalog.journal.segments import Received
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.runtime.metrics import Metrics
from librarian_protocol.authenticity import Signed, opened
from librarian_protocol.errors import PeerError, SegmentInvalid, SignatureInvalid
from librarian_protocol.names import SiteName
from librarian_protocol.roster import Member
from librarian_protocol.segment_verdict import Verdict
from librarian_protocol.segments import Segment


class Receiver:
    """Every segment of another site, and every own one that comes back, is received here."""

    def __init__(self, catalog: Catalog, incidents: Incidents, metrics: Metrics, site: SiteName) -> None:
        self._catalog = catalog
        self._site = site
        self._incidents = incidents
        self._metrics = metrics
        self._log = structlog.get_logger("taking")
        #: The roster at the last time that no key was found for a segment.
        self._members: dict[SiteName, Member] = {}
        #: Sites whose last segment was not signed by a key of theirs that counts, and why. Heads tell them so.
        self.refusing: dict[SiteName, str] = {}

    async def take(
        self,
        origin: SiteName,
        payload: bytes,
        signature: str,
        stream_seq: int | None,
        *,
        kind: str | None = None,
        by: SiteName | None = None,
    ) -> tuple[Segment, Received]:
        """Take it. ``kind`` is what its subject says it is; ``by`` who brought it, where that is not its own site.

        Raises:
            PeerError: it is not accepted. Nothing was kept; an incident names the site that brought it.
            CatalogFault: it was not committed.
        """
        try:
            signed = await self._opened(origin, payload, signature)
            segment = signed.segment
            if kind is not None and kind != segment.kind:
                raise SegmentInvalid(f"a {segment.kind} segment was published as {kind[:100]!r}")
            received = await self._catalog.write_behind(segments.receive, signed, stream_seq)
        except PeerError as exc:
            if isinstance(exc, SignatureInvalid) and by is None:
                self.refusing[origin] = exc.message
            await self.refused(by or origin, exc)
            raise
        await self._took(origin, segment, received, by)
        return segment, received

    def opened_ahead(self, origin: SiteName, payload: bytes, signature: str) -> Signed | None:
        """The segment as the roster was last read; None where it does not open, which is said when it is taken."""
        try:
            return opened(self._members.get(origin), origin, payload, signature)
        except PeerError:
            return None

    async def take_opened(self, origin: SiteName, arrived: Sequence[tuple[Signed, int]]) -> list[Received]:
        """Take segments, each with its number in the site's stream, in one transaction.

        Raises:
            PeerError: one is not accepted. None was kept: take each for itself.
            CatalogFault: they were not committed.
        """
        found = await self._catalog.write_behind(segments.receive_all, arrived)
        for (signed, _), received in zip(arrived, found, strict=True):
            await self._took(origin, signed.segment, received, None)
        return found

    async def _took(self, origin: SiteName, segment: Segment, received: Received, by: SiteName | None) -> None:
        """Count what was received, and report what is wrong with it."""
        if by is None:
            self.refusing.pop(origin, None)
        self._metrics.applied_entries.labels(peer=origin).inc(received.applied)
        for problem in received.refused:
            self._log.error("entry_refused", error=problem)
            await self._incidents.open(
                "entry-refused", origin, problem, "the entry is kept in the journal and never applied; tell that site"
            )
        if received.verdict in {Verdict.EQUIVOCATION, Verdict.BROKEN}:
            self._log.error("journal_not_believed", peer=origin, verdict=received.verdict, detail=received.stalled)
            await self._incidents.open(
                "equivocation" if received.verdict is Verdict.EQUIVOCATION else "chain-broken",
                origin,
                received.stalled,
                "nothing of that site is believed from there on; ask its operators what happened to it",
            )
        if received.verdict is Verdict.ENDED:
            self._log.warning("segment_beyond_cutoff", peer=origin, by=by, seq=segment.first_seq)
        if received.branched and origin != self._site:
            self._log.warning("journal_branched", peer=origin, seq=segment.first_seq, incarnation=segment.incarnation)
            await self._incidents.open(
                "rewound",
                origin,
                f"the journal of {origin} has two branches from entry {segment.first_seq} on: its catalog was restored"
                " from a backup, or lost",
                "nothing for the data: both are kept and it recovers by itself; ask its operators what happened",
            )

    async def _opened(self, origin: SiteName, payload: bytes, signature: str) -> Signed:
        """Check it with the cached roster, or else with the present one. What counts is judged when it is applied."""
        try:
            return opened(self._members.get(origin), origin, payload, signature)
        except PeerError:
            self._members = await self._catalog.read(known_members)
            return opened(self._members.get(origin), origin, payload, signature)

    async def refused(self, peer: SiteName, error: PeerError) -> None:
        """Report that something a peer sent was refused."""
        self._metrics.refused_messages.labels(peer=peer).inc()
        self._log.error("message_refused", sparingly=True, peer=peer, error=error.message)
        await self._incidents.open(
            "message-refused", peer, error.message, "compare the site's key at both ends: `lbctl site list`"
        )
