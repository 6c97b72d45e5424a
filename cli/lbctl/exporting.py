"""Exported journals as files: compressed lines (docs/export-format.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import zstandard

from librarian_protocol import api, exports
from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.exports import Record

if TYPE_CHECKING:
    from librarian_client import Client

PAGE = 100
PAGE_BYTES = 4 << 20


@contextmanager
def writing(file: str) -> Generator[IO[bytes]]:
    """A compressed file that is written atomically; ``-`` is stdout."""
    compressor = zstandard.ZstdCompressor(level=6)
    if file == "-":
        with compressor.stream_writer(sys.stdout.buffer, closefd=False) as out:
            yield out
        return
    path = Path(file)
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as raw:
        with compressor.stream_writer(raw, closefd=False) as out:
            yield out
        raw.flush()
        os.fsync(raw.fileno())
    partial.rename(path)


@contextmanager
def reading_from(file: str) -> Generator[IO[bytes]]:
    """An opened file; ``-`` is stdin.

    Raises:
        ArgumentInvalid: it cannot be read.
    """
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        raw = Path(file).open("rb")  # noqa: SIM115 -- closed below
    except OSError as exc:
        raise ArgumentInvalid(f"{file}: {exc.strerror}") from exc
    with raw:
        yield raw


def write_export(client: Client, file: str, site: str | None) -> int:
    """Write the journals that a daemon holds. Returns the number of segments."""
    count, chain = 0, exports.NO_CHAIN
    with writing(file) as out:

        def put(line: bytes) -> None:
            nonlocal chain
            out.write(line)
            chain = exports.link(chain, line)

        put(client.export_begin().encode())
        after: str | None = None
        while True:
            page = client.journal(after, site)
            for record in page.records:
                put(exports.encode(Record(payload=record.payload, signature=record.signature)))
                count += 1
            after = page.next
            if after is None:
                break
        out.write(client.export_end(api.ExportSeal(segments=count, chain=chain)).encode())
    return count


def pages(found: Iterator[Record]) -> Iterator[list[api.JournalRecord]]:
    """Records in pages that fit into one request."""
    page: list[api.JournalRecord] = []
    size = 0
    for record in found:
        page.append(api.JournalRecord(payload=record.payload, signature=record.signature))
        size += len(record.payload)
        if len(page) == PAGE or size > PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page
