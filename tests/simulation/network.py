"""What is between simulated sites: streams, the bus over which they are read, and an adapter that moves bytes."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from itertools import islice

from tests.simulation.loop import PROCESS, Process
from tests.simulation.world import World

from librarian_adapters.contract import Batch, Capabilities, Failed, Landed, Outcome, Progress, Staging
from librarian_daemon.ports.bus import Answerer, BusMember, BusState, Link, Message, Part, Stored, StreamPosition
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import (
    BusUnavailable,
    LibrarianError,
    RequestRefused,
    SourceMissing,
    SourceUnreachable,
)
from librarian_protocol.names import SiteName

#: A header by which a server that is an attacker's shows a message to one reader alone.
ONLY_FOR = "Sim-Only-For"


class Stream:
    """One site's stream at its server. Servers do not die with daemons."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.created = 1
        self.messages: list[Message] = []
        self.last_seq = 0
        self.ids: dict[str, int] = {}
        self._grown = asyncio.Event()

    def append(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Stored:
        known = self.ids.get(headers.get("Nats-Msg-Id", ""))
        if known is not None and not self._world.unlucky(0.02):  # else its memory for ids was too short
            return Stored(stream_seq=known, again=True)
        self.last_seq += 1
        self.messages.append(Message(subject=subject, payload=payload, headers=dict(headers), stream_seq=self.last_seq))
        self.ids[headers.get("Nats-Msg-Id", "")] = self.last_seq
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
        return Stored(stream_seq=self.last_seq, again=False)

    def purge(self) -> None:
        """All messages go, numbers go on."""
        self.messages.clear()

    def forget(self) -> None:
        """Made anew, as after its directory was lost."""
        self.created += 1
        self.messages.clear()
        self.ids.clear()
        self.last_seq = 0

    def lose_last(self, count: int) -> None:
        """What was acknowledged is gone, and the numbers begin again there: a server that did not sync."""
        del self.messages[max(0, len(self.messages) - count) :]
        self.last_seq = self.messages[-1].stream_seq if self.messages else max(0, self.last_seq - count)
        self.ids.clear()

    def behind(self, seq: int) -> Iterator[Message]:
        """Messages with greater numbers."""
        first = bisect_right(self.messages, seq, key=lambda message: message.stream_seq)
        return islice(self.messages, first, None)

    async def grown(self) -> None:
        await self._grown.wait()


class SimBus:
    """The bus as services of a site of a mesh use it; it runs the bus's suite (tests/conformance/bus)."""

    def __init__(self, world: World, site: SiteName) -> None:
        self._world = world
        self._site = site
        self._members: dict[SiteName, BusMember] = {}
        self._heads: asyncio.Queue[tuple[SiteName, bytes]] = asyncio.Queue(maxsize=64)
        self._answerer: Answerer | None = None
        self._links: dict[SiteName, Link] = {}
        self.process = PROCESS.get()
        world.buses[site] = self

    def state(self) -> BusState:
        return BusState(connected=True, url="sim://", server_version="2.15.0", detail="")

    async def revive(self) -> str:
        return ""

    async def ensure_stream(self) -> StreamPosition:
        await self._world.gate(self._site, "ensure-stream")
        stream = self._world.streams[self._site]
        return StreamPosition(created=str(stream.created), last_seq=stream.last_seq)

    async def ensure_readers(self, readers: Mapping[SiteName, str]) -> None:
        """The stand-in needs none."""

    async def set_roster(self, members: Mapping[SiteName, BusMember], invited: Sequence[str]) -> None:
        self._members = dict(members)

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Stored:
        world = self._world
        await world.gate(self._site, "publish", subject)
        if world.unlucky(0.03):
            world.counts["publish not sent"] += 1
            raise BusUnavailable("the bus did not take it")
        stored = world.streams[self._site].append(subject, payload, headers)
        await world.gate(self._site, "published", subject)
        if world.unlucky(0.03):
            world.counts["acknowledgement lost"] += 1
            raise BusUnavailable("no acknowledgement came")
        return stored

    async def read(self, origin: SiteName, after: int) -> AsyncGenerator[Message, None]:
        world = self._world
        stream = world.streams[origin]
        created = stream.created
        while True:
            reached = world.reach(self._site, origin)
            self._links[origin] = Link(up=reached, since="", detail="" if reached else "the link is cut")
            if not reached:
                await asyncio.sleep(0.5)
                continue
            if stream.created != created or stream.last_seq < after:
                created, after = stream.created, 0  # as our reader does: the stream is another one
            found = next(filter(self._sees, stream.behind(after)), None)
            if found is None:
                try:
                    async with asyncio.timeout(5.0):
                        await stream.grown()
                except TimeoutError:
                    pass
                continue
            await world.gate(self._site, "read", f"{origin} {found.stream_seq}")
            if world.unlucky(0.02):
                world.counts["message lost on the way"] += 1
                after = found.stream_seq
                continue
            yield found
            if world.unlucky(0.02):
                world.counts["message twice"] += 1
                yield found
            after = max(after, found.stream_seq)

    def _sees(self, message: Message) -> bool:
        return message.headers.get(ONLY_FOR, self._site) == self._site

    def links(self) -> Mapping[SiteName, Link]:
        return self._links

    async def announce(self, heads: bytes) -> None:
        world = self._world
        await world.gate(self._site, "announce")
        for name, bus in sorted(world.buses.items()):
            # Its own as well: a twin of this site would hear them.
            heard = name == self._site or (world.reach(self._site, name) and not world.unlucky(0.1))
            if heard and not bus._heads.full():
                bus._heads.put_nowait((self._site, heads))

    async def heads(self) -> AsyncGenerator[tuple[SiteName, bytes], None]:
        while True:
            yield await self._heads.get()

    async def ask(self, peer: SiteName, what: str, body: bytes, *, silence_s: float) -> AsyncGenerator[Part, None]:
        world = self._world
        await world.gate(self._site, "ask", peer)
        other = world.buses.get(peer)
        if other is None or other._answerer is None or not world.reach(self._site, peer) or _is_dead(other.process):
            raise BusUnavailable(f"{peer} does not answer")
        try:
            async for part in other._answerer(self._site, what, body):
                if world.unlucky(0.03):
                    raise BusUnavailable("a part was lost")
                await world.gate(self._site, "answered", peer)
                yield part
        except BusUnavailable:
            raise
        except LibrarianError as exc:
            raise RequestRefused(f"{peer} refused to answer {what}: {exc.message}") from exc

    async def answer(self, answerer: Answerer) -> None:
        self._answerer = answerer
        await asyncio.Event().wait()

    def leaf_key(self) -> str | None:
        return None

    def public_keys(self) -> Sequence[str]:
        return ()


class SimAdapter:
    """Copies from another site's store, over a network that breaks, and now and then spoils a byte."""

    name = "sim"
    version = 1
    capabilities = Capabilities(
        max_files=50, max_bytes=1 << 30, resumable=True, verifies_inline=False, dial=Dial.DESTINATION
    )

    def __init__(self, world: World, site: SiteName) -> None:
        self._world = world
        self._site = site

    def offer(self) -> AdapterOffer | None:
        return AdapterOffer(name="sim", version=1, address="", dial=Dial.DESTINATION)

    async def abandon(self, ticket: bytes) -> None:
        """It has none."""

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
        world = self._world
        for item in batch.items:
            await world.gate(self._site, "fetch", item.name)
            bus = world.buses.get(batch.source)
            if not world.reach(self._site, batch.source) or bus is None or _is_dead(bus.process):
                raise SourceUnreachable(f"{batch.source} is not reached")
            data = world.stores[batch.source].holds(item.name)
            if data is None:
                yield Failed(item, SourceMissing(f"{item.name} is not at {batch.source}"))
                continue
            if world.unlucky(0.02):
                world.counts["byte spoilt on the way"] += 1
                data = bytes([data[0] ^ 1]) + data[1:] if data else data
            sink = await staging.create(item, resume=True)
            half = max(sink.offset, len(data) // 2)
            for begin, end in ((sink.offset, half), (half, len(data))):
                await sink.write(data[begin:end])
                progress.moved(item, max(0, end - begin))
                if world.unlucky(0.01):
                    world.counts["link broke"] += 1
                    raise SourceUnreachable("the link broke")
            await sink.close()
            yield Landed(item)

    async def close(self) -> None:
        """Nothing is open."""


def _is_dead(process: Process | None) -> bool:
    return process is not None and process.dead
