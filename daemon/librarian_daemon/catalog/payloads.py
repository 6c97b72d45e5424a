"""The bytes of segments as they stand in the catalog."""

from __future__ import annotations

import zstandard

from librarian_protocol.errors import CatalogFault
from librarian_protocol.segments import MAX_SEGMENT_BYTES

#: Of zstd. Segments take 0.4 µs an entry and 23 kB; with the usual level 3 twice the time, and a fifth more room.
_LEVEL = 1


def compress(payload: bytes) -> bytes:
    """A segment's bytes as they stand in the catalog."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(payload)


def decompress(stored: bytes) -> bytes:
    """A segment's bytes as they were received.

    Raises:
        CatalogFault: the stored bytes are damaged.
    """
    try:
        # A damaged header may claim any size, and would get the memory for it.
        if zstandard.frame_content_size(stored) > MAX_SEGMENT_BYTES:
            raise zstandard.ZstdError("it claims to be larger than a segment can be")
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=MAX_SEGMENT_BYTES)
    except zstandard.ZstdError as exc:
        raise CatalogFault(f"a stored segment is damaged: {exc}", hint="restore the catalog, or rebuild it") from exc
