"""Whether what the catalog takes for present is really there: only then may dropped bytes go."""

from __future__ import annotations

from librarian_adapters.contract import Part
from librarian_daemon.intake.examine import Examined
from librarian_daemon.ports import Store
from librarian_protocol.digests import Digest
from librarian_protocol.errors import ManifestInvalid, SourceMissing
from librarian_protocol.manifest import MemberFile
from librarian_protocol.names import MemberPath, Name


async def is_in_store(store: Store, name: Name, found: Examined) -> bool:
    """Whether the instance opens and has its size, a book: the manifest, and every member its own.

    Raises:
        StoreNotMounted, StoreFault: the store does not answer.
    """
    try:
        if found.members is None:
            return await _size(store, name, found.digest, Part.FILE, None) == found.size_bytes
        async for page in store.manifest(found.digest):
            for member in page:
                if not isinstance(member, MemberFile):
                    continue
                size_bytes = await _size(store, name, found.digest, Part.MEMBER, member.path)
                if size_bytes != member.size_bytes:
                    return False
    except (SourceMissing, ManifestInvalid):
        return False
    return True


async def _size(store: Store, name: Name, digest: Digest, part: Part, member: MemberPath | None) -> int:
    reader = await store.open_part(name, digest, part, member)
    try:
        return reader.size_bytes
    finally:
        reader.close()
