"""Taking a segment of a site's journal, however it came: believed, judged, applied, and told of where it is odd."""

from __future__ import annotations

import structlog

from librarian_daemon.believing import Signed, opened
from librarian_daemon.catalog import journal
from librarian_daemon.catalog.journal import Received
from librarian_daemon.catalog.roster import known_members
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.metrics import Metrics
from librarian_daemon.ports import Incidents
from librarian_protocol.errors import PeerError, SegmentInvalid
from librarian_protocol.names import SiteName
from librarian_protocol.receiving import Verdict
from librarian_protocol.roster import Member
from librarian_protocol.segments import Segment


class Taking:
    """The one way in for segments of others, and for own ones that come back."""

    def __init__(self, catalog: Catalog, incidents: Incidents, metrics: Metrics, site: SiteName) -> None:
        self._catalog = catalog
        self._site = site
        self._incidents = incidents
        self._metrics = metrics
        self._log = structlog.get_logger("taking")
        #: The roster as it was when a key was last looked for in vain.
        self._members: dict[SiteName, Member] = {}

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
            PeerError: it is not believed. Nothing was kept; whoever brought it is told of in an incident.
            CatalogFault: it was not committed.
        """
        try:
            signed = await self._opened(origin, payload, signature)
            segment = signed.segment
            if kind is not None and kind != segment.kind:
                raise SegmentInvalid(f"a {segment.kind} segment was published as {kind[:100]!r}")
            received = await self._catalog.write(journal.receive, signed, stream_seq)
        except PeerError as exc:
            await self.refused(by or origin, exc)
            raise
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
        return segment, received

    async def _opened(self, origin: SiteName, payload: bytes, signature: str) -> Signed:
        """By the roster as it was, or else as it is: what counts is judged when it is applied."""
        try:
            return opened(self._members.get(origin), origin, payload, signature)
        except PeerError:
            self._members = await self._catalog.read(known_members)
            return opened(self._members.get(origin), origin, payload, signature)

    async def refused(self, peer: SiteName, error: PeerError) -> None:
        """Something that a peer sent was not believed."""
        self._metrics.refused_messages.labels(peer=peer).inc()
        self._log.error("message_refused", peer=peer, error=error.message)
        await self._incidents.open(
            "message-refused", peer, error.message, "compare the site's key at both ends: `lbctl site list`"
        )
