"""``lbctl demo --once`` with real daemons and a real nats-server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(180)


def demo(*arguments: str) -> subprocess.Popen[str]:
    """Start the demo with the paths that this process has."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "lbctl.main", "-o", "jsonl", "demo", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def left_behind(directory: Path) -> list[str]:
    """Processes that still speak of the directory."""
    found: list[str] = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = cmdline.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if str(directory) in text:
            found.append(text)
    return found


def test_a_file_and_a_book_are_acknowledged(tmp_path: Path) -> None:
    process = demo("--once", "--dir", str(tmp_path))
    out, err = process.communicate()
    assert process.returncode == 0, err
    steps = [json.loads(line) for line in out.splitlines()]
    for name in ("first-light.dat", "night-0001"):
        told = [step["step"] for step in steps if step["detail"].startswith((f"{name}:", f"{name} "))]
        assert sorted(told) == ["acknowledged", "announced", "ingested", "pulled", "verified"]
    assert (tmp_path / "archive" / "store" / "night-0001" / "frames" / "f_0000.dat").is_file()
    assert left_behind(tmp_path) == []


def test_an_interrupt_ends_it_and_its_daemons(tmp_path: Path) -> None:
    process = demo("--dir", str(tmp_path))
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["step"] == "joined":
            break
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert left_behind(tmp_path) == []


def test_what_goes_wrong_is_told_with_the_ends_of_the_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "librarian_daemon.py").write_text("raise SystemExit('out of order')\n")
    monkeypatch.syspath_prepend(tmp_path)
    process = demo("--once", "--dir", str(tmp_path / "sites"))
    _, err = process.communicate()
    assert process.returncode == 1
    assert "---- the end of" in err
    assert "out of order" in err
    assert "summit: its daemon ended with exit code 1" in err
    assert left_behind(tmp_path / "sites") == []
