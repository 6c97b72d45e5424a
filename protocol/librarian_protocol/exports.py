"""Exported journals: compressed lines of JSON, each bound to all before it (docs/export-format.md)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Annotated

import msgspec
import zstandard
from blake3 import blake3
from msgspec import Meta

from librarian_protocol import wire
from librarian_protocol.entries import HexHash, PublicKey, Signature
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.keys import Purpose, verify
from librarian_protocol.names import SiteName
from librarian_protocol.segments import MAX_SEGMENT_BYTES

VERSION = 1
#: A segment as a JSON text inside JSON: every character may take six.
MAX_LINE_BYTES = 6 * MAX_SEGMENT_BYTES + 4096
NO_CHAIN = "0" * 64


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag="begin", tag_field="t"):
    """The first line."""

    v: int
    mesh: str
    #: Who exported it.
    by: SiteName
    key: PublicKey
    at: Annotated[str, Meta(max_length=40)]
    #: The anchor. It must be compared with a fingerprint that is known in another way.
    anchor: SiteName
    anchor_key: PublicKey
    administrator: PublicKey | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True, tag="segment", tag_field="t"):
    """A segment: its bytes as text, exactly as received, and its signature."""

    payload: str
    signature: Signature


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end", tag_field="t"):
    """The last line."""

    segments: int
    #: Of all lines before it.
    chain: HexHash
    #: The exporter's, over the chain.
    signature: Signature


Line = Begin | Record | End
_LINE: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line, dec_hook=wire.decode_hook)


def encode(line: Line) -> bytes:
    """One line, its line feed included."""
    return wire.encode(line) + b"\n"


def link(chain: str, line: bytes) -> str:
    """The chain behind a line: blake3 of the chain before it, as text, and the line, line feed included."""
    return blake3(chain.encode() + line).hexdigest()


def lines(raw: IO[bytes]) -> Iterator[bytes]:
    """The lines of an opened file, uncompressed, with their line feeds; none much longer than is allowed.

    Raises:
        SegmentInvalid: it is not a zstd file, or is damaged.
    """
    try:
        with zstandard.ZstdDecompressor().stream_reader(raw, closefd=False) as stream:
            buffered = io.BufferedReader(stream, 1 << 20)
            while line := buffered.readline(MAX_LINE_BYTES + 1):
                yield line
    except zstandard.ZstdError as exc:
        raise SegmentInvalid(f"damaged, or not an exported journal: {exc}") from exc


def records(raw: IO[bytes], reading: ExportReader) -> Iterator[Record]:
    """The records of an opened file. That it is whole is known only when the last was had.

    Raises:
        SegmentInvalid, SignatureInvalid: see :class:`ExportReader`.
    """
    for line in lines(raw):
        record = reading.feed(line)
        if record is not None:
            yield record
    reading.finish()


class ExportReader:
    """Reads lines in order and checks that nothing is missing, altered or added."""

    def __init__(self) -> None:
        self.begin: Begin | None = None
        self.ended = False
        self.segments = 0
        self._chain = NO_CHAIN

    def feed(self, line: bytes) -> Record | None:
        """Take the next line, its line feed included; the record, where it is one.

        Raises:
            SegmentInvalid: it is malformed, out of place, or the end does not fit what came; says which line.
            SignatureInvalid: the end is not signed by the exporter.
        """
        where = f"line {self.segments + 2 if self.begin else 1}"
        if self.ended:
            raise SegmentInvalid(f"{where}: something stands behind the end")
        if len(line) > MAX_LINE_BYTES or not line.endswith(b"\n"):
            raise SegmentInvalid(f"{where}: too long, or cut off")
        try:
            found: Line = _LINE.decode(line)
            wire.check_fields(line.removesuffix(b"\n"))
        except wire.NOT_DECODABLE as exc:
            raise SegmentInvalid(f"{where}: does not decode: {wire.why(exc)}") from exc
        if (self.begin is None) != isinstance(found, Begin):
            raise SegmentInvalid(f"{where}: the file does not begin as it should")
        if isinstance(found, Begin) and found.v != VERSION:
            raise SegmentInvalid(f"{where}: version {found.v}; this software reads version {VERSION}")
        if isinstance(found, End):
            assert self.begin is not None  # it came first
            if found.segments != self.segments or found.chain != self._chain:
                raise SegmentInvalid(f"{where}: the end does not fit what came before: something is missing or altered")
            verify(self.begin.key, Purpose.EXPORT, found.chain.encode(), found.signature)
            self.ended = True
            return None
        self._chain = link(self._chain, line)
        if isinstance(found, Begin):
            self.begin = found
            return None
        self.segments += 1
        return found

    def finish(self) -> Begin:
        """There are no more lines.

        Raises:
            SegmentInvalid: the end is missing: the file was cut off.
        """
        if self.begin is None or not self.ended:
            raise SegmentInvalid(f"the file is cut off behind {self.segments} segments")
        return self.begin
