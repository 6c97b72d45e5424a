"""A leaf link written by hand: it has a site's leaf key, speaks the protocol over TLS, and obeys no permission."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import nkeys


class RawLeaf:
    """One link. What comes in over it stands in ``heard`` as (subject, payload)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.heard: list[tuple[str, bytes]] = []
        self.errors: list[str] = []
        self.closed = False

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def listen(self, subject: str) -> None:
        """Announce interest."""
        await self._write(f"LS+ {subject}\r\n".encode())

    async def send(self, subject: str, payload: bytes, *, reply: str = "") -> None:
        """Send a message, allowed or not."""
        head = f"LMSG {subject} {reply} {len(payload)}" if reply else f"LMSG {subject} {len(payload)}"
        await self._write(head.encode() + b"\r\n" + payload + b"\r\n")

    async def settled(self) -> None:
        """Wait until the server has dealt with all that was sent."""
        before = self._pongs
        await self._write(b"PING\r\n")
        async with asyncio.timeout(10):
            while self._pongs == before and not self.closed:
                await asyncio.sleep(0.01)

    _pongs = 0

    async def read(self) -> None:
        """Until the server closes."""
        try:
            while line := await self._reader.readline():
                words = line.decode(errors="replace").split()
                if not words:
                    continue
                match words[0]:
                    case "PING":
                        await self._write(b"PONG\r\n")
                    case "PONG":
                        self._pongs += 1
                    case "-ERR":
                        self.errors.append(line.decode().strip())
                    case "LMSG" | "HMSG":
                        size = int(words[-1])
                        body = await self._reader.readexactly(size + 2)
                        self.heard.append((words[1], body[:-2]))
                    case _:
                        pass
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed = True


@asynccontextmanager
async def raw_leaf(address: str, seed: str, certificate_pem: str) -> AsyncGenerator[RawLeaf]:
    """A link to a server's leaf address, with the key of a leaf user."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    info = json.loads((await reader.readline()).decode().removeprefix("INFO "))
    context = ssl.create_default_context(cadata=certificate_pem)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    await writer.start_tls(context)
    pair = nkeys.from_seed(bytearray(seed.encode()))
    signature = base64.urlsafe_b64encode(pair.sign(info["nonce"].encode())).decode().rstrip("=")
    connect = {
        "nkey": bytes(pair.public_key).decode(),
        "sig": signature,
        "name": "raw",
        "server_id": "NRAW",
        "version": "2.15.1",
        "headers": True,
        "jetstream": False,
        "is_hub": True,
        "tls_required": True,
    }
    leaf = RawLeaf(reader, writer)
    writer.write(b"CONNECT " + json.dumps(connect).encode() + b"\r\nPING\r\n")
    await writer.drain()
    reading = asyncio.create_task(leaf.read())
    try:
        yield leaf
    finally:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
