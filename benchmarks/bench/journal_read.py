"""Reads a stream from a bus server, and does nothing with it: what the bus and its client allow.

    python -m benchmarks.bench.journal_read URL STREAM SUBJECT

The messages are pushed in order to one connection of nats-py. Prints one object of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import nats
from nats.aio.msg import Msg


async def read(url: str, name: str, subject: str) -> dict[str, float]:
    """All messages that are there when it begins; a callback takes them, as this costs the client least."""
    connection = await nats.connect(url)
    try:
        stream = connection.jetstream()
        info = await stream.stream_info(name)
        ended = asyncio.get_running_loop().create_future()
        left, size_bytes = info.state.messages, 0

        async def take(message: Msg) -> None:
            nonlocal left, size_bytes
            size_bytes += len(message.data)
            left -= 1
            if left == 0:
                ended.set_result(None)

        begun = time.monotonic(), time.process_time()
        await stream.subscribe(subject, cb=take, stream=name, ordered_consumer=True, manual_ack=True)
        await ended
        return {
            "seconds": time.monotonic() - begun[0],
            "cpu_seconds": time.process_time() - begun[1],
            "messages": info.state.messages,
            "bytes": size_bytes,
        }
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(read(*sys.argv[1:]))) + "\n")
