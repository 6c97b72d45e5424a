"""Reads a site's whole stream from a bus server, and does nothing with it: what the bus itself allows.

    python -m benchmarks.bench.journal_read URL SITE

The messages are pushed in order to one connection of nats-py. Prints one object of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import nats

from librarian_protocol import subjects
from librarian_protocol.names import SiteName


async def read(url: str, site: SiteName) -> dict[str, float]:
    """Up to the message that is the last one when it begins."""
    connection = await nats.connect(url)
    try:
        stream = connection.jetstream()
        info = await stream.stream_info(subjects.stream(site))
        begun = time.monotonic(), time.process_time()
        size_bytes = count = 0
        (everything,) = subjects.stream_subjects(site)
        subscription = await stream.subscribe(everything, stream=subjects.stream(site), ordered_consumer=True)
        while True:
            message = await subscription.next_msg(timeout=30)
            size_bytes += len(message.data)
            count += 1
            if message.metadata.sequence.stream >= info.state.last_seq:
                break
        return {
            "seconds": time.monotonic() - begun[0],
            "cpu_seconds": time.process_time() - begun[1],
            "messages": count,
            "bytes": size_bytes,
        }
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(read(sys.argv[1], SiteName.parse(sys.argv[2])))) + "\n")
