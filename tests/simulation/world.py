"""What the sites of a simulation share, and what is between them: gates, trace, network, streams, stores.

Nothing durable exists outside of the ports below, so a crash at one of their gates is as good as one anywhere.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, cast

from blake3 import blake3
from tests.simulation.loop import PROCESS, Process, SimLoop

from librarian_adapters.contract import Batch, Buffer, Capabilities, Failed, Item, Landed, Outcome, Progress, Staging
from librarian_daemon.ports import (
    Answerer,
    BusMember,
    BusState,
    Check,
    Landing,
    Link,
    Message,
    NotPlaced,
    Part,
    Placed,
    Space,
    Stored,
    StreamPosition,
)
from librarian_daemon.store.looking import Standing
from librarian_protocol.digests import Digest
from librarian_protocol.entries import AdapterOffer, Dial, StoreRole, Unit
from librarian_protocol.errors import (
    BusUnavailable,
    ChecksumMismatch,
    LibrarianError,
    NameOccupied,
    SizeMismatch,
    SourceMissing,
    SourceUnreachable,
    StoreError,
    StoreFault,
    StoreFull,
)
from librarian_protocol.manifest import Member
from librarian_protocol.names import MemberPath, Name, SiteName


class Trace:
    """A hash over all that happened, and the last of it."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.last: deque[str] = deque(maxlen=400)

    def add(self, line: str) -> None:
        self._hash.update(line.encode())
        self.last.append(line)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


class World:
    """One simulation's surroundings."""

    def __init__(self, loop: SimLoop, names: Sequence[SiteName]) -> None:
        self.loop = loop
        self.chance = loop.chance
        self.names = list(names)
        self.trace = Trace()
        self.counts: Counter[str] = Counter()
        #: Crashes to come: at which site, at the how-manieth operation of which kind.
        self.crashes: dict[tuple[SiteName, str], list[int]] = {}
        self.operations: Counter[tuple[SiteName, str]] = Counter()
        self.crashed: asyncio.Queue[tuple[SiteName, bool]] = asyncio.Queue()
        #: Pairs of sites that do not reach one another now.
        self.cuts: set[frozenset[SiteName]] = set()
        self.faults = True
        self.streams = {name: Stream(self) for name in names}
        self.stores = {name: SimStore(self, name) for name in names}
        self.buses: dict[SiteName, SimBus] = {}

    def violated(self, what: str) -> None:
        """A rule is broken: the run ends."""
        self.loop.trouble.append(what)

    def reach(self, one: SiteName, other: SiteName) -> bool:
        return one == other or frozenset((one, other)) not in self.cuts

    def unlucky(self, share: float) -> bool:
        return self.faults and self.chance.random() < share

    async def gate(self, site: SiteName, kind: str, detail: str = "") -> None:
        """Before and after each effect: some time passes, and here the site may die."""
        await asyncio.sleep(self.chance.random() * 0.004)
        self.operations[site, kind] += 1
        self.trace.add(f"{self.loop.now_s:.6f} {site} {kind} {detail}")
        planned = self.crashes.get((site, kind))
        if planned and self.faults and self.operations[site, kind] == planned[0]:
            planned.pop(0)
            await self.die(site, kind)

    async def die(self, site: SiteName, kind: str) -> None:
        process = PROCESS.get()
        assert process is not None
        self.end(site, process, kind)
        await asyncio.Event().wait()

    def end(self, site: SiteName, process: Process, kind: str) -> None:
        """The daemon is killed, or its machine loses power."""
        power = self.chance.random() < 0.5
        self.counts[f"{'power cut' if power else 'kill'} at {kind}"] += 1
        self.trace.add(f"{self.loop.now_s:.6f} {site} DIES at {kind}")
        self.loop.kill(process)
        if power:
            self.stores[site].lose_power()
        self.crashed.put_nowait((site, power))


# ---- clock and chance ------------------------------------------------------------------------------------


