"""What ``lbctl init`` writes is what the daemon accepts."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Lbctl

from lbctl.site_toml import quoted
from librarian_daemon.config import loader as daemon_config
from librarian_daemon.config.settings import NotifySettings


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_site_is_what_the_daemon_accepts(lbctl: Lbctl, tmp_path: Path) -> None:
    run = lbctl("init", str(tmp_path / "summit"), "--site", "summit")
    assert run.code == 0
    home = tmp_path / "summit"
    settings = daemon_config.load(home / "site.toml", {})
    assert settings.site == "summit"
    assert settings.store[0].path == str(home / "store")
    assert [(intake.unit, intake.path) for intake in settings.intake] == [
        ("file", str(home / "drop")),
        ("book", str(home / "drop-books")),
    ]
    assert (settings.bus.mode, settings.bus.listen) == ("embedded", "127.0.0.1:4222")
    for made in ("store", "drop", "drop-books"):
        assert (home / made).is_dir()
    assert f"lbd --config {home}/site.toml" in run.out


def test_the_key_is_private_and_new_each_time(lbctl: Lbctl, tmp_path: Path) -> None:
    keys: set[str] = set()
    for name in ("a", "b"):
        lbctl("init", str(tmp_path / name), "--site", name)
        key = tmp_path / name / "keys" / "site.key"
        assert mode(key) == 0o600
        assert mode(key.parent) == 0o700
        assert re.fullmatch(r"[0-9a-f]{64}\n", key.read_text())
        keys.add(key.read_text())
    assert len(keys) == 2


@pytest.mark.parametrize("left", ["site.toml", "keys/site.key"])
def test_nothing_is_overwritten(lbctl: Lbctl, tmp_path: Path, left: str) -> None:
    """``lbctl init`` in a directory that already has a configuration or a key: it stops before it makes anything."""
    (tmp_path / "keys").mkdir()
    (tmp_path / left).write_text("mine")
    run = lbctl("init", str(tmp_path), "--site", "summit")
    if left == "site.toml" or "keys" in left:
        assert run.code == 11
    assert (tmp_path / left).read_text() == "mine"
    assert not (tmp_path / "store").exists()


def test_every_option_comes_to_its_key(lbctl: Lbctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / 'a "b" \\ ä \x7f'
    run = lbctl(
        "init", "new", "--site", "summit",
        "--store", str(odd), "--drop", "in", "--drop-books", str(tmp_path / "books"),
        "--listen", "0.0.0.0:7500", "--advertise", "summit.example:7500", "--bus", "embedded:4333",
        "--catalog", "postgresql://lb@db.example/librarian",
    )  # fmt: skip
    assert run.code == 0, run.err
    settings = daemon_config.load(tmp_path / "new" / "site.toml", {})
    assert settings.store[0].path == str(odd)
    assert settings.intake[0].path == str(tmp_path / "in")
    assert settings.intake[1].path == str(tmp_path / "books")
    assert settings.data.listen == "0.0.0.0:7500"
    assert settings.data.advertise == "summit.example:7500"
    assert settings.bus.listen == "127.0.0.1:4333"
    assert settings.bus.advertise == ""
    assert "--leaf-listen" in run.err
    assert settings.catalog.url == "postgresql://lb@db.example/librarian"
    assert odd.is_dir()


def test_the_bus_listens_beyond_this_machine_only_where_a_host_is_given(lbctl: Lbctl, tmp_path: Path) -> None:
    addresses = ["--listen", "0.0.0.0:7500", "--advertise", "summit.example:7500"]
    run = lbctl("init", str(tmp_path / "new"), "--site", "summit", "--bus", "embedded:0.0.0.0:4333", *addresses)
    assert run.code == 0, run.err
    settings = daemon_config.load(tmp_path / "new" / "site.toml", {})
    assert settings.bus.listen == "0.0.0.0:4333"
    assert settings.bus.advertise == "summit.example:4333"


def test_nobody_else_writes_to_a_new_site_whatever_the_umask(lbctl: Lbctl, tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        assert lbctl("init", str(tmp_path / "new"), "--site", "summit").code == 0
    finally:
        os.umask(previous)
    for path in (tmp_path / "new").rglob("*"):
        assert not path.stat().st_mode & 0o002, path
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "new" / "store").stat().st_mode & 0o777 == 0o755


def test_an_external_bus_with_a_password_makes_the_file_private(lbctl: Lbctl, tmp_path: Path) -> None:
    url = "nats://me:secret@bus.example:4222"
    assert lbctl("init", str(tmp_path / "a"), "--site", "a", "--bus", url).code == 0
    settings = daemon_config.load(tmp_path / "a" / "site.toml", {})
    assert (settings.bus.mode, settings.bus.url) == ("external", url)
    assert mode(tmp_path / "a" / "site.toml") == 0o600


def test_a_site_that_joins_is_told_how(lbctl: Lbctl, tmp_path: Path) -> None:
    run = lbctl("init", str(tmp_path / "a"), "--site", "a", "--bus", "join")
    assert daemon_config.load(tmp_path / "a" / "site.toml", {}).bus.mode == "join"
    assert "lbctl site join TOKEN" in run.out


def test_json_says_what_was_written(lbctl: Lbctl, tmp_path: Path) -> None:
    run = lbctl("init", str(tmp_path / "a"), "--site", "a", "-o", "json")
    assert json.loads(run.out) == {
        "config": str(tmp_path / "a" / "site.toml"),
        "key": str(tmp_path / "a" / "keys" / "site.key"),
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--site", "Summit"], "site name 'Summit' is not of the form"),
        (["--site", "rpc"], "reserved"),
        (["--site", "a", "--listen", "7400"], "--listen: '7400' is not of the form HOST:PORT"),
        (["--site", "a", "--listen", "h:70000"], "--listen: 'h:70000' is not of the form HOST:PORT"),
        (["--site", "a", "--advertise", "x"], "--advertise: 'x' is not of the form HOST:PORT"),
        (["--site", "a", "--listen", "0.0.0.0:1"], "other sites cannot dial 0.0.0.0"),
        (["--site", "a", "--advertise", "[::]:1"], "other sites cannot dial [::]"),
        (["--site", "a", "--bus", "embedded:0"], "--bus: '127.0.0.1:0' is not of the form HOST:PORT"),
        (["--site", "a", "--bus", "nats://host"], "--bus: 'host' is not of the form HOST:PORT"),
        (["--site", "a", "--bus", "kafka"], "--bus: 'kafka' is no bus"),
        (["--site", "a", "--catalog", "mysql://x/y"], "--catalog: 'mysql://x/y' is no catalog"),
        (["--site", "a", "--catalog", "sqlite:///"], "--catalog: 'sqlite:///' is no catalog"),
        (["--site", "a", "--page", "0.0.0.0:7480"], "--page: '0.0.0.0:7480' is not this machine alone"),
        (["--site", "a", "--page", "7480"], "--page: '7480' is not of the form HOST:PORT"),
        (["--site", "a", "--store", "/x\udcff"], "a path is not UTF-8"),
    ],
)
def test_a_mistake_writes_nothing(lbctl: Lbctl, tmp_path: Path, arguments: list[str], said: str) -> None:
    run = lbctl("init", str(tmp_path / "a"), *arguments)
    assert run.code == 2
    assert said in run.err
    assert not (tmp_path / "a").exists()


def test_the_file_documents_every_choice(lbctl: Lbctl, tmp_path: Path) -> None:
    lbctl("init", str(tmp_path / "a"), "--site", "a")
    text = (tmp_path / "a" / "site.toml").read_text()
    table, missing = "", []
    found: set[str] = set()
    for line in text.splitlines():
        if line.startswith(("[", "# [[")):
            table = line.strip("# []") + "."
        written = re.match(r"(?:# {1,5})?(\w+) = ", line)
        if written:
            found.add(table + written[1])
    missing = [path for path in daemon_config.key_paths() if path.replace("[]", "") not in found]
    assert missing == ["adapters.settings", "adapters.limits"]
    assert "[adapters.settings.NAME]" in text
    assert "[adapters.limits.NAME]" in text


def test_what_the_comments_show_are_the_defaults(lbctl: Lbctl, tmp_path: Path) -> None:
    lbctl("init", str(tmp_path / "a"), "--site", "a")
    path = tmp_path / "a" / "site.toml"
    shown = daemon_config.load(path, {})
    text = path.read_text()
    text = "\n".join(line for line in text.splitlines() if not line.startswith(("# marker", "# url")))
    path.write_text(re.sub(r"(?m)^# (\w+ = )", r"\1", text))
    assert daemon_config.load(path, {}) == shown


def test_a_table_that_is_shown_in_comments_is_taken(lbctl: Lbctl, tmp_path: Path) -> None:
    lbctl("init", str(tmp_path / "a"), "--site", "a")
    path = tmp_path / "a" / "site.toml"
    path.write_text(re.sub(r"(?m)^# (\[\[|    )", r"\1", path.read_text()))
    (channel,) = daemon_config.load(path, {}).notify
    assert channel == NotifySettings(label="oncall", url="mailto://user:password@example.org")


@pytest.mark.parametrize("value", ["", "a", 'a"b\\c', "tab\t nul\x00 del\x7f", "ä 観 𝄞"])
def test_text_is_quoted_as_toml_reads_it(value: str) -> None:
    assert tomllib.loads(f"x = {quoted(value)}") == {"x": value}


def test_a_site_that_nobody_can_dial_says_so(lbctl: Lbctl, tmp_path: Path) -> None:
    assert lbctl("init", str(tmp_path / "t"), "--site", "telescope", "--undialable").code == 0
    assert not daemon_config.load(tmp_path / "t" / "site.toml", {}).data.dialable
    assert daemon_config.load(tmp_path / "t" / "site.toml", {}).bus.mode == "embedded"


@pytest.mark.parametrize("contrary", [("--leaf-listen", "0.0.0.0:7422"), ("--advertise", "here.example:7400")])
def test_who_cannot_be_dialled_has_no_address(lbctl: Lbctl, tmp_path: Path, contrary: tuple[str, str]) -> None:
    run = lbctl("init", str(tmp_path / "t"), "--site", "telescope", "--undialable", *contrary)
    assert run.code == 2
    assert "nobody can dial" in run.err
    assert not (tmp_path / "t").exists()
