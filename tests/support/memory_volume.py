"""What a memory store keeps: bytes under keys in one flat space, as an object store has them. It outlives the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from librarian_daemon.fs.book_tree import Extra
from librarian_daemon.ports.store import Landing
from librarian_daemon.ports.store_capabilities import Expected, InTrash
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.errors import ChecksumMismatch, LibrarianError, ManifestInvalid, SizeMismatch, SourceMissing
from librarian_protocol.manifest import ManifestReader, Member, MemberFile

OURS = ".librarian"


class Inode:
    """What was written, and what of it a power cut leaves."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.durable: bytes | None = None

    @property
    def is_durable(self) -> bool:
        """Whether a power cut leaves it as it is."""
        return self.durable == bytes(self.data)

    def settle(self) -> None:
        """Make it durable as it is."""
        self.durable = bytes(self.data)


class Volume:
    """Two flat spaces, of what is staged and of what has a name; and a little beside."""

    def __init__(self) -> None:
        self.staged: dict[str, Inode] = {}
        #: What is kept of bytes that left their name stands below ``.librarian``.
        self.named: dict[str, Inode] = {}
        #: Directories that nothing stands below: nothing else tells of them.
        self.empty: set[str] = set()
        self.manifests: dict[str, bytes] = {}
        self.lists: dict[str, bytes] = {}
        self.head: str | None = None
        #: By directory in trash, what its list names.
        self.trash_lists: dict[str, list[InTrash]] = {}
        self.mounted = True
        self.full = False

    def stands(self, path: str) -> bool:
        """Whether anything stands at the path: a file, or a directory."""
        return path in self.named or path in self.empty or any(_below(self.named, path)) or self._empty_below(path)

    def is_staged(self, key: str) -> bool:
        return key in self.staged or any(_below(self.staged, key))

    def _empty_below(self, path: str) -> bool:
        return any(directory.startswith(f"{path}/") for directory in self.empty)

    def below_a_file(self, path: str) -> bool:
        """Whether a part of the path is a file."""
        parts = path.split("/")
        return any("/".join(parts[:end]) in self.named for end in range(1, len(parts)))

    def move(self, old: str, new: str) -> None:
        """Give all that stands at a path another one."""
        for key in [old] if old in self.named else list(_below(self.named, old)):
            self.named[new + key[len(old) :]] = self.named.pop(key)
        for key in [directory for directory in self.empty if directory == old or directory.startswith(f"{old}/")]:
            self.empty.discard(key)
            self.empty.add(new + key[len(old) :])

    def remove(self, path: str) -> None:
        """Unlink all that stands at a path."""
        for key in [path] if path in self.named else list(_below(self.named, path)):
            del self.named[key]
        self.empty = {key for key in self.empty if key != path and not key.startswith(f"{path}/")}

    def give_name(self, landing: Landing) -> None:
        """Bring what is staged to its name, which is free; a book with its empty directories."""
        for key in self.staged_keys(landing.rel):
            self.named[landing.name + key[len(landing.rel) :]] = self.staged.pop(key)
        if landing.unit is Unit.BOOK:
            if not self.stands(landing.name):
                self.empty.add(str(landing.name))
            for member in members(self.manifest_of(landing) or b"", landing.digest):
                if not isinstance(member, MemberFile):
                    self.empty.add(f"{landing.name}/{member.path}")

    def keep_manifest(self, landing: Landing) -> None:
        """Bring a book's manifest and list of attributes to their places; their names are their contents."""
        staged = self.staged.pop(landing.manifest_rel, None) if landing.manifest_rel else None
        if staged is not None:
            self.manifests[landing.digest.hex] = bytes(staged.data)
        listed = self.staged.pop(landing.list_rel, None) if landing.list_rel else None
        if listed is not None and landing.attributes.list is not None:
            self.lists[landing.attributes.list.hex] = bytes(listed.data)

    def staged_keys(self, key: str) -> list[str]:
        return [key] if key in self.staged else list(_below(self.staged, key))

    def discard(self, key: str) -> None:
        for staged in self.staged_keys(key):
            del self.staged[staged]

    def manifest_of(self, wanted: Landing | Expected) -> bytes | None:
        """Of a book: in staging, or in its place already."""
        if isinstance(wanted, Landing) and wanted.manifest_rel in self.staged:
            return bytes(self.staged[wanted.manifest_rel].data)
        return self.manifests.get(wanted.digest.hex)

    def wrong_at_name(
        self, wanted: Landing | Expected, *, read_bytes: bool = True, extra: Extra | None = None
    ) -> LibrarianError | None:
        """What is wrong with what stands at the name; None where it is the file."""
        path = str(wanted.name)
        if not self.stands(path):
            return SourceMissing(f"nothing stands at {path!a}")
        if wanted.unit is Unit.FILE:
            return _wrong_file(self.named.get(path), wanted.size_bytes, wanted.digest if read_bytes else None)
        if path in self.named:
            return ChecksumMismatch("it is not a directory, as a book is")
        empty = {directory[len(path) + 1 :] for directory in self.empty if directory.startswith(f"{path}/")}
        return self._wrong_book(_tree(self.named, path), wanted, empty, read_bytes=read_bytes, extra=extra)

    def wrong_staged(self, landing: Landing, *, read_bytes: bool) -> LibrarianError | None:
        """Likewise of what is staged; empty directories are not staged."""
        if not self.is_staged(landing.rel) and not self._is_empty_book(landing):
            return SourceMissing(f"the bytes of {landing.name!a} are neither staged nor at their name")
        if landing.unit is Unit.FILE:
            inode = self.staged.get(landing.rel)
            return _wrong_file(inode, landing.size_bytes, landing.digest if read_bytes else None)
        return self._wrong_book(_tree(self.staged, landing.rel), landing, None, read_bytes=read_bytes, extra=None)

    def _is_empty_book(self, landing: Landing) -> bool:
        return landing.unit is Unit.BOOK and landing.manifest_rel in self.staged

    def _wrong_book(
        self,
        tree: Mapping[str, Inode],
        wanted: Landing | Expected,
        empty: set[str] | None,
        *,
        read_bytes: bool,
        extra: Extra | None,
    ) -> LibrarianError | None:
        """``empty`` are its empty directories; None where they are not made yet."""
        text = self.manifest_of(wanted)
        if text is None:
            return SourceMissing(f"no manifest of {wanted.digest} is stored")
        beside = {*tree, *(empty or ())}
        try:
            for member in members(text, wanted.digest):
                path = str(member.path)
                beside.discard(path)
                if isinstance(member, MemberFile):
                    inode = tree.get(path)
                    if inode is None:
                        return ChecksumMismatch(f"member {path!a} of the book is missing")
                    wrong = _wrong_file(inode, member.size_bytes, member.digest if read_bytes else None)
                    if wrong is not None:
                        return ChecksumMismatch(f"member {path!a}: {wrong.message}")
                elif empty is not None and path not in empty and not any(_below(tree, path)):
                    return ChecksumMismatch(f"directory {path!a} of the book is missing")
        except ManifestInvalid as exc:
            return ChecksumMismatch(exc.message)
        if extra is None:
            return ChecksumMismatch(f"{min(beside)!a} is no member of the book") if beside else None
        for path in sorted(beside):
            extra.add(path.encode())
        return None


