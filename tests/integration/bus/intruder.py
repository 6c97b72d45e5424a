"""A client that obeys nothing: what a peer with its own keys, or without any, could send by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from tests.integration.bus.sites import Site


class Intruder:
    """A connection with somebody's NKEY, and everything that came back."""

    def __init__(self) -> None:
        self.client = Client()
        self.heard: list[Msg] = []
        self.errors: list[str] = []
        self.was_cut = False

    async def connect(self, url: str, **options: Any) -> None:
        """Connect once. Raises what nats-py raises when it is refused."""

        async def on_error(error: Exception) -> None:
            self.errors.append(str(error))

        async def on_close() -> None:
            self.was_cut = True

        async with asyncio.timeout(5):
            await self.client.connect(
                url,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                error_cb=on_error,
                closed_cb=on_close,
                **options,
            )

    async def listen(self, subject: str) -> None:
        """Hear what comes there, if allowed."""

        async def keep(message: Msg) -> None:
            self.heard.append(message)

        await self.client.subscribe(subject, cb=keep)
        await self.client.flush()

    async def send(self, subject: str, body: object = b"", *, reply: str = "") -> None:
        """Publish, if allowed, and wait until the server has dealt with it."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.client.publish(subject, raw, reply=reply)
        await self.client.flush()

    async def send_raw(self, subject: bytes, headers: bytes) -> None:
        """Publish an empty message with these bytes, which no honest client would make."""
        transport: Any = self.client._transport  # pyright: ignore[reportPrivateUsage]  # there is no public way
        length = str(len(headers)).encode()
        transport.write(b"HPUB " + subject + b" " + length + b" " + length + b"\r\n" + headers + b"\r\n")
        await transport.drain()
        await self.client.flush()

    async def is_denied(self, times: int) -> bool:
        """Whether the server said no just so often; it says so a little after the fact. Forgets it then."""
        async with asyncio.timeout(5):
            while len(self.errors) < times:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        denials = [error for error in self.errors if "permissions violation" in error.casefold()]
        self.errors.clear()
        return len(denials) == times


@asynccontextmanager
async def intruder(url: str, **options: Any) -> AsyncGenerator[Intruder]:
    """Connected, for as long as the block lasts."""
    found = Intruder()
    try:
        await found.connect(url, **options)
        yield found
    finally:
        await found.client.close()


def seed(site: Site, role: str) -> str:
    """The NKEY seed of a site's ``journal`` or ``link`` user."""
    return (site.root / "keys" / f"bus-{role}.nk").read_text().strip()


def url(site: Site) -> str:
    """Where the site's bus is."""
    return site.bus.state().url


async def is_refused(where: str, **options: Any) -> bool:
    """Whether the server refuses such a connection."""
    try:
        async with intruder(where, **options):
            return False
    except nats.errors.Error as exc:
        return "authorization" in str(exc).casefold()
