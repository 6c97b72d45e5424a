"""Stores for tests, and files and books staged in them. POSIX ones by ``MAKERS``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from librarian_adapters.contract import Item, Part
from librarian_daemon.ports.store import Landing, Placed, Store
from librarian_daemon.ports.store_capabilities import Expected
from librarian_daemon.stores.posix.layout import Marker
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol import manifest
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested, StoreRole, Unit
from librarian_protocol.manifest import MemberDirectory, MemberFile
from librarian_protocol.names import MemberPath, Name, SiteName

STORE_ID = "fedcba9876543210fedcba9876543210"


def posix(root: Path, *, use_syncfs: bool = False) -> PosixStore:
    marker = Marker(id=STORE_ID, label="archive", site=SiteName.parse("here"))
    PosixStore.create(str(root), marker)
    return PosixStore(str(root), marker, StoreRole.ARCHIVE, sync="syncfs" if use_syncfs else "fsync")


def posix_syncfs(root: Path) -> PosixStore:
    return posix(root, use_syncfs=True)


MAKERS: dict[str, Callable[[Path], PosixStore]] = {"posix": posix, "posix-syncfs": posix_syncfs}


async def stored(store: Store, landing: Landing) -> None:
    """Sealed, and at its name."""
    (sealed,) = await store.seal([landing])
    assert isinstance(sealed, Landing)
    (placed,) = await store.place([sealed])
    assert isinstance(placed, Placed)


async def read(store: Store, name: str, digest: Digest, part: str, member: str | None = None) -> bytes:
    """All of a part, in two pieces; where there is a descriptor, by that, too."""
    reader = await store.open_part(Name.parse(name), digest, part, None if member is None else MemberPath.parse(member))
    try:
        half = reader.size_bytes // 2
        data = await reader.read(0, half) + await reader.read(half, reader.size_bytes)
        assert len(data) == reader.size_bytes
        descriptor = reader.fileno()
        assert descriptor is None or os.pread(descriptor, reader.size_bytes + 1, 0) == data
        return data
    finally:
        reader.close()
        reader.close()


def file_item(key: str, data: bytes) -> Item:
    digest = Digest.blake3(data)
    name = Name.parse("any")
    return Item(key=key, part=Part.FILE, name=name, file_digest=digest, digest=digest, size_bytes=len(data))


def entry(name: str, digest: Digest, size_bytes: int, unit: Unit) -> FileIngested:
    return FileIngested(
        name=Name.parse(name), digest=digest, size_bytes=size_bytes, unit=unit, store=STORE_ID, mtime_ns=0
    )


def expected(landing: Landing) -> Expected:
    """What should stand at the name once it has landed."""
    return Expected(name=landing.name, digest=landing.digest, unit=landing.unit, size_bytes=landing.size_bytes)


async def staged(store: Store, key: str, name: str, data: bytes) -> Landing:
    """Bytes in staging, and the landing that would bring them to their name."""
    await store.staging.put([(file_item(key, data), data)])
    digest = Digest.blake3(data)
    return Landing(
        id=key,
        store=store.id,
        root=store.staging_root,
        rel=key,
        name=Name.parse(name),
        digest=digest,
        size_bytes=len(data),
        unit=Unit.FILE,
        entry=entry(name, digest, len(data), Unit.FILE),
    )


def manifest_of(files: Mapping[str, bytes], empty: list[str]) -> bytes:
    members: list[MemberFile | MemberDirectory] = [
        MemberFile(MemberPath.parse(path), len(data), Digest.blake3(data)) for path, data in files.items()
    ]
    members += [MemberDirectory(MemberPath.parse(path)) for path in empty]
    members.sort(key=lambda member: os.fsencode(member.path))
    return manifest.HEADER + b"".join(manifest.line(member) for member in members)


async def staged_book(store: Store, key: str, name: str, files: Mapping[str, bytes], empty: list[str]) -> Landing:
    """As an adapter leaves a book: members and manifest, no empty directories."""
    text = manifest_of(files, empty)
    digest = Digest.blake3(text)
    name_ = Name.parse(name)
    items = [
        (
            Item(
                key=f"{key}/{path}",
                part=Part.MEMBER,
                name=name_,
                file_digest=digest,
                member=MemberPath.parse(path),
                digest=Digest.blake3(data),
                size_bytes=len(data),
            ),
            data,
        )
        for path, data in files.items()
    ]
    whole = Item(
        key=f"{key}-manifest",
        part=Part.MANIFEST,
        name=name_,
        file_digest=digest,
        digest=digest,
        size_bytes=len(text),
    )
    await store.staging.put([*items, (whole, text)])
    size_bytes = sum(map(len, files.values()))
    return Landing(
        id=key,
        store=store.id,
        root=store.staging_root,
        rel=key,
        name=name_,
        digest=digest,
        size_bytes=size_bytes,
        unit=Unit.BOOK,
        manifest_rel=f"{key}-manifest",
        entry=entry(name, digest, size_bytes, Unit.BOOK),
    )
