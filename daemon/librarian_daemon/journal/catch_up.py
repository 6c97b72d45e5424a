"""Catching up: asks other sites for journal segments that are missing here, and answers such questions
(docs/events.md).

So a loss on the bus, a purge, a limit of its stream or the history before a site joined costs latency and nothing else.
Segments are checked and applied as those from the stream are: signature, verdict, one transaction.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import heads, segments
from librarian_daemon.catalog.journal.heads import MissingTip
from librarian_daemon.catalog.mesh.roster import known_members, roster
from librarian_daemon.journal.receiver import Receiver
from librarian_daemon.ports.bus import Part, Questions
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import subjects, wire
from librarian_protocol.entries import Access
from librarian_protocol.errors import BusUnavailable, PeerError, RequestRefused
from librarian_protocol.names import SiteName
from librarian_protocol.segment_verdict import Verdict

JOURNAL = "journal"
#: Of one answer; what is larger is asked for in several.
MAX_SEGMENTS = 100
MAX_BYTES = 1 << 20
SILENCE_S = 10.0
LOOK_EVERY_S = 30.0
#: How many entries before its own end a site starts to ask. Where branches parted, it must go further back.
_STEPS = (0, 1, 64, 4096, 1 << 18, 1 << 62)


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """A question: the segments of ``origin`` that reach behind entry ``after``."""

    origin: SiteName
    after: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


_RANGE = wire.decoder(Range)


class RangeAnswerer:
    """Answers questions for journal ranges."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def __call__(self, asker: SiteName, what: str, body: bytes) -> AsyncGenerator[Part, None]:
        """See the port :class:`librarian_daemon.ports.bus.Answerer`."""
        member = (await self._catalog.read(roster)).get(asker)
        if what != JOURNAL:
            raise RequestRefused(f"there is no question {what[:40]!a}")
        if member is None or member.access == Access.CALLBACK:
            raise RequestRefused(f"site {asker!r} may not read journals")
        try:
            asked = _RANGE.decode(body)
        except wire.NOT_DECODABLE as exc:
            raise RequestRefused(f"the question does not decode: {wire.why(exc)}") from exc
        found = await self._catalog.read(
            heads.segments_behind, asked.origin, asked.after, limit=MAX_SEGMENTS, max_bytes=MAX_BYTES
        )
        for signature, payload in found:
            yield Part(payload=payload, headers={subjects.SIGNATURE_HEADER: signature})


class CatchUp:
    """Service."""

    def __init__(
        self,
        catalog: Catalog,
        bus: Questions,
        clock: Clock,
        site: SiteName,
        receiver: Receiver,
        *,
        gap: Signal,
        every_s: float,
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._clock = clock
        self._site = site
        self._receiver = receiver
        self._gap = gap
        self._every_s = every_s
        #: Tips that were missing at the last look. A new one is not asked for at once: the stream may be bringing it.
        self._seen: set[str] = set()
        self._log = structlog.get_logger("repairer")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._gap.wait(LOOK_EVERY_S)
            lacking = await self._catalog.read(heads.missing)
            now = {tip.hash for tip in lacking}
            due = [tip for tip in lacking if tip.hash in self._seen or tip.origin == self._site]
            self._seen = now
            for tip in due:
                await self._repair(tip)
            if lacking and not due:
                # They came with the latest heads. They are asked for soon, unless the stream brings them.
                await self._clock.sleep(min(self._every_s, LOOK_EVERY_S) / 2)
                self._gap.set()

    async def _repair(self, tip: MissingTip) -> None:
        members = await self._catalog.read(known_members)
        for peer in tip.peers:
            if tip.origin not in members:
                return  # a site that nobody here knows: its admission has not come yet
            try:
                await self._ask(peer, tip)
            except (BusUnavailable, PeerError) as exc:
                self._log.info("repair_not_answered", origin=tip.origin, peer=peer, error=exc.message)
                continue
            if await self._catalog.read(heads.holds, tip.hash):
                self._log.info("repaired", origin=tip.origin, peer=peer, until=tip.seq)
                return

    async def _ask(self, peer: SiteName, tip: MissingTip) -> None:
        """Take what the peer has after our own end. If that does not connect to what is held, start further back each
        time.
        """
        end = await self._catalog.read(heads.applied_until, tip.origin)
        for step in _STEPS:
            after = max(end - step, 0)
            while True:
                verdicts, next_after = await self._take_part(peer, tip.origin, after)
                if await self._catalog.read(heads.holds, tip.hash) and not await self._hangs(tip.origin):
                    return
                if not verdicts or next_after <= after:
                    break
                if verdicts[0] is Verdict.HOLD and after > 0 and step != _STEPS[-1]:
                    break  # what came first has no predecessor here
                after = next_after
            if after == 0 or end - step <= 0:
                return

    async def _hangs(self, origin: SiteName) -> bool:
        return bool(await self._catalog.read(segments.held, origin))

    async def _take_part(self, peer: SiteName, origin: SiteName, after: int) -> tuple[Sequence[Verdict], int]:
        """Ask once. Returns what became of each segment, and after which entry to go on.

        That is before the last segment's first entry, since segments of another branch may span it.
        """
        verdicts: list[Verdict] = []
        first, last = 0, after
        body = wire.encode(Range(origin=origin, after=after))
        async with aclosing(self._bus.ask(peer, JOURNAL, body, silence_s=SILENCE_S)) as parts:
            async for part in parts:
                signature = part.headers.get(subjects.SIGNATURE_HEADER, "")
                segment, received = await self._receiver.take(origin, part.payload, signature, None, by=peer)
                verdicts.append(received.verdict)
                first, last = segment.first_seq, max(last, segment.last_seq)
                if received.full:
                    raise BusUnavailable(received.stalled)
        return verdicts, first - 1 if first - 1 > after else last
