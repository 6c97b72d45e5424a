"""Bounded memory: a daemon and its bus server in a cgroup of 256 MiB, and a great many of everything (row 34).

``LIBRARIAN_MANY`` is how many; ``scripts/bounded-memory`` takes a million. ``LIBRARIAN_OUT`` keeps what was measured.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.support.processes import daemon_of
from tests.support.sites import Site, free_port, join, sites, wait_for

MANY = int(os.environ.get("LIBRARIAN_MANY", "10000"))
LIMIT_BYTES = 256 << 20
CGROUPS = Path("/sys/fs/cgroup/memory")
#: Enough for a million on a slow disk.
PATIENCE_S = 60 + MANY / 100

pytestmark = pytest.mark.timeout(4 * PATIENCE_S)


@contextmanager
def limited(name: str) -> Generator[list[str]]:
    """What to put before a command to have it, and all that it starts, live with so much memory."""
    group = CGROUPS / f"librarian-{os.getpid()}-{name}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    except OSError as exc:
        pytest.skip(f"memory cgroups (version 1) are not permitted here: {exc}")
    try:
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
        assert "oom_kill 0" in (group / "memory.oom_control").read_text(), "something was killed for its memory"
    finally:
        with suppress(OSError):
            _wait_until_empty(group)
            group.rmdir()


def _wait_until_empty(group: Path) -> None:
    end = time.monotonic() + 20
    while (group / "cgroup.procs").read_text() and time.monotonic() < end:
        time.sleep(0.05)


def peak_mib(site: Site) -> float:
    """Of the daemon's own resident memory."""
    status = Path(f"/proc/{daemon_of(site)}/status").read_text()
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1)


def keep(what: str, began: float, **more: float) -> None:
    """Note what was measured."""
    line = {"what": what, "many": MANY, "seconds": round(time.monotonic() - began, 1), **more}
    out = os.environ.get("LIBRARIAN_OUT")
    if out:
        with Path(out).open("a") as file:
            file.write(json.dumps(line) + "\n")


def make_files(directory: Path, number: int) -> None:
    """Tiny ones, in one directory."""
    directory.mkdir(exist_ok=True)
    for n in range(number):
        (directory / f"f{n:07}").write_text(str(n))


@pytest.mark.fault(34)
def test_row_34_a_drop_directory_of_many_files_and_a_backlog_of_as_many_entries(tmp_path: Path) -> None:
    source = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
    destination = Site(tmp_path / "archive", "archive")
    with limited("one") as first, limited("other") as other, sites(source, destination):
        source.start()
        wait_for("the bus is up", lambda: source.client.status().bus.connected, source)
        join(source, destination)
        wait_for("both know it", lambda: source.client.status().journal.outbox == 0, source)
        destination.stop()
        source.stop()
        make_files(source.drop, MANY)

        began = time.monotonic()
        source.run_on = first
        source.start()
        wait_for("all are accepted", lambda: source.client.status().counts.files == MANY, source, deadline_s=PATIENCE_S)
        keep("a drop directory of many files", began, peak_mib=peak_mib(source))
        wait_for("all is said", lambda: source.client.status().journal.outbox == 0, source, deadline_s=PATIENCE_S)

        began = time.monotonic()
        destination.run_on = other
        destination.start()
        wait_for(
            "the backlog is applied",
            lambda: destination.client.status().counts.files == MANY,
            destination,
            deadline_s=PATIENCE_S,
        )
        keep("a backlog of many entries", began, peak_mib=peak_mib(destination), source_peak_mib=peak_mib(source))
        source.stop()
        destination.stop()


@pytest.mark.fault(34)
def test_row_34_a_book_of_many_members_is_taken_in_and_fetched(tmp_path: Path) -> None:
    source = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}")
    destination = Site(tmp_path / "archive", "archive")
    with limited("one") as first, limited("other") as other, sites(source, destination):
        source.run_on, destination.run_on = first, other
        source.start()
        wait_for("the bus is up", lambda: source.client.status().bus.connected, source)
        join(source, destination)
        book = source.making / "book"
        make_files(book, MANY)
        began = time.monotonic()
        book.rename(source.drop_books / "book")
        wait_for("it is accepted", lambda: source.client.status().counts.files == 1, source, deadline_s=PATIENCE_S)
        keep("a book of many members, taken in", began, peak_mib=peak_mib(source))
        began = time.monotonic()
        destination.lbctl("subscription", "add", "--from", "summit")
        wait_for(
            "it has arrived, whole",
            lambda: destination.client.status().counts.instances_here == 1,
            source,
            destination,
            deadline_s=2 * PATIENCE_S,
        )
        keep("a book of many members, fetched", began, peak_mib=peak_mib(destination), source_peak_mib=peak_mib(source))
        assert sum(1 for _ in (destination.store / "book").iterdir()) == MANY
        source.stop()
        destination.stop()
