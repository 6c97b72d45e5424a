"""A connection that is lost is told as lost, however it broke."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from nats.errors import UnexpectedEOF
from tests.support.nats import nats_server
from tests.support.sites import free_port

from librarian_daemon.bus import safe_client
from librarian_daemon.bus.connection import Session, Target, open_session


async def lose(session: Session) -> None:
    """It breaks while something is pending."""
    client = session._client  # pyright: ignore[reportPrivateUsage]
    client._pending, client._pending_data_size = [b"PING\r\n"], 6  # pyright: ignore[reportPrivateUsage]
    with suppress(OSError):
        await client._process_op_err(UnexpectedEOF())  # pyright: ignore[reportPrivateUsage]


async def test_a_connection_that_breaks_while_something_is_pending_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after SIGCONT, when the server has cut what was silent: writing fails."""

    async def broken() -> None:
        raise ConnectionResetError("Connection lost")

    with nats_server(tmp_path / "bus", free_port()) as server:
        session = await open_session(Target(url=server.url, name="test"))
        monkeypatch.setattr(session._client._transport, "drain", broken)  # pyright: ignore[reportPrivateUsage]
        await lose(session)
        async with asyncio.timeout(5):
            await session.wait_ended()


async def test_a_server_that_reads_nothing_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_client, "_CLOSE_S", 0.05)

    async def never() -> None:
        await asyncio.Event().wait()

    with nats_server(tmp_path / "bus", free_port()) as server:
        session = await open_session(Target(url=server.url, name="test"))
        monkeypatch.setattr(session._client._transport, "drain", never)  # pyright: ignore[reportPrivateUsage]
        async with asyncio.timeout(5):
            await lose(session)
            await session.wait_ended()
