"""How a run begins and ends: options, errors, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tests.support import control_samples
from tests.support.fake_control import FakeControl
from tests.unit.cli.conftest import Lbctl

from lbctl.app import Format
from lbctl.main import COMMANDS, main, root
from librarian_protocol.errors import ChecksumMismatch, NameTaken, NotFound, StoreFull, TokenInvalid


def in_a_process_of_its_own(code: str) -> subprocess.CompletedProcess[str]:
    """Run code with the paths that this process has."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ)


def test_help_names_every_command_and_exit_code(lbctl: Lbctl) -> None:
    run = lbctl("--help")
    assert run.code == 0
    for word in (*COMMANDS, "10", "130", "daemon", "unreachable"):
        assert word in run.out


def test_the_root_imports_no_command_and_nothing_heavy() -> None:
    unwanted = {"rich", "humanize", "librarian_client", "http.client", "librarian_protocol.api", "nacl", "blake3"}
    unwanted |= {module for module, _ in COMMANDS.values()}
    code = (
        "import sys; from lbctl.main import main; main(['--help']);"
        f"found = {unwanted} & set(sys.modules); sys.exit(f'{{found}}' if found else 0)"
    )
    done = in_a_process_of_its_own(code)
    assert done.returncode == 0, done.stderr


def test_the_table_of_commands_says_what_each_is(lbctl: Lbctl) -> None:
    context = click.Context(root)
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        assert command.name == name
    assert root.get_command(context, "nothing") is None


def test_every_help_ends_with_examples() -> None:
    def walk(command: click.Command) -> None:
        assert command.epilog, command.name
        assert "Examples:" in command.epilog
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                walk(inner)

    walk(root)


def test_the_version_is_told(lbctl: Lbctl) -> None:
    run = lbctl("--version")
    assert run.code == 0
    assert run.out.startswith("lbctl")


def test_no_command_is_a_mistake_of_usage(lbctl: Lbctl) -> None:
    run = lbctl()
    assert run.code == 2
    assert "Usage: lbctl" in run.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stauts"], "No such command 'stauts'"),
        (["file", "list", "--limit", "-1"], "--limit"),
        (["file", "show"], "Missing argument 'NAME'"),
        (["status", "-o", "yaml"], "yaml"),
    ],
)
def test_mistakes_of_usage_exit_with_2(lbctl: Lbctl, arguments: list[str], said: str) -> None:
    run = lbctl(*arguments)
    assert run.code == 2
    assert said in run.err
    assert run.out == ""


def test_mistakes_of_usage_are_json_where_that_is_asked_for(lbctl: Lbctl) -> None:
    run = lbctl("-o", "json", "file", "show")
    assert run.code == 2
    assert json.loads(run.err)["code"] == "E108"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), 4),
        (StoreFull("x"), 5),
        (ChecksumMismatch("x"), 6),
        (NameTaken("x"), 11),
        (TokenInvalid("x"), 12),
    ],
)
def test_an_error_of_the_daemon_decides_the_exit_code(
    lbctl: Lbctl, control: FakeControl, error: Exception, code: int
) -> None:
    control.answer("GET /stores", error)
    assert lbctl("store", "list").code == code


def test_an_error_says_what_and_what_next(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /file", NotFound("no file named 'nope'", hint="did you mean 'nope_01'?"))
    run = lbctl("file", "show", "nope")
    assert run.err == "error[E104]: no file named 'nope'\nhint: did you mean 'nope_01'?\n"
    assert run.out == ""


def test_an_error_cannot_steer_the_terminal(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /file", NotFound("no \x1b[2J\nfile", hint="\u202e"))
    assert lbctl("file", "show", "a").err == "error[E104]: no \\x1b[2J\n  file\nhint: \\u202e\n"


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_an_error_is_a_json_object_where_json_is_asked_for(lbctl: Lbctl, control: FakeControl, form: str) -> None:
    control.answer("GET /file", NotFound("no file", hint="look"))
    run = lbctl("file", "show", "nope", "-o", form)
    assert run.code == 4
    assert run.out == ""
    assert json.loads(run.err) == {
        "schema": "lb.error/1",
        "code": "E104",
        "kind": "not_found",
        "message": "no file",
        "hint": "look",
    }


def test_no_daemon_exits_with_10(lbctl: Lbctl, config: Path) -> None:
    run = lbctl("status")
    assert run.code == 10
    assert f"hint: start it: lbd --config {config}" in run.err


def test_no_configuration_is_told(lbctl: Lbctl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither option, environment nor the working directory names a site."""
    monkeypatch.delenv("LBCTL_CONFIG")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    run = lbctl("status")
    assert run.code == 2
    assert "error[E105]: which site?" in run.err


def test_options_stand_before_or_behind_the_command(
    lbctl: Lbctl, control: FakeControl, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBCTL_CONFIG", "/nowhere")
    control.answer("GET /stores", [control_samples.store()])
    before = lbctl("--config", str(config), "-o", "json", "store", "list")
    behind = lbctl("store", "list", "-o", "json", "--config", str(config))
    assert before == behind
    assert before.code == 0
    assert json.loads(before.out)[0]["label"] == "main"


def test_a_site_toml_in_the_directory_is_found(
    lbctl: Lbctl, control: FakeControl, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LBCTL_CONFIG")
    monkeypatch.chdir(config.parent)
    control.answer("GET /stores", [])
    assert lbctl("store", "list").code == 0


def test_a_traceback_is_shown_with_debug_alone(lbctl: Lbctl) -> None:
    assert "Traceback" not in lbctl("status").err
    run = lbctl("--debug", "status")
    assert "Traceback" in run.err
    assert run.code == 10


def test_an_error_of_the_system_names_its_file(lbctl: Lbctl, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = lbctl("init", str(tmp_path / "file" / "site"), "--site", "summit")
    assert run.code == 1
    assert f"error[E500]: {tmp_path}/file/site: Not a directory" in run.err


def test_an_interrupt_exits_with_130(lbctl: Lbctl, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("librarian_client.Client.stores", interrupted)
    assert lbctl("store", "list").code == 130


def test_what_nobody_expected_is_told_in_one_line() -> None:
    code = (
        "from lbctl.main import main; import lbctl.store\n"
        "def wrong(*_, **__): raise ValueError('what\\x1b')\n"
        "import librarian_client; librarian_client.Client.from_config = wrong\n"
        "raise SystemExit(main(['--config', 'x', 'store', 'list']))"
    )
    done = in_a_process_of_its_own(code)
    assert done.returncode == 1
    assert done.stderr.startswith("error[E000]: ValueError: what\\x1b\nhint: a mistake in lbctl")


def test_every_format_is_offered() -> None:
    assert [str(value) for value in Format] == ["table", "json", "jsonl"]
    assert main(["--help"]) == 0
