"""The publisher: sends journal segments and letters to the bus, in order, one at a time (docs/events.md).

A segment leaves the outbox soon after the bus has acknowledged it. What is still in it after a crash is sent again with
the same id, which does no harm. If the bus has lost this site's stream, everything is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import mail, segments
from librarian_daemon.catalog.journal.mail import QueuedMail
from librarian_daemon.catalog.journal.outgoing import outgoing
from librarian_daemon.catalog.meta import get_meta, put_meta
from librarian_daemon.catalog.transaction import OutgoingSegment, Tx
from librarian_daemon.ports.bus import OwnStream, StreamPosition
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Metrics
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import backoff, subjects, wire
from librarian_protocol.errors import BusUnavailable, BusUnsafe
from librarian_protocol.keys import SiteKey
from librarian_protocol.mail import VERSION, Mail, seal
from librarian_protocol.names import SiteName

#: Segments, and letters, read from the outbox at once.
PAGE = 32
IDLE_S = 30.0
#: Failures in a row before an incident is opened: a restart of the server is not one.
TOLD_AFTER = 3
_HINT = "look at the bus server and at the space on its disk; what waits in the outbox goes out by itself"
_STREAM = wire.decoder(StreamPosition)


class _WentBack(Exception):
    """The bus assigned a sequence number that it had assigned before."""


class Publisher:
    """Service."""

    def __init__(
        self,
        catalog: Catalog,
        bus: OwnStream,
        incidents: Incidents,
        clock: Clock,
        site: SiteName,
        key: SiteKey,
        metrics: Metrics,
        stream_anew: Signal,
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._incidents = incidents
        self._clock = clock
        self._site = site
        self._key = key
        self._metrics = metrics
        #: Set when the stream was made anew: its readers' consumers are gone, too.
        self._stream_anew = stream_anew
        self._failures = 0
        #: Places of segments in the outbox that the bus has acknowledged, and the commit with which they leave it.
        self._done: list[int] = []
        self._leaving: asyncio.Future[list[int]] | None = None
        #: Whether the outbox may have more than what was committed since the last look; the last place published.
        self._to_read = True
        self._last = 0
        #: The incident of an earlier amnesia may be open.
        self._forgot = True
        self._log = structlog.get_logger("publisher")

    async def run(self) -> None:
        """Run until cancelled. Outages of the bus cost only time."""
        went_back = False
        while True:
            try:
                await self._check_stream(went_back)
                went_back = False
                await self._pump()
            except _WentBack:
                went_back = True
            except (BusUnavailable, BusUnsafe) as exc:
                self._failures += 1
                if self._failures == 1 or isinstance(exc, BusUnsafe):
                    self._log.warning("bus_unavailable", error=exc.message)
                if self._failures % TOLD_AFTER == 0:
                    why = await self._bus.revive()
                    message = f"{exc.message}: {why}" if why else exc.message
                    await self._incidents.open("bus-unavailable", "outbox", message, exc.hint or _HINT)
                await self._clock.sleep(min(backoff.delay_s(self._failures, "publisher"), 5.0))

    async def _went_well(self) -> None:
        """Note that something was acknowledged, or that there is nothing to send. An answer of the bus alone is not
        enough.
        """
        if self._failures >= TOLD_AFTER:
            await self._incidents.resolve("bus-unavailable", "outbox")
        self._failures = 0

    async def _check_stream(self, went_back: bool) -> None:
        """Make sure that the stream exists. If it is another stream, or was reset, fill it again (nats/README.md)."""
        self._done.clear()  # they may be in no stream any more, and are looked at again in the outbox
        found = await self._bus.ensure_stream()
        text = await self._catalog.read(get_meta, "stream")
        known = _STREAM.decode(text) if text else None
        if known is None or known.created != found.created or found.last_seq < known.last_seq or went_back:

            def work(tx: Tx) -> None:
                segments.requeue_all(tx, self._site)
                put_meta(tx.connection, "stream", wire.encode(found).decode())

            await self._catalog.write(work)
            self._stream_anew.set()
            if known is not None:
                self._forgot = True
                self._log.error("bus_amnesia", known=known.last_seq, found=found.last_seq)
                await self._incidents.open(
                    "bus-amnesia",
                    subjects.stream(self._site),
                    f"the bus has forgotten what it had acknowledged (up to {known.last_seq}, now {found.last_seq})",
                    "everything is published again by itself; look at the server's disk and its sync_interval",
                )
        self._stream = found

    async def _pump(self) -> None:
        """Publish until the bus fails."""
        self._to_read, self._last = True, 0
        try:
            while True:
                waiting, letters = await self._waiting()
                await self._send(letters)
                for segment in waiting:
                    await self._publish_segment(segment)
                    self._done.append(segment.position)
                    self._last = segment.position
                self._acknowledge_later()
                if waiting or letters:
                    await self._went_well()
                if not self._to_read:
                    await self._wait()
        except (BusUnavailable, BusUnsafe, _WentBack):
            await self._catalog.write(self._acknowledge)
            raise

    async def _waiting(self) -> tuple[list[OutgoingSegment], list[QueuedMail]]:
        """What waits for the bus: what was committed since the last look is known, all else is read."""
        fresh = self._catalog.fresh()  # before the read, which sees all of it
        if fresh is not None and not self._to_read:
            # What was committed during the last read may have been seen by it.
            return [segment for segment in fresh if segment.position > self._last], []
        waiting, letters = await self._catalog.read(outgoing, PAGE, self._done)
        self._to_read = max(len(waiting), len(letters)) >= PAGE
        return waiting, letters

    async def _wait(self) -> None:
        """Until something waits for the bus."""
        if self._forgot:
            await self._incidents.resolve("bus-amnesia", subjects.stream(self._site))
            self._forgot = False
        if not await self._catalog.journaled.wait(IDLE_S):
            await self._went_well()
            # Neither a signal that was missed nor an incident that could not be resolved is so for ever.
            self._to_read = self._forgot = True
            if not self._bus.state().connected:
                raise BusUnavailable("the bus went away")

    async def _publish_segment(self, segment: OutgoingSegment) -> None:
        await self._publish(
            subjects.journal(self._site, segment.kind), segment.payload, segment.signature, segment.hash
        )
        self._metrics.published_segments.inc()

    async def _publish(self, subject: str, payload: bytes, signature: str, message_id: str) -> None:
        headers = {subjects.SIGNATURE_HEADER: signature, subjects.MESSAGE_ID_HEADER: message_id}
        stored = await self._bus.publish(subject, payload, headers)
        if not stored.again and stored.stream_seq <= self._stream.last_seq:
            raise _WentBack
        last_seq = max(stored.stream_seq, self._stream.last_seq)
        self._stream = msgspec.structs.replace(self._stream, last_seq=last_seq)

    async def _send(self, letters: Sequence[QueuedMail]) -> None:
        """Send the letters that wait, between pages of segments."""
        done: list[int] = []
        try:
            for letter in letters:
                payload, signature = seal(
                    Mail(
                        v=VERSION,
                        sender=self._site,
                        to=letter.recipient,
                        verb=letter.verb,
                        id=letter.id,
                        at=letter.written_at,
                        body=msgspec.Raw(letter.body),
                    ),
                    self._key,
                )
                await self._publish(
                    subjects.mail(self._site, letter.recipient, letter.verb), payload, signature, letter.id
                )
                done.append(letter.position)
        finally:
            if done:
                await self._catalog.write(mail.acknowledged, done)

    def _acknowledge_later(self) -> None:
        """What the bus has acknowledged leaves the outbox. A commit of its own would cost as much as that of a file."""
        if self._done and self._leaving is None:
            self._leaving = self._catalog.write_later(self._acknowledge)
            self._leaving.add_done_callback(self._left)

    def _left(self, leaving: asyncio.Future[list[int]]) -> None:
        self._leaving = None
        if leaving.cancelled() or leaving.exception() is not None:
            return  # it is tried again after the next look
        gone = set(leaving.result())
        self._done = [position for position in self._done if position not in gone]
        self._acknowledge_later()

    def _acknowledge(self, tx: Tx) -> list[int]:
        """What leaves the outbox is seen when this runs: nothing, if the stream was found to be another one since."""
        positions = list(self._done)
        if positions:
            segments.acknowledged(tx, positions)
            put_meta(tx.connection, "stream", wire.encode(self._stream).decode())
        return positions
