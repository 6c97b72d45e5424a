"""The processes of a running site: found, traced, killed at one of their steps."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from tests.support.programs import needs
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


def end_traced(site: Site) -> None:
    """Kill a daemon that was started below strace, and strace: neither ends with the other."""
    with suppress(AssertionError, ProcessLookupError):
        os.kill(daemon_of(site), signal.SIGKILL)
    site.kill()


def failing(site: Site, inject: str, trace: Path) -> AbstractContextManager[None]:
    """System calls of a running daemon fail, as strace's ``inject`` says."""
    calls = inject.partition(":")[0]
    return attached(site, ["-o", str(trace), "-e", f"trace={calls}", "-e", f"inject={inject}"])


@contextmanager
def attached(site: Site, options: Sequence[str]) -> Generator[None]:
    """strace on all threads of a running daemon; skips the test where that is not permitted."""
    needs("strace")
    tracer = subprocess.Popen(["strace", "-f", "-p", str(daemon_of(site)), *options], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    if "attached" not in line:
        tracer.wait()
        pytest.skip(f"tracing is not permitted here: {line.strip()}")
    try:
        yield
    finally:
        tracer.terminate()
        try:
            tracer.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            tracer.kill()
            tracer.communicate()
