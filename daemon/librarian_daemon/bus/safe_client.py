"""nats-py's client, changed in two points: what it cannot decode does not end the connection, and each end is told.

Every publisher chooses the bytes of headers and subjects, and the server forwards them. nats-py 2.16 stops
reading at the first that it cannot decode, says nothing, and would meet the same message again after connecting anew.
Here such a message arrives without what cannot be decoded, so that its reader can refuse it and go on.

When a connection is lost, nats-py 2.16 first writes what is pending. Where that fails, because the server is gone, it
calls nobody back: the connection would count as there for ever, as after a stop of the machine for half a minute.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

#: For writing what is pending when a connection ends; a server that reads nothing must not hold up its end.
_CLOSE_S = 5.0


class HardenedClient(Client):
    """A client for messages from anybody."""

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (IndexError, ValueError):  # cut short; not UTF-8
            return None
        return found

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        first = not self.is_closed
        try:
            with suppress(OSError):  # what was pending is lost with the connection; its senders wait for answers
                async with asyncio.timeout(_CLOSE_S):
                    await super()._close(status, do_cbs)
        finally:
            if first and do_cbs:
                for subscription in self._subs.values():  # those that were not reached, where writing failed
                    subscription._stop_processing()  # pyright: ignore[reportPrivateUsage]
                self._subs.clear()
                if self._transport is not None:
                    self._transport.close()  # type: ignore[no-untyped-call]  # nats-py types it not
                if self._closed_cb is not None:
                    await self._closed_cb()

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        def text(raw: bytes) -> bytes:
            return bytes(raw).decode(errors="replace").encode()

        found: Any = super()._build_message(sid, text(subject), text(reply), data, headers)
        assert isinstance(found, Msg)
        return found
