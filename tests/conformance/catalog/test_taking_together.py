"""Segments of one site that wait together are taken in one transaction, and mean what they mean one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

import msgspec
import pytest
from tests.conformance.catalog.peers import Peer, Sealed, ingested
from tests.conformance.catalog.running import SITE, admit, rows

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import segments
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_daemon.incidents.recorder import CatalogIncidents
from librarian_daemon.journal.projection import JournalReader
from librarian_daemon.journal.receiver import Receiver
from librarian_daemon.ports.bus import Link, Message
from librarian_daemon.runtime.clock import SystemClock
from librarian_daemon.runtime.metrics import Metrics
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import subjects
from librarian_protocol.errors import PeerError
from librarian_protocol.names import SiteName


class OneStream:
    """A bus with the stream of one site; ``all_read`` is set when a reader waits for more than there is."""

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages
        self.all_read = asyncio.Event()

    async def read(self, origin: SiteName, after: int) -> AsyncGenerator[Message]:
        for message in self._messages[after:]:
            yield message
        self.all_read.set()
        await asyncio.Event().wait()

    def links(self) -> Mapping[SiteName, Link]:
        return {}


def published(sent: list[Sealed], site: SiteName) -> list[Message]:
    """As the site's stream has them."""
    return [
        Message(
            subject=subjects.journal(site, sealed.segment.kind),
            payload=sealed.payload,
            headers={subjects.SIGNATURE_HEADER: sealed.signature},
            stream_seq=number,
        )
        for number, sealed in enumerate(sent, 1)
    ]


async def names(catalog: Catalog) -> set[str]:
    return {row.name for row in await catalog.read(rows, schema.file)}


async def test_of_segments_that_are_taken_together_none_is_kept_if_one_is_not_accepted(catalog: Catalog) -> None:
    peer, stranger = Peer("summit"), Peer("stranger")
    await admit(catalog, peer)
    good = [sealed.signed() for sealed in peer.each(*(ingested(peer.store, f"raw/{n}") for n in range(2)))]
    (bad,) = stranger.say(ingested(stranger.store, "raw/forged"))
    with pytest.raises(PeerError):
        await catalog.write(segments.receive_all, [(good[0], 1), (bad.signed(), 2)])
    assert await names(catalog) == set()
    assert await catalog.read(segments.read_after, peer.site) == 0
    received = await catalog.write(segments.receive_all, [(good[0], 1), (good[1], 2)])
    assert [one.applied for one in received] == [1, 1]
    assert await names(catalog) == {"raw/0", "raw/1"}
    assert await catalog.read(segments.read_after, peer.site) == 2


async def test_a_reader_goes_on_behind_what_is_not_accepted_wherever_it_stands(catalog: Catalog) -> None:
    peer = Peer("summit")
    await admit(catalog, peer)
    sent = peer.each(*(ingested(peer.store, f"raw/{n}") for n in range(5)))
    forged = msgspec.structs.replace(
        sent[2], signature=Peer("stranger").seal(sent[2].segment, sent[2].payload).signature
    )
    stream = OneStream(published([*sent[:2], forged, *sent[2:]], peer.site))
    members = await catalog.read(known_members)
    reader = JournalReader(
        members[peer.site],
        catalog,
        stream,
        SystemClock(),
        Receiver(catalog, CatalogIncidents(catalog), Metrics(SITE), SITE),
        site=SITE,
        gap=Signal(),
        mail_handlers={},
    )
    reading = asyncio.create_task(reader.run())
    try:
        async with asyncio.timeout(30):
            await stream.all_read.wait()
            while await catalog.read(segments.read_after, peer.site) < 6:
                await catalog.recorded.wait(1.0)
    finally:
        reading.cancel()
        await asyncio.wait({reading})
    assert await names(catalog) == {f"raw/{n}" for n in range(5)}
    incidents = await catalog.read(rows, schema.incident)
    assert [(row.code, row.subject) for row in incidents] == [("message-refused", "summit")]
