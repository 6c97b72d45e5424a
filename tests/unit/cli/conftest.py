"""A site of which only the control socket is real, and lbctl run against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.fake_control import FakeControl

from lbctl.main import main


class Run(NamedTuple):
    """How a run of lbctl ended."""

    code: int
    out: str
    err: str


Lbctl = Callable[..., Run]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ``site.toml`` that LBCTL_CONFIG names; nothing answers on its socket."""
    path = tmp_path / "site.toml"
    path.write_text('site = "archive"\n')
    monkeypatch.setenv("LBCTL_CONFIG", str(path))
    for variable in ("LIBRARIAN_STATE", "LIBRARIAN_SOCKET"):
        monkeypatch.delenv(variable, raising=False)
    return path


@pytest.fixture
def control(config: Path) -> Iterator[FakeControl]:
    """The daemon of that site."""
    with FakeControl(config.parent / "lbd.sock") as server:
        yield server


@pytest.fixture
def lbctl(config: Path, capsys: pytest.CaptureFixture[str]) -> Lbctl:
    """Run a command of that site."""

    def run(*arguments: str) -> Run:
        code = main(arguments)
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err)

    return run
