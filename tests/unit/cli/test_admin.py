"""What an administrator says: nothing that cuts a site off by an option that was forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.cli.conftest import Lbctl

KEY = "ed25519:" + "ab" * 32


def say(lbctl: Lbctl, tmp_path: Path, *options: str) -> tuple[int, str]:
    key = tmp_path / "admin.key"
    if not key.exists():
        assert lbctl("admin", "keygen", str(key)).code == 0
    common = ["--key", str(key), "--mesh", "96e0", "--number", "1", "--admit", "--site", "campus", "--site-key", KEY]
    run = lbctl("admin", "statement", *common, *options)
    return run.code, run.out + run.err


@pytest.mark.parametrize("options", [[], ["--bus", "UA"], ["--leaf", "UA", "--bus", "UB", "--bus", "UC"]])
def test_an_admission_without_the_bus_keys_is_refused(lbctl: Lbctl, tmp_path: Path, options: list[str]) -> None:
    code, said = say(lbctl, tmp_path, *options)
    assert code == 2
    assert "--leaf NKEY" in said
    assert "--no-bus" in said


@pytest.mark.parametrize("options", [["--leaf", "UA"], ["--bus", "UA", "--bus", "UB"], ["--no-bus"]])
def test_an_admission_says_by_which_keys_the_site_comes(lbctl: Lbctl, tmp_path: Path, options: list[str]) -> None:
    code, said = say(lbctl, tmp_path, *options)
    assert code == 0
    assert '"kind":"site.admitted"' in said
