"""Where the page, or the metrics, are served."""

from __future__ import annotations

import os

import msgspec
import structlog

from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.tcp_server import TcpServer
from librarian_protocol.host_port import joined, parse

_TRY_AGAIN_S = 60.0


class PageAddress(msgspec.Struct, kw_only=True):
    """Where it is served, for ``lbctl status``; or why it is not, for ``lbctl doctor``. Both empty: not configured."""

    url: str = ""
    problem: str = ""


async def begin(server: TcpServer, listen: str, address: PageAddress, clock: Clock, what: str) -> None:
    """Serve at ``HOST:PORT`` and note where; while the address is taken, note that and try again."""
    log = structlog.get_logger(what)
    host, port = parse(listen)
    while True:
        try:
            port = await server.start(host, port)
        except OSError as exc:
            address.problem = f"{listen}: {os.strerror(exc.errno) if exc.errno else exc}"
            log.warning(f"{what}_not_served", listen=listen, error=str(exc))
            await clock.sleep(_TRY_AGAIN_S)
            continue
        address.problem = ""
        address.url = f"http://{joined(host, port)}/"
        log.info(f"{what}_served", url=address.url)
        return
