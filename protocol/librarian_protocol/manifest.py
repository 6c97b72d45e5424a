"""A book's manifest: what its members are, in one canonical text whose blake3 is the book's digest.

::

    librarian-manifest 1
    D <path>                        an *empty* directory
    F <size> <blake3 hex> <path>    a file

Lines are sorted by the raw bytes of the path; there are no modes, owners or times (docs/architecture.md). Both writing
and reading stream: a book may have a million members, and none of this ever holds them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec
from blake3 import blake3

from librarian_protocol.digests import Digest
from librarian_protocol.entries import MAX_SIZE_BYTES
from librarian_protocol.errors import ManifestInvalid, NameInvalid
from librarian_protocol.names import MemberPath

HEADER = b"librarian-manifest 1\n"
#: ``F``, 20 digits, 64 hex digits, a path of at most 1024 bytes, blanks and the newline.
MAX_LINE_BYTES = 1024 + 96
SLASH = 0x2F
_FILE = re.compile(rb"F (0|[1-9][0-9]{0,18}) ([0-9a-f]{64}) (.+)\n\Z", re.DOTALL)
_DIRECTORY = re.compile(rb"D (.+)\n\Z", re.DOTALL)


class MemberFile(msgspec.Struct, frozen=True):
    """A regular file of a book."""

    path: MemberPath
    size_bytes: int
    digest: Digest


class MemberDirectory(msgspec.Struct, frozen=True):
    """An empty directory of a book."""

    path: MemberPath


Member = MemberFile | MemberDirectory


def line(member: Member) -> bytes:
    """The manifest line of one member, newline included."""
    if isinstance(member, MemberFile):
        return f"F {member.size_bytes} {member.digest.hex} {member.path}\n".encode()
    return f"D {member.path}\n".encode()


class ManifestReader:
    """Checks a manifest while it streams by: form, order, and nothing standing where something else stands.

    After the last line, :meth:`finish` gives the digest; ``files``, ``size_bytes`` count what was read.
    """

    def __init__(self) -> None:
        self._hash = blake3()
        self._line = 0
        self._last = b""
        #: Members that the next path could still illegally lie below, each a prefix of the one after it.
        self._above: list[bytes] = []
        self._tail = b""
        self.files = 0
        self.size_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[Member]:
        """Members completed by this chunk, in order.

        Raises:
            ManifestInvalid: with the number of the line and what is wrong with it.
        """
        lines = _split(self._tail + chunk)
        self._tail = lines.pop()
        if len(self._tail) > MAX_LINE_BYTES:
            raise ManifestInvalid(f"manifest line {self._line + 1} is longer than {MAX_LINE_BYTES} bytes")
        for text in lines:
            self._line += 1
            self._hash.update(text)
            if self._line == 1:
                if text != HEADER:
                    raise ManifestInvalid(f"manifest begins with {_shown(text[:40])!a}, not with {_shown(HEADER)!a}")
                continue
            yield self._member(text)

    def _member(self, text: bytes) -> Member:
        where = f"manifest line {self._line}"
        is_file = _FILE.match(text)
        is_directory = None if is_file else _DIRECTORY.match(text)
        if is_file:
            raw = is_file[3]
        elif is_directory:
            raw = is_directory[1]
        else:
            raise ManifestInvalid(f"{where} is neither 'F <size> <blake3> <path>' nor 'D <path>'")
        try:
            path = MemberPath.parse(raw)
        except NameInvalid as exc:
            raise ManifestInvalid(f"{where}: {exc.message}") from exc
        if raw <= self._last:
            raise ManifestInvalid(f"{where}: {path!a} is out of order or repeated")
        # "a/x" sorts after "a", "a." and all else that continues "a" with a byte below "/": hence a stack.
        while self._above and not (raw.startswith(self._above[-1]) and raw[len(self._above[-1])] <= SLASH):
            self._above.pop()
        if self._above and raw[len(self._above[-1])] == SLASH:
            raise ManifestInvalid(f"{where}: {path!a} lies below {_shown(self._above[-1])!a}, itself a member")
        self._above.append(raw)
        self._last = raw
        if is_file:
            member = MemberFile(path, int(is_file[1]), Digest.parse(f"blake3:{is_file[2].decode()}"))
            if member.size_bytes > MAX_SIZE_BYTES - self.size_bytes:
                raise ManifestInvalid(f"{where}: the book has more than {MAX_SIZE_BYTES} bytes")
            self.files += 1
            self.size_bytes += member.size_bytes
            return member
        return MemberDirectory(path)

    def finish(self) -> Digest:
        """The digest of the whole manifest, which is the book's digest.

        Raises:
            ManifestInvalid: the text ended inside a line, or before its first.
        """
        if self._tail or self._line == 0:
            raise ManifestInvalid("manifest ends in the middle of a line")
        return Digest(f"blake3:{self._hash.hexdigest()}")


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace").rstrip("\n")


def _split(data: bytes) -> list[bytes]:
    """Lines with their ``\\n``, and what is left after the last one (perhaps empty)."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + [parts[-1]]


def read(chunks: Iterable[bytes]) -> Iterator[Member]:
    """Members of a manifest whose digest was checked before.

    Raises:
        ManifestInvalid: as :class:`ManifestReader`.
    """
    reader = ManifestReader()
    for chunk in chunks:
        yield from reader.feed(chunk)
    reader.finish()
