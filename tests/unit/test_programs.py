"""What was not tried for want of a program is said at the end of the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.programs import needs, packages

ROOT = Path(__file__).parents[2]


def test_the_end_of_a_run_names_the_programs_that_were_missing(tmp_path: Path) -> None:
    """In several processes too, as scripts/test runs them."""
    test = tmp_path / "test_some.py"
    test.write_text(
        "import pytest\n"
        "from tests.support.programs import needs\n"
        "@pytest.mark.parametrize('number', range(3))\n"
        "def test_alerts(number): needs('promtool', 'amtool')\n"
        "def test_rsync(): needs('rsync', 'promtool')\n"
        "@pytest.mark.skip(reason='not today')\n"
        "def test_otherwise(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "xdist", "-p", "tests.conftest", "-c", os.devnull]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(test)],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    end = done.stdout.partition(" missing programs ")[2].splitlines()
    assert [line.split() for line in end[1:5]] == [
        ["4", "tests", "were", "skipped:", "programs", "are", "missing.", "With", "these", "they", "run:"],
        ["4", "promtool"],
        ["3", "amtool"],
        ["1", "rsync"],
    ], done.stdout + done.stderr
    assert end[5] == "Debian: apt install prometheus prometheus-alertmanager rsync"
    assert "5 skipped" in done.stdout


def test_a_program_that_ci_does_not_install_cannot_be_asked_for() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        needs("nowhere")


def test_ci_installs_the_packages_of_the_list(tmp_path: Path) -> None:
    """Those whose program is not there, and by reading the same file."""
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    function = text[text.index("programs() {") : text.index("programs >")]
    for name in ("apt-get", "id", *(program for program in packages() if program != "rsync")):
        (tmp_path / name).write_text('#!/bin/sh\n[ "${0##*/}" = id ] && echo 0 || echo "$@" >>"$0.asked"\n')
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/bash", "-eu", "-c", f"{function}\nprograms"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    asked = (tmp_path / "apt-get.asked").read_text().splitlines()
    assert asked == ["update -qq", "install -y -qq --no-install-recommends rsync"]
