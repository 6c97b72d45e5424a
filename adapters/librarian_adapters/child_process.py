"""Becomes the program that it is given, tied to the life of the daemon that started it.

Run as a script, for the bus server and for programs that move bytes: between fork and exec of a daemon with threads no
Python may run, so the tie is made in a process of its own, which then becomes the program under the same process id.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """``arguments``: the daemon's process id, the program, the program's arguments.

    ``PID,BYTES`` also bounds the size of each file that the program writes.
    """
    parent, _, most_bytes = arguments[0].partition(",")
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(most_bytes), int(most_bytes)))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # the daemon died before the tie was made
        sys.exit(1)
    os.execvp(arguments[1], arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
