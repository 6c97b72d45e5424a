"""nats-py's client, changed so that a message that it cannot decode does not end the connection.

Every publisher chooses the bytes of headers and subjects, and the server forwards them. nats-py 2.16 stops
reading at the first that it cannot decode, says nothing, and would meet the same message again after connecting anew.
Here such a message arrives without what cannot be decoded, so that its reader can refuse it and go on.
"""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg


class HardenedClient(Client):
    """A client for messages from anybody."""

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (IndexError, ValueError):  # cut short; not UTF-8
            return None
        return found

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        def text(raw: bytes) -> bytes:
            return bytes(raw).decode(errors="replace").encode()

        found: Any = super()._build_message(sid, text(subject), text(reply), data, headers)
        assert isinstance(found, Msg)
        return found
