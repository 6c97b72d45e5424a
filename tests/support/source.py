"""A store directory full of files and books, and the real data plane that gives them away."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from tests.support.parts import read_each

from librarian_adapters.contract import Item, Part
from librarian_adapters.source_file import open_source
from librarian_daemon.dataplane.gate import DataLimits, Gate
from librarian_daemon.dataplane.routes import DataPlane
from librarian_daemon.dataplane.sender import Holding, Sender
from librarian_daemon.ports.store import PartRead, WantedPart
from librarian_daemon.runtime.tcp_server import ServerLimits, TcpServer, application
from librarian_daemon.transfers.pauses import PeerPaused, no_peer_paused
from librarian_protocol import requests
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import StoreFault, StoreNotMounted
from librarian_protocol.keys import SiteKey
from librarian_protocol.manifest import HEADER, MemberFile, line
from librarian_protocol.names import MemberPath, Name, SiteName

SUMMIT = SiteName.parse("summit")
ARCHIVE = SiteName.parse("archive")
STORE = "0123456789abcdef"
NOW = 1_700_000_000


def noise(size_bytes: int, seed: int = 0) -> bytes:
    """Bytes that repeat nowhere, the same each time."""
    return hashlib.shake_256(str(seed).encode()).digest(size_bytes)


class StoppedClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = NOW

    def utc(self) -> str:
        return "2023-11-14T22:13:20.000000Z"

    def unix_s(self) -> int:
        return self.now

    def boottime_s(self) -> float:
        return float(self.now)

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


class OpenFile:
    """A :class:`librarian_daemon.ports.store.Reader`."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    async def read(self, begin: int, size_bytes: int) -> bytes:
        try:
            return os.pread(self._descriptor, size_bytes, begin)
        except OSError as exc:
            raise StoreFault(exc.strerror or str(exc)) from exc

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Collection:
    """Files and books below a root, as a store has them; what the data plane reads, and remembers as suspect."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".librarian" / "manifests").mkdir(parents=True)
        (root / ".librarian" / "store").write_text(f'{{"id": "{STORE}", "label": "raw", "site": "summit"}}\n')
        self.mounted = True
        self.suspected: list[tuple[Digest, str]] = []
        #: The keys of admitted sites.
        self.keys: dict[SiteName, str] = {}
        #: How often anything was looked up.
        self.lookups = 0
        #: What is not offered to whom, and who may read nothing at all, and why.
        self.kept_from: set[tuple[SiteName, Digest]] = set()
        self.may_not: dict[SiteName, str] = {}
        self._holdings: dict[Digest, Holding] = {}

    @staticmethod
    def item(name: str, data: bytes) -> Item:
        """The item that asks for such a file, its name also its key."""
        digest = Digest.blake3(data)
        return Item(
            key=name,
            part=Part.FILE,
            name=Name.parse(name),
            file_digest=digest,
            digest=digest,
            size_bytes=len(data),
        )

    def add(self, name: str, data: bytes) -> Item:
        """A file; the item that asks for it."""
        item = self.item(name, data)
        self._write(self.root / name, data)
        self._hold(item.name, item.digest, Unit.FILE, len(data))
        return item

    def add_book(self, name: str, members: Mapping[str, bytes]) -> list[Item]:
        """A book; the items that ask for its manifest and its members."""
        files = [MemberFile(MemberPath.parse(path), len(data), Digest.blake3(data)) for path, data in members.items()]
        files.sort(key=lambda member: member.path.encode())
        manifest = HEADER + b"".join(line(member) for member in files)
        digest = Digest.blake3(manifest)
        self._write(self.root / ".librarian" / "manifests" / digest.hex, manifest)
        self._hold(Name.parse(name), digest, Unit.BOOK, sum(member.size_bytes for member in files))
        key = f"b-{digest.hex[:16]}"
        items = [
            Item(
                key=f"{key}-manifest",
                part=Part.MANIFEST,
                name=Name.parse(name),
                file_digest=digest,
                digest=digest,
                size_bytes=1 << 20,
            )
        ]
        for member in files:
            self._write(self.root / name / member.path, members[member.path])
            items.append(
                Item(
                    key=f"{key}/{member.path}",
                    part=Part.MEMBER,
                    name=Name.parse(name),
                    file_digest=digest,
                    member=member.path,
                    digest=member.digest,
                    size_bytes=member.size_bytes,
                )
            )
        return items

    def add_list(self, manifest: Item, text: bytes) -> Item:
        """A list of the attributes of a book's members; the item that asks for it."""
        digest = Digest.blake3(text)
        self._write(self.root / ".librarian" / "attributes" / digest.hex, text)
        key = f"{manifest.key.removesuffix('-manifest')}-attributes"
        return msgspec.structs.replace(manifest, key=key, part=Part.ATTRIBUTES, digest=digest)

    def path(self, item: Item) -> Path:
        """Where the item's bytes stand."""
        if item.part is Part.ATTRIBUTES:
            return self.root / ".librarian" / "attributes" / item.digest.hex
        if item.part is Part.MANIFEST:
            return self.root / ".librarian" / "manifests" / item.file_digest.hex
        return self.root / item.name / (item.member or "")

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def _hold(self, name: Name, digest: Digest, unit: Unit, size_bytes: int) -> None:
        self._holdings[digest] = Holding(name=name, digest=digest, unit=unit, size_bytes=size_bytes, store=self)

    # ---- the data plane's ports ----

    def roster(self) -> Mapping[SiteName, str]:
        return self.keys

    def may_read(self, site: SiteName) -> str:
        return self.may_not.get(site, "")

    async def find(self, asker: SiteName, digests: Sequence[Digest]) -> Mapping[Digest, Holding]:
        self.lookups += 1
        return {
            digest: msgspec.structs.replace(self._holdings[digest], offered=(asker, digest) not in self.kept_from)
            for digest in digests
            if digest in self._holdings
        }

    async def missing(self, digest: Digest, reason: str) -> None:
        self.suspected.append((digest, reason))

    async def open_part(self, name: Name, digest: Digest, part: str, member: MemberPath | None) -> OpenFile:
        if not self.mounted:
            raise StoreNotMounted("the store is not mounted at /secret/place")
        root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if part == Part.MANIFEST:
                path = [".librarian", "manifests", digest.hex]
            elif part == Part.ATTRIBUTES:
                path = [".librarian", "attributes", digest.hex]
            else:
                path = [*name.split("/"), *([] if member is None else member.split("/"))]
            return OpenFile(*open_source(root, path))
        finally:
            os.close(root)

    async def read_parts(self, wanted: Sequence[WantedPart]) -> Sequence[PartRead]:
        return await read_each(self, wanted)


