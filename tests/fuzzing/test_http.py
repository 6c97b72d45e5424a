"""The data plane before spoilt requests, on a real connection: a refusal or a closed connection, and it serves on."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from tests.fuzzing.mutating import mutated
from tests.fuzzing.test_decoders import MANY, SEED
from tests.support.source import SUMMIT, Collection, Destination, Source, noise

from librarian_adapters.contract import Part
from librarian_adapters.http.bundle import BUNDLE_TARGET, BYTES_TARGET, Asked
from librarian_daemon.dataplane.gate import DataLimits
from librarian_daemon.runtime.tcp_server import ServerLimits
from librarian_protocol import wire

_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3}) ")
pytestmark = pytest.mark.timeout(120 + MANY // 10)


def request(method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
    """As a client writes it."""
    lines = [f"{method} {target} HTTP/1.1", "Host: summit", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def ask(port: int, data: bytes) -> bytes:
    """All that is answered until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with suppress(ConnectionError):
        writer.write(data)
        async with asyncio.timeout(15):
            answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.fault(28)
async def test_spoilt_requests_are_refused_and_good_ones_are_served_after_them(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "store")
    item = collection.add("a.dat", noise(3000, 1))
    source = Source(collection, limits=DataLimits(body_s=0.2), server_limits=ServerLimits(header_s=0.2))
    await source.start()
    destination = Destination()
    collection.keys[destination.name] = destination.key.public

    def signed(method: str, target: str, body: bytes = b"") -> bytes:
        headers = destination.sign(source=SUMMIT, method=method, target=target, range="", body=body)
        return request(method, target, headers, body)

    path = f"{BYTES_TARGET}{item.file_digest}?part=file"
    body = wire.encode([Asked(digest=item.file_digest, part=Part.FILE, member=None, size_bytes=3000)])
    chance = Random(f"{SEED} http")

    def spoilt() -> bytes:
        """What a stranger writes, or a member signs."""
        match chance.randrange(4):
            case 0:
                return mutated(signed("GET", path), chance)
            case 1:
                return mutated(signed("POST", BUNDLE_TARGET, body), chance)
            case 2:
                return signed("POST", BUNDLE_TARGET, mutated(body, chance)[: 1 << 20])
            case _:
                target = mutated(path.encode(), chance).decode("latin-1")
                return signed("GET", re.sub(r"[^\x21-\x7e]", "%", target)[:4000])

    try:
        good = await ask(source.port, signed("GET", path))
        assert good.startswith(b"HTTP/1.1 200 ")
        for number in range(MANY):
            data = spoilt()
            answer = await ask(source.port, data)
            found = _STATUS.match(answer)
            assert not answer or (found and int(found[1]) < 500), f"seed {SEED}, request {number}: {data!r}: {answer!r}"
        again = await ask(source.port, signed("GET", path))
        assert again.partition(b"\r\n\r\n")[2] == good.partition(b"\r\n\r\n")[2] == noise(3000, 1)
    finally:
        await source.stop()