def members(text: bytes, digest: Digest) -> Iterator[Member]:
    """Of a manifest.

    Raises:
        ManifestInvalid: it is not one, or (after its last member) not the one of that digest.
    """
    reader = ManifestReader()
    yield from reader.feed(text)
    found = reader.finish()
    if found != digest:
        raise ManifestInvalid(f"the manifest is {found}, not {digest}")


def _wrong_file(inode: Inode | None, size_bytes: int, digest: Digest | None) -> LibrarianError | None:
    if inode is None:
        return ChecksumMismatch("it is not a regular file")
    if len(inode.data) != size_bytes:
        return SizeMismatch(f"it has {len(inode.data)} bytes, not {size_bytes}")
    if digest is not None and (found := Digest.blake3(bytes(inode.data))) != digest:
        return ChecksumMismatch(f"its bytes are {found}, not {digest}")
    return None


def _below(space: Mapping[str, Inode], path: str) -> Iterator[str]:
    return (key for key in space if key.startswith(f"{path}/"))


def _tree(space: Mapping[str, Inode], path: str) -> dict[str, Inode]:
    return {key[len(path) + 1 :]: space[key] for key in _below(space, path)}


def children(volume: Volume, directory: str) -> Sequence[tuple[str, bool, int]]:
    """What stands directly in a directory: path, whether it is one itself, size in bytes. ``""`` is the store."""
    below = f"{directory}/" if directory else ""
    paths = [key for key in (*volume.named, *volume.empty) if key.startswith(below)]
    names = sorted({key[len(below) :].partition("/")[0] for key in paths} - ({OURS} if not directory else set()))
    found = [(below + name, volume.named.get(below + name)) for name in names]
    return [(path, inode is None, 0 if inode is None else len(inode.data)) for path, inode in found]
