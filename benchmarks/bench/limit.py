"""What the machine allows for one large file: sendfile, receive, blake3, discard. Nothing is written.

    python limit.py FILE

One process serves, another receives into a buffer of 1 MiB and hashes it. Prints seconds and seconds of processor.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import time
from pathlib import Path

from blake3 import blake3

_BUFFER = 1 << 20


def main() -> None:
    """Serve in a child, receive here."""
    path = Path(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = os.fork()
        if child == 0:
            connection, _ = server.accept()
            with path.open("rb") as file, connection:
                connection.sendfile(file)
            os._exit(0)
        began = time.monotonic()
        hasher = blake3()
        buffer = memoryview(bytearray(_BUFFER))
        received = 0
        with socket.create_connection(server.getsockname()) as connection:
            while size := connection.recv_into(buffer):
                hasher.update(buffer[:size])
                received += size
        hasher.digest()
        seconds = time.monotonic() - began
    os.waitpid(child, 0)
    if received != path.stat().st_size:
        sys.exit(f"{received} bytes of {path.stat().st_size} arrived")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = dict(zip(("client", "server"), (each.ru_utime + each.ru_stime for each in used), strict=True))
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu_seconds": cpu}) + "\n")


if __name__ == "__main__":
    main()