class SimClock:
    """Each site's own: it goes wrong by days."""

    def __init__(self, world: World, skew_s: float) -> None:
        self._loop = world.loop
        self._skew_s = skew_s

    def utc(self) -> str:
        micros = int((1_900_000_000 + self._loop.now_s + self._skew_s) * 1e6)
        seconds, rest = divmod(micros, 1_000_000)
        days, left = divmod(seconds, 86400)
        year, month, day = _date(days)
        hour, minute = divmod(left // 60, 60)
        return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{left % 60:02}.{rest:06}Z"

    def unix_s(self) -> int:
        return int(1_900_000_000 + self._loop.now_s + self._skew_s)

    def boottime_s(self) -> float:
        return self._loop.now_s + 1000.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _date(days: int) -> tuple[int, int, int]:
    """Civil date of a day since 1970 (Hinnant's algorithm)."""
    days += 719468
    era, doe = divmod(days, 146097)
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    return yoe + era * 400 + (month <= 2), month, doy - (153 * mp + 2) // 5 + 1


class SimRng:
    """From the seed."""

    def __init__(self, world: World) -> None:
        self._chance = world.chance

    def hex(self, digits: int) -> str:
        return self._chance.randbytes(digits // 2).hex()

    def bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)


# ---- bus -------------------------------------------------------------------------------------------------


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

    async def grown(self) -> None:
        await self._grown.wait()


class SimBus:
    """Implements the ``Bus`` port as far as services of one site use it."""

    def __init__(self, world: World, site: SiteName) -> None:
        self._world = world
        self._site = site
        self._members: dict[SiteName, BusMember] = {}
        self._heads: asyncio.Queue[tuple[SiteName, bytes]] = asyncio.Queue(maxsize=64)
        self._answerer: Answerer | None = None
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
            if not world.reach(self._site, origin):
                await asyncio.sleep(0.5)
                continue
            if stream.created != created or stream.last_seq < after:
                created, after = stream.created, 0  # as our reader does: the stream is another one
            found = next((one for one in stream.messages if one.stream_seq > after), None)
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

    def links(self) -> Mapping[SiteName, Link]:
        return {}

    async def announce(self, heads: bytes) -> None:
        world = self._world
        await world.gate(self._site, "announce")
        for name, bus in sorted(world.buses.items()):
            heard = name != self._site and world.reach(self._site, name) and not world.unlucky(0.1)
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
        async for part in other._answerer(self._site, what, body):
            if world.unlucky(0.03):
                raise BusUnavailable("a part was lost")
            await world.gate(self._site, "answered", peer)
            yield part

    async def answer(self, answerer: Answerer) -> None:
        self._answerer = answerer
        await asyncio.Event().wait()

    def leaf_key(self) -> str | None:
        return None

    def public_keys(self) -> Sequence[str]:
        return ()


def _is_dead(process: Process | None) -> bool:
    return process is not None and process.dead


# ---- stores ----------------------------------------------------------------------------------------------


class Bytes:
    """An inode: what was written, and what of it a power cut leaves."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.synced: bytes | None = None


class SimStore:
    """Implements the ``Store`` port: single files; memory that outlives daemons; power cuts take what is not sealed."""

    role = StoreRole.ARCHIVE

    def __init__(self, world: World, site: SiteName) -> None:
        self.world = world
        self.site = site
        self.id = blake3(str(site).encode()).hexdigest()[:32]
        self.label = "main"
        self.root = f"/sim/{site}"
        self.in_staging: dict[str, Bytes] = {}
        self.named: dict[str, Bytes] = {}
        self.head = ""
        self.full = False

    @property
    def staging(self) -> Staging:
        both: Any = self
        return cast("Staging", both)

    @property
    def staging_root(self) -> str:
        return f"{self.root}/.librarian/staging"

    def lose_power(self) -> None:
        """What was not made durable is torn, empty or gone."""
        for key in sorted(self.in_staging):
            inode = self.in_staging[key]
            if inode.synced is None:
                fate = self.world.chance.random()
                if fate < 0.4:
                    del self.in_staging[key]
                else:
                    del inode.data[int(len(inode.data) * self.world.chance.random()) if fate < 0.7 else 0 :]

    def holds(self, name: str) -> bytes | None:
        inode = self.named.get(name)
        return None if inode is None else bytes(inode.data)

    # ---- staging ----

    async def create(self, item: Item, *, resume: bool = False) -> SimSink:
        await self.world.gate(self.site, "stage", item.key)
        self.maybe_fail()
        if not resume or item.key not in self.in_staging or len(self.in_staging[item.key].data) > item.size_bytes:
            self.in_staging[item.key] = Bytes()
        return SimSink(self, self.in_staging[item.key], item.key)

    async def put(self, items: Sequence[tuple[Item, Buffer]]) -> None:
        for item, data in items:
            await self.world.gate(self.site, "stage", item.key)
            self.maybe_fail()
            self.in_staging[item.key] = Bytes(bytes(data))

    def maybe_fail(self) -> None:
        if self.full and self.world.faults:
            raise StoreFull("no space left")
        if self.world.unlucky(0.005):
            self.world.counts["store error"] += 1
            raise StoreFault("an I/O error")

    async def read_back(self, item: Item) -> tuple[int, Digest]:
        inode = self.in_staging.get(item.key)
        if inode is None:
            raise StoreFault(f"nothing is staged for {item.key}")
        return len(inode.data), Digest.blake3(bytes(inode.data))

    async def read_back_many(self, items: Sequence[Item]) -> Sequence[tuple[int, Digest] | StoreError]:
        await self.world.gate(self.site, "read-back")
        found: list[tuple[int, Digest] | StoreError] = []
        for item in items:
            try:
                found.append(await self.read_back(item))
            except StoreError as exc:
                found.append(exc)
        return found

    async def scratch(self, name: str) -> Any:
        raise StoreFault("no program writes here")

    async def discard(self, item_or_keys: Any) -> None:
        keys = [item_or_keys.key] if isinstance(item_or_keys, Item) else item_or_keys
        for key in keys:
            self.in_staging.pop(key, None)

    # ---- the commit protocol ----

    async def open(self) -> None:
        """It is there."""

    async def seal(self, landings: Sequence[Landing]) -> Sequence[Landing | NotPlaced]:
        done: list[Landing | NotPlaced] = []
        for landing in landings:
            await self.world.gate(self.site, "seal", landing.name)
            inode = self.in_staging.get(landing.rel)
            if inode is None or len(inode.data) != landing.size_bytes:
                done.append(NotPlaced(landing, SourceMissing("it is not staged")))
                continue
            if self.world.unlucky(0.005):
                self.world.counts["fsync failed"] += 1
                del self.in_staging[landing.rel]
                done.append(NotPlaced(landing, StoreFault("fsync failed")))
                continue
            inode.synced = bytes(inode.data)
            done.append(landing)
        return done

    async def place(self, landings: Sequence[Landing]) -> Sequence[Placed | NotPlaced]:
        return [await self._place(landing) for landing in landings]

    async def _place(self, landing: Landing) -> Placed | NotPlaced:
        await self.world.gate(self.site, "place", landing.name)
        standing, staged = self.named.get(landing.name), self.in_staging.get(landing.rel)
        if standing is not None:
            if Digest.blake3(bytes(standing.data)) != landing.digest:
                return NotPlaced(landing, NameOccupied(f"{landing.name} holds other bytes"))
            self.in_staging.pop(landing.rel, None)
            return Placed(landing)
        if staged is None:
            return NotPlaced(landing, SourceMissing("it is neither staged nor at its name"))
        if staged.synced != bytes(staged.data):
            self.world.violated(f"I1: {self.site} gives {landing.name} a name before its bytes are durable")
        self.named[landing.name] = self.in_staging.pop(landing.rel)
        await self.world.gate(self.site, "placed", landing.name)
        return Placed(landing)

    async def recover(self, landing: Landing) -> Placed | NotPlaced:
        await self.world.gate(self.site, "recover", landing.name)
        for there in (self.named.get(landing.name), self.in_staging.get(landing.rel)):
            if there is not None and Digest.blake3(bytes(there.data)) == landing.digest:
                there.synced = bytes(there.data)
                return await self._place(landing)
        return NotPlaced(landing, ChecksumMismatch("its bytes are not here"))

    async def check(self, name: Name, digest: Digest, unit: Unit, size_bytes: int) -> Check:
        await self.world.gate(self.site, "check", name)
        data = self.holds(name)
        if data is None:
            return Check(size_bytes=0, digest=None, error=SourceMissing(f"{name} is not in the store"))
        found = Digest.blake3(data)
        error = None if found == digest else ChecksumMismatch(f"{name} has other bytes")
        return Check(size_bytes=len(data), digest=found, error=error)

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> Any:
        raise StoreFault("the simulation reads otherwise")

    def manifest(self, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        raise StoreFault("there are no books here")

    def staged_manifest(self, key: str, digest: Digest) -> AsyncIterator[Sequence[Member]]:
        raise StoreFault("there are no books here")

    # ---- looking ----

    async def look(self, wanted: Sequence[Landing]) -> list[LibrarianError | None]:
        await self.world.gate(self.site, "look")
        return [self._look(one) for one in wanted]

    def _look(self, wanted: Landing) -> LibrarianError | None:
        data = self.holds(wanted.name)
        if data is None:
            return SourceMissing(f"nothing stands at {wanted.name}")
        return None if len(data) == wanted.size_bytes else SizeMismatch(f"{wanted.name} has {len(data)} bytes")

    async def entries(self, directory: bytes) -> AsyncIterator[Sequence[Standing]]:
        """One page: names have one directory here."""
        await self.world.gate(self.site, "list", directory.decode())
        below = f"{directory.decode()}/" if directory else ""
        names = [name for name in sorted(self.named) if name.startswith(below)]
        children = sorted({name[len(below) :].partition("/")[0] for name in names})
        paths = [below + child for child in children]
        yield [
            Standing(
                path=path.encode(),
                directory=path not in self.named,
                other=False,
                size_bytes=len(self.holds(path) or b""),
            )
            for path in paths
        ]

    async def books(self) -> Any:
        return None

    async def book_candidates(self, _finder: Any, _directory: bytes) -> Sequence[Any]:
        return []

    async def space(self) -> Space:
        return Space(total_bytes=1 << 40, free_bytes=0 if self.full else 1 << 39, total_inodes=1, free_inodes=1)

    async def has_staged(self, key: str) -> bool:
        return key in self.in_staging

    async def staged(self) -> frozenset[str]:
        return frozenset(self.in_staging)

    async def read_head(self) -> str:
        return self.head

    async def write_head(self, text: str) -> None:
        await self.world.gate(self.site, "head")
        self.head = text

    def close(self) -> None:
        """Nothing is open."""


class SimSink:
    """Appends."""

    def __init__(self, store: SimStore, inode: Bytes, key: str) -> None:
        self._store = store
        self._inode = inode
        self._key = key
        self.offset = len(inode.data)

    async def write(self, data: Buffer) -> None:
        await self._store.world.gate(self._store.site, "write", self._key)
        self._store.maybe_fail()
        self._inode.data += data

    def fileno(self) -> int | None:
        return None

    async def close(self) -> None:
        """Nothing is kept."""


# ---- moving bytes ----------------------------------------------------------------------------------------


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
