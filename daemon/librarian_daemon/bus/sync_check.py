"""Whether an external server keeps what it acknowledges. Only its monitoring address shows this."""

from __future__ import annotations

import aiohttp
import msgspec

#: The text if this cannot be found out.
UNVERIFIED = "external server: sync_interval cannot be verified; set bus.monitor_url to its monitoring address"
_TIMEOUT_S = 5.0
_MAX_BYTES = 1 << 20


class _Config(msgspec.Struct, frozen=True):
    sync_interval: int = 0
    sync_always: bool = False


class _JetStream(msgspec.Struct, frozen=True):
    config: _Config = _Config()


class _Varz(msgspec.Struct, frozen=True):
    server_id: str
    jetstream: _JetStream = _JetStream()


async def examine(monitor_url: str, server_id: str) -> str:
    """What is unsafe about the server with this id, by its ``/varz``; "" if it writes before it acknowledges.

    nats-server's default is to write through every two minutes: a power cut then takes what it had acknowledged.
    """
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{monitor_url.rstrip('/')}/varz", allow_redirects=False) as response,
        ):
            raw = await response.content.read(_MAX_BYTES)
            found = msgspec.json.decode(raw, type=_Varz)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, msgspec.MsgspecError) as exc:
        return f"external server: {monitor_url} does not report its sync_interval: {str(exc) or 'no answer'}"
    if found.server_id != server_id:
        return f"external server: {monitor_url} is another server's, so sync_interval cannot be verified"
    if found.jetstream.config.sync_always:
        return ""
    every_s = found.jetstream.config.sync_interval / 1e9
    return (
        f"external server: it writes to disk every {every_s:g} s, not before it acknowledges"
        " (jetstream { sync_interval: always })"
    )
