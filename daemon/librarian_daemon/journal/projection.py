"""The projection: reads the journals of other sites from the bus and applies them to the catalog (docs/events.md).

A segment is accepted only if it is signed with the key that the roster has for the site, and site, stream, subject and
signer agree. Everything else is refused, counted and reported as an incident; the reader goes on after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import segments
from librarian_daemon.catalog.journal.letters import Sealed
from librarian_daemon.catalog.journal.segments import Received
from librarian_daemon.catalog.mesh.roster import Member
from librarian_daemon.journal.ahead import Arrived, Waiting, read_ahead
from librarian_daemon.journal.receiver import Receiver
from librarian_daemon.ports.bus import Message, Streams
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import mail, subjects
from librarian_protocol.authenticity import Signed
from librarian_protocol.errors import CatalogFault, PeerError, SegmentInvalid
from librarian_protocol.names import SiteName
from librarian_protocol.segment_verdict import Verdict

#: Handles a letter of one verb. It must be quick, and idempotent.
MailHandler = Callable[[mail.Mail, Sealed], Awaitable[None]]

#: How long the reader pauses when no more segments can be held beyond a gap.
GAP_WAIT_S = 30.0


#: What a reader depends on. When this changes, the reader is replaced.
Keys = tuple[object, ...]


def _keys_of(member: Member) -> Keys:
    return tuple(member.keys), tuple(member.former), tuple(member.tips)


class JournalReader:
    """Reads one site's journal, for as long as it is admitted."""

    def __init__(
        self,
        member: Member,
        catalog: Catalog,
        bus: Streams,
        clock: Clock,
        receiver: Receiver,
        *,
        site: SiteName,
        gap: Signal,
        mail_handlers: Mapping[str, MailHandler],
    ) -> None:
        self._member = member
        self._site = site
        self._mail_handlers = mail_handlers
        self._catalog = catalog
        self._bus = bus
        self._clock = clock
        self._receiver = receiver
        self._gap = gap
        self._read_again = True
        self._log = structlog.get_logger("projection").bind(peer=member.site)

    async def run(self, *, from_start: bool = False) -> None:
        """Read until cancelled, from the reader's cursor or from the stream's start."""
        site = self._member.site
        after = 0 if from_start else await self._catalog.read(segments.read_after, site)
        while True:
            async with read_ahead(self._bus.read(site, after), self._opened) as waiting:
                after = await self._read_on(waiting, after)

    async def _read_on(self, waiting: Waiting, after: int) -> int:
        """Take what comes until reading must begin anew; behind which message."""
        while True:
            try:
                taken = await self._take_some(await waiting.some())
            except CatalogFault:
                # It was not committed: the next read starts again with these messages.
                await self._clock.sleep(1.0)
                return after
            for message, received in taken:
                if received is not None and received.verdict is Verdict.HOLD and self._read_again:
                    # The missing segment may be earlier in the stream than the cursor: read from there once.
                    self._log.warning("journal_gap", detail=received.stalled)
                    self._read_again = False
                    return 0
                if received is not None and received.full:
                    self._log.error("journal_gap_full", detail=received.stalled)
                    await self._clock.sleep(GAP_WAIT_S)
                    return await self._catalog.read(segments.read_after, self._member.site)
                after = message.stream_seq

    def _opened(self, message: Message) -> Signed | None:
        """The segment of a message, ahead of its turn; None where anything is to be said about it."""
        site = self._member.site
        try:
            kind = subjects.kind_of_journal(message.subject, site)
        except PeerError:  # it is no segment
            return None
        signed = self._receiver.opened_ahead(site, message.payload, message.headers.get(subjects.SIGNATURE_HEADER, ""))
        return signed if signed is not None and signed.segment.kind == kind else None

    async def _take_some(self, some: Sequence[Arrived]) -> list[tuple[Message, Received | None]]:
        """Take them, each with what became of its segment: all at once if they are segments."""
        opened = [(arrived.signed, arrived.message.stream_seq) for arrived in some if arrived.signed is not None]
        if len(opened) == len(some):
            with suppress(PeerError):
                received = await self._receiver.take_opened(self._member.site, opened)
                for taken in received:
                    if taken.verdict is Verdict.HOLD:
                        self._gap.set()
                return list(zip((arrived.message for arrived in some), received, strict=True))
        return [(arrived.message, await self._take(arrived.message)) for arrived in some]

    async def _take(self, message: Message) -> Received | None:
        site = self._member.site
        if subjects.is_mail(message.subject, site):
            await self._open_letter(message)
            return None
        try:
            kind = subjects.kind_of_journal(message.subject, site)
        except PeerError as exc:
            await self._receiver.refused(site, exc)
            await self._catalog.write(segments.note_reading, site, message.stream_seq, "")
            return None
        signature = message.headers.get(subjects.SIGNATURE_HEADER, "")
        try:
            _, received = await self._receiver.take(site, message.payload, signature, message.stream_seq, kind=kind)
        except PeerError:
            await self._catalog.write(segments.note_reading, site, message.stream_seq, "")
            return None
        if received.verdict is Verdict.HOLD:
            self._gap.set()
        return received

    async def _open_letter(self, message: Message) -> None:
        """Pass a letter to its handler. Letters to others are skipped. The cursor advances after the handler
        returned.
        """
        site = self._member.site
        if message.subject.startswith(subjects.mail(site, self._site, "")):
            signature = message.headers.get(subjects.SIGNATURE_HEADER, "")
            try:
                letter = mail.open_signed(
                    message.payload,
                    signature,
                    sender=site,
                    to=self._site,
                    key=self._member.key,
                )
                if message.subject != subjects.mail(site, self._site, letter.verb):
                    raise SegmentInvalid(f"a letter {letter.verb!r} was published as {message.subject[:100]!r}")
                handler = self._mail_handlers.get(letter.verb)
                if handler is None:  # of a later version
                    self._log.info("letter_not_understood", sparingly=True, verb=letter.verb, letter=letter.id)
                else:
                    await handler(letter, Sealed(message.payload, signature))
            except PeerError as exc:
                await self._receiver.refused(site, exc)
        await self._catalog.write(segments.note_reading, site, message.stream_seq, "")


