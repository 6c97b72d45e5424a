"""Becomes the program that it is given, tied to the life of the daemon that started it.

Run as a script, for the bus server and for programs that move bytes: between fork and exec of a daemon with threads no
Python may run, so the tie is made in a process of its own, which then becomes the program under the same process id.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """``arguments``: the daemon's process id, the program's path, the program's arguments."""
    parent = int(arguments[0])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the daemon died before the tie was made
        sys.exit(1)
    os.execv(arguments[1], arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
