"""What of a file is kept beside its bytes and its name: when it was modified, and whether it is executable.

Of a single file the journal says both. Those of a book's members stand in a *list*, which the journal names by its
blake3: the line ``librarian-attributes 1``, then one line for each file of the manifest, in the manifest's order::

    <mtime_ns>      a plain file
    <mtime_ns> x    an executable one

A list says nothing of bytes, and no digest depends on it. One that does not fit its manifest is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from librarian_protocol.digests import Digest
from librarian_protocol.entries import MAX_INTEGER
from librarian_protocol.errors import ManifestInvalid

HEADER = b"librarian-attributes 1\n"
#: A sign, 19 digits, a blank, ``x``, the newline; and some.
MAX_LINE_BYTES = 32
_LINE = re.compile(rb"(-?[1-9][0-9]{0,18}|0)( x)?\Z")
_OWNER_EXECUTES = 0o100


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """Of a file or a book. What is None is not known, and left as it is."""

    mtime_ns: int | None = None
    executable: bool = False
    #: Digest of the members' list.
    list: Digest | None = None


class OfMember(msgspec.Struct, frozen=True):
    """Of one file of a book, or of a single file."""

    mtime_ns: int | None
    executable: bool


PLAIN = OfMember(None, False)


def bounded(mtime_ns: int) -> int:
    """A time as entries and lists can say it: filesystems know years before 1678 and after 2262, too."""
    return max(-MAX_INTEGER, min(mtime_ns, MAX_INTEGER))


def rfc3339(mtime_ns: int) -> str:
    """The time for people, as everywhere: RFC 3339, UTC, microseconds."""
    at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=mtime_ns // 1000)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def is_executable(mode: int) -> bool:
    """Whether a file of that mode counts as executable: its owner may execute it."""
    return bool(mode & _OWNER_EXECUTES)


def file_mode(base: int, executable: bool) -> int:
    """The mode of a file in a store whose files have the mode ``base``: who may read may execute an executable."""
    return base | (base & 0o444) >> 2 if executable else base


def line(member: OfMember) -> bytes:
    """The line of one member whose time is known, newline included."""
    return f"{member.mtime_ns}{' x' if member.executable else ''}\n".encode()


def max_bytes(files: int) -> int:
    """The most that a list of so many members has."""
    return len(HEADER) + files * MAX_LINE_BYTES


def read(chunks: Iterable[bytes]) -> Iterator[OfMember]:
    """Attributes of the members, in the order of the manifest. Streams.

    Raises:
        ManifestInvalid: it is no list; which line, and why.
    """
    number, rest = 0, b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for text in lines:
            number += 1
            if number > 1:
                yield _member(text, number)
            elif text + b"\n" != HEADER:
                raise ManifestInvalid(f"a list of attributes begins with {HEADER.decode()!a}, not with {text[:40]!a}")
        if len(rest) > MAX_LINE_BYTES:
            raise ManifestInvalid(f"line {number + 1} of a list of attributes is longer than {MAX_LINE_BYTES} bytes")
    if rest or not number:
        raise ManifestInvalid("a list of attributes ends in the middle of a line")


def _member(text: bytes, number: int) -> OfMember:
    found = _LINE.match(text)
    if found is None or abs(int(found[1])) > MAX_INTEGER:
        raise ManifestInvalid(f"line {number} of a list of attributes is not '<mtime_ns>' or '<mtime_ns> x'")
    return OfMember(int(found[1]), bool(found[2]))
