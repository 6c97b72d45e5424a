"""A link that comes and goes: a thread that cuts and mends it until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

from tests.support.network import Host


@contextmanager
def flapping(host: Host, *, up_s: float = 2.0, down_s: float = 2.0) -> Generator[None]:
    """Up, down, up, …: each third time silently, so that both ends believe in their connections; else with the
    host's own interface down, which its programs are told of."""
    ended = threading.Event()

    def run() -> None:
        number = 0
        while not ended.wait(up_s):
            number += 1
            silent = number % 3 == 0
            if silent:
                host.cut()
            else:
                host.unplug()
            ended.wait(down_s)
            if silent:
                host.mend()
            else:
                host.plug()

    thread = threading.Thread(target=run, name="flapping", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
