"""What a daemon does is counted as the results say."""

from __future__ import annotations

import os
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

from benchmarks.bench import counted_daemon
from benchmarks.bench.counted_daemon import KINDS, Counters, Statements
from benchmarks.bench.counts import parse_summary

ROOT = Path(__file__).parents[3]


def counted(file: Path) -> dict[str, int]:
    return dict(zip(KINDS, struct.unpack(f"{len(KINDS)}q", file.read_bytes()), strict=True))


def test_every_statement_counts_and_only_transactions_that_wrote(tmp_path: Path) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE t (n INTEGER)")
    connection.set_trace_callback(Statements(Counters(tmp_path / "counts")))
    for statement in ("BEGIN", "SELECT * FROM t", "COMMIT"):
        connection.execute(statement).fetchall()
    for statement in ("BEGIN IMMEDIATE", "WITH x(n) AS (SELECT 1) INSERT INTO t SELECT n FROM x", "COMMIT"):
        connection.execute(statement).fetchall()
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO t VALUES (?)", [(1,), (2,), (3,)])
    connection.execute("COMMIT")
    connection.close()
    assert counted(tmp_path / "counts") == {
        "SQL statements": 11,
        "write transactions": 2,
        "returns to the loop": 0,
    }


def test_the_daemon_that_counts_is_the_daemon(tmp_path: Path) -> None:
    """Its options arrive, and a thread's way back to the loop counts."""
    counts = tmp_path / "counts"
    done = subprocess.run(
        [sys.executable, counted_daemon.__file__, str(counts), "python", "-m", "librarian_daemon", "--version"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("lbd "), done.stderr
    assert counts.stat().st_size == 8 * len(KINDS)


def test_system_calls_are_read_from_the_summary_of_strace() -> None:
    summary = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 95.72    0.503011          98      5099       102 openat
  3.30    0.017335         173       100           fdatasync
------ ----------- ----------- --------- --------- ----------------
100.00    0.525529           7     67309      1306 total
"""
    assert parse_summary(summary) == {"openat": 5099, "fdatasync": 100}
