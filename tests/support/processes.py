"""The processes of a running site: found, traced, killed at one of their steps."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.sites import Site


def daemon_of(site: Site) -> int:
    """The process of the daemon itself; others start it and end with it."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        ours = b"librarian_daemon" in words and str(site.config).encode() in words
        if ours and b"-S" not in words and not words[0].endswith((b"strace", b"prlimit")):
            return int(path.parent.name)
    raise AssertionError("it does not run")


@contextmanager
def failing(site: Site, inject: str, trace: Path) -> Generator[None]:
    """strace attached to a running daemon; skips the test where that is not permitted."""
    calls = inject.partition(":")[0]
    target = str(daemon_of(site))
    command = ["strace", "-f", "-o", str(trace), "-p", target, "-e", f"trace={calls}", "-e", f"inject={inject}"]
    try:
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        pytest.skip("there is no strace")
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    if "attached" not in line:
        pytest.skip(f"tracing is not permitted here: {line.strip()}")
    try:
        yield
    finally:
        tracer.terminate()
        tracer.communicate()