class Destination:
    """The site that asks: its key, and how it signs."""

    def __init__(self, name: SiteName = ARCHIVE, seed: int = 1) -> None:
        self.name = name
        self.key = SiteKey(bytes([seed]) * 32)
        self.expires = NOW + requests.LIFETIME_S

    def sign(
        self,
        *,
        source: SiteName,
        method: str,
        target: str,
        range: str,  # noqa: A002 -- the contract's name
        body: bytes,
    ) -> dict[str, str]:
        request = requests.Request(
            source=source,
            destination=self.name,
            method=method,
            target=target,
            range=range,
            body=body,
            expires=self.expires,
        )
        return requests.sign(request, self.key)


class Source:
    """The data plane of ``collection``, listening on the loopback interface."""

    def __init__(
        self,
        collection: Collection,
        *,
        limits: DataLimits | None = None,
        server_limits: ServerLimits | None = None,
        tls: ssl.SSLContext | None = None,
        paused: PeerPaused = no_peer_paused,
    ) -> None:
        self.clock = StoppedClock()
        gate = Gate(site=SUMMIT, clock=self.clock, holdings=collection, limits=limits, paused=paused)
        self.giver = Sender(SUMMIT, collection, collection)
        self.plane = DataPlane(gate, self.giver)
        self._tls = tls
        app = application(4 << 20)
        app.add_routes(self.plane.routes())
        self._server = TcpServer(app, server_limits)
        self.port = 0

    async def start(self, host: str = "127.0.0.1") -> None:
        self.port = await self._server.start(host, 0, self._tls)

    async def stop(self) -> None:
        await self._server.stop()

    @property
    def address(self) -> str:
        return f"{'https://' if self._tls else ''}127.0.0.1:{self.port}"