class Projection:
    """Service: one reader for each admitted site."""

    def __init__(
        self,
        catalog: Catalog,
        bus: Streams,
        clock: Clock,
        site: SiteName,
        receiver: Receiver,
        *,
        gap: Signal,
        mail_handlers: Mapping[str, MailHandler] | None = None,
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._clock = clock
        self._site = site
        self._receiver = receiver
        #: Set when a segment came whose predecessor is missing; catching up asks for it.
        self._gap = gap
        self._mail_handlers = mail_handlers or {}
        self._followed: dict[SiteName, Member] = {}
        self._members: asyncio.Queue[dict[SiteName, Member]] = asyncio.Queue(maxsize=1)

    def follow(self, members: dict[SiteName, Member]) -> None:
        """Read the journals of these sites, and of no others, from now on."""
        self._followed = members
        if self._members.full():
            self._members.get_nowait()
        self._members.put_nowait(members)

    async def run(self) -> None:
        """Until cancelled."""
        readers: dict[SiteName, tuple[Keys, asyncio.Task[None]]] = {}
        self.follow(self._followed)
        async with asyncio.TaskGroup() as group:
            while True:
                members = await self._members.get()
                rekeyed: set[SiteName] = set()
                for site, (keys, task) in list(readers.items()):
                    if site not in members or _keys_of(members[site]) != keys:
                        task.cancel()
                        del readers[site]
                        rekeyed.add(site)
                for site, member in members.items():
                    if site != self._site and site not in readers:
                        reader = JournalReader(
                            member,
                            self._catalog,
                            self._bus,
                            self._clock,
                            self._receiver,
                            site=self._site,
                            gap=self._gap,
                            mail_handlers=self._mail_handlers,
                        )
                        # Segments that were refused under another key are before the cursor: read them once more.
                        run = reader.run(from_start=site in rekeyed)
                        readers[site] = (_keys_of(member), group.create_task(run, name=f"reader-{site}"))
