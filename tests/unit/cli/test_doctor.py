"""``lbctl doctor`` with a daemon and without."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest
from tests.support.fake_control import FakeControl
from tests.unit.cli.conftest import Lbctl

from librarian_protocol.api import DoctorCheck


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warning", 0), ("error", 1)])
def test_an_error_that_is_found_exits_with_1(lbctl: Lbctl, control: FakeControl, level: str, code: int) -> None:
    control.answer("GET /doctor", [DoctorCheck(check="bus", level=level, message="m", hint="do this")])
    run = lbctl("doctor")
    assert run.code == code
    assert ("do this" in run.out) == (level != "ok")


class Daemon:
    """Stands for ``lbd --check``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.code = 0
        self.err = ""
        self.hangs = False
        self.command: list[str] = []
        monkeypatch.setattr("subprocess.run", self.run)

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        """Answers as told."""
        self.command = command
        if self.hangs:
            raise subprocess.TimeoutExpired(command, 30)
        return subprocess.CompletedProcess(command, self.code, "", self.err)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A daemon that finds its configuration right."""
    return Daemon(monkeypatch)


def checks(lbctl: Lbctl) -> dict[str, list[DoctorCheck]]:
    """What doctor found with the daemon down, by check."""
    run = lbctl("doctor", "-o", "json")
    assert run.code == 10
    found: dict[str, list[DoctorCheck]] = {}
    for line in json.loads(run.out):
        found.setdefault(line["check"], []).append(DoctorCheck(**line))
    return found


def test_without_a_daemon_it_says_so_and_checks_the_rest(lbctl: Lbctl, config: Path, daemon: Daemon) -> None:
    (config.parent / "keys").mkdir(mode=0o700)
    (config.parent / "keys" / "site.key").touch(mode=0o600)
    found = checks(lbctl)
    assert [check.level for group in found.values() for check in group] == ["error", "ok", "ok", "ok"]
    assert found["daemon"][0].hint == f"start it: lbd --config {config}"
    assert daemon.command[1:] == ["-m", "librarian_daemon", "--config", str(config), "--check"]


def test_the_daemon_says_what_is_wrong_with_the_configuration(lbctl: Lbctl, daemon: Daemon) -> None:
    daemon.code, daemon.err = 2, "error[E105]: site.toml: bus.lisen: unknown key\nhint: did you mean bus.listen?\n"
    found = checks(lbctl)["configuration"][0]
    assert found.level == "error"
    assert found.message == "error[E105]: site.toml: bus.lisen: unknown key"
    assert found.hint == "did you mean bus.listen?"


def test_a_daemon_that_says_nothing_is_told_by_its_exit_code(lbctl: Lbctl, config: Path, daemon: Daemon) -> None:
    daemon.code = 7
    found = checks(lbctl)["configuration"][0]
    assert (found.message, found.hint) == ("lbd --check ended with 7", f"lbd --config {config} --check")


def test_a_check_that_hangs_is_told(lbctl: Lbctl, daemon: Daemon) -> None:
    daemon.hangs = True
    assert checks(lbctl)["configuration"][0].message == "lbd --check did not end within 30 s"


def test_a_key_that_others_may_read_is_an_error(lbctl: Lbctl, config: Path, daemon: Daemon) -> None:
    keys = config.parent / "keys"
    keys.mkdir(mode=0o700)
    (keys / "site.key").touch()
    (keys / "site.key").chmod(0o640)
    keys.chmod(0o755)
    assert [check.hint for check in checks(lbctl)["keys"]] == [f"chmod 0700 {keys}", f"chmod 0600 {keys}/site.key"]


def test_a_missing_key_is_an_error(lbctl: Lbctl, config: Path, daemon: Daemon) -> None:
    (config.parent / "keys").mkdir(mode=0o700)
    found = checks(lbctl)["keys"]
    assert [check.message for check in found] == [f"{config.parent}/keys/site.key: No such file or directory"]


def test_what_stands_at_the_socket_is_told(lbctl: Lbctl, config: Path, daemon: Daemon) -> None:
    path = config.parent / "lbd.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert checks(lbctl)["socket"][0].level == "warning"
    path.unlink()
    path.write_text("")
    assert checks(lbctl)["socket"][0].message == f"{path} is not a socket"
