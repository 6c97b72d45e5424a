"""Repair: asks others for the journal segments that are missing here, and answers who asks (docs/events.md).

A loss of the bus, a purge, a limit of its stream or a newcomer's past thus cost latency and nothing else. Segments come
in through the same door as from the stream: signature, judgement, one transaction.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from librarian_daemon.catalog import journal, leaves
from librarian_daemon.catalog.leaves import Missing
from librarian_daemon.catalog.roster import known_members, roster
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.ports import Bus, Clock, Part
from librarian_daemon.signals import Signal
from librarian_daemon.taking import Taking
from librarian_protocol import subjects, wire
from librarian_protocol.entries import Access
from librarian_protocol.errors import BusUnavailable, PeerError, RequestRefused
from librarian_protocol.names import SiteName
from librarian_protocol.receiving import Verdict

JOURNAL = "journal"
#: Of one answer; what is larger is asked for in several.
MAX_SEGMENTS = 100
MAX_BYTES = 1 << 20
SILENCE_S = 10.0
LOOK_EVERY_S = 30.0
#: How far behind its own end a site begins to ask, in entries: where branches parted it must go back.
_STEPS = (0, 1, 64, 4096, 1 << 18, 1 << 62)


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """A question: the segments of ``origin`` that reach behind entry ``after``."""

    origin: SiteName
    after: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


_RANGE = wire.decoder(Range)


class Answering:
    """Answers questions for journal ranges."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def __call__(self, asker: SiteName, what: str, body: bytes) -> AsyncGenerator[Part, None]:
        """See the port :class:`librarian_daemon.ports.Answerer`."""
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
            leaves.segments_behind, asked.origin, asked.after, limit=MAX_SEGMENTS, max_bytes=MAX_BYTES
        )
        for signature, payload in found:
            yield Part(payload=payload, headers={subjects.SIGNATURE_HEADER: signature})


class Repairer:
    """Service."""

    def __init__(
        self, catalog: Catalog, bus: Bus, clock: Clock, site: SiteName, taking: Taking, *, heard: Signal, every_s: float
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._clock = clock
        self._site = site
        self._taking = taking
        self._heard = heard
        self._every_s = every_s
        #: Ends that were missing at the last look: what the stream is just bringing is not asked for.
        self._seen: set[str] = set()
        self._log = structlog.get_logger("repairer")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._heard.wait(LOOK_EVERY_S)
            lacking = await self._catalog.read(leaves.missing)
            now = {one.hash for one in lacking}
            due = [one for one in lacking if one.hash in self._seen or one.origin == self._site]
            self._seen = now
            for one in due:
                await self._repair(one)
            if lacking and not due:
                # They came with the latest heads; unless the stream brings them, they are asked for soon.
                await self._clock.sleep(min(self._every_s, LOOK_EVERY_S) / 2)
                self._heard.set()

    async def _repair(self, one: Missing) -> None:
        members = await self._catalog.read(known_members)
        for peer in one.peers:
            if one.origin not in members:
                return  # a site that nobody here knows: its admission has not come yet
            try:
                await self._ask(peer, one)
            except (BusUnavailable, PeerError) as exc:
                self._log.info("repair_not_answered", origin=one.origin, peer=peer, error=exc.message)
                continue
            if await self._catalog.read(leaves.holds, one.hash):
                self._log.info("repaired", origin=one.origin, peer=peer, until=one.seq)
                return

    async def _ask(self, peer: SiteName, one: Missing) -> None:
        """Take what the peer has behind our own end; where that hangs in the air, begin ever earlier."""
        end = await self._catalog.read(leaves.applied_until, one.origin)
        for step in _STEPS:
            after = max(end - step, 0)
            while True:
                verdicts, next_after = await self._take_part(peer, one.origin, after)
                if await self._catalog.read(leaves.holds, one.hash) and not await self._hangs(one.origin):
                    return
                if not verdicts or next_after <= after:
                    break
                if verdicts[0] is Verdict.HOLD and after > 0 and step != _STEPS[-1]:
                    break  # what came first has no predecessor here
                after = next_after
            if after == 0 or end - step <= 0:
                return

    async def _hangs(self, origin: SiteName) -> bool:
        return bool(await self._catalog.read(journal.held, origin))

    async def _take_part(self, peer: SiteName, origin: SiteName, after: int) -> tuple[Sequence[Verdict], int]:
        """Ask once; what became of each segment, and behind which entry to go on.

        That is before the last segment's first entry: of another branch there may be more that reach over it.
        """
        verdicts: list[Verdict] = []
        first, last = 0, after
        body = wire.encode(Range(origin=origin, after=after))
        async with aclosing(self._bus.ask(peer, JOURNAL, body, silence_s=SILENCE_S)) as parts:
            async for part in parts:
                signature = part.headers.get(subjects.SIGNATURE_HEADER, "")
                segment, received = await self._taking.take(origin, part.payload, signature, None, by=peer)
                verdicts.append(received.verdict)
                first, last = segment.first_seq, max(last, segment.last_seq)
                if received.full:
                    raise BusUnavailable(received.stalled)
        return verdicts, first - 1 if first - 1 > after else last
