"""Publishes journal entries to a bus server, each as a message of its own: what a bus without segments would carry.

    python -m benchmarks.bench.journal_single URL ENTRIES

Into the stream ``SINGLE``. Prints one object of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

import nats
from benchmarks.bench.commits import STORE, entry

from librarian_protocol import wire

NAMES = STREAM, SUBJECT = "SINGLE", "single.entry"
#: Messages that may be on their way.
TOGETHER = 1_000


async def publish(url: str, entries: int) -> dict[str, float]:
    """All of them; the stream has them when it ends."""
    connection = await nats.connect(url)
    try:
        stream = connection.jetstream()
        await stream.add_stream(name=STREAM, subjects=[SUBJECT])
        size_bytes = 0
        for first in range(0, entries, TOGETHER):
            numbers = range(first, min(first + TOGETHER, entries))
            payloads = [wire.encode(entry(number, "owed", STORE)) for number in numbers]
            await asyncio.gather(*(stream.publish(SUBJECT, payload) for payload in payloads))
            size_bytes += sum(map(len, payloads))
        return {"bytes": size_bytes}
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(publish(sys.argv[1], int(sys.argv[2])))) + "\n")
