"""What is logged follows the level, at once; names from outside cannot forge lines."""

from __future__ import annotations

import json
from collections.abc import Generator

import pytest
import structlog

from librarian_daemon import logs
from librarian_daemon.settings import LogSettings


@pytest.fixture(autouse=True)
def untouched() -> Generator[None]:
    """Each test sets up logging for itself."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_the_level_is_followed_at_once_by_loggers_that_are_in_use(capfd: pytest.CaptureFixture[str]) -> None:
    level = logs.configure(LogSettings(format="json", level="info"), "summit")
    log = structlog.get_logger("any")
    log.debug("one")
    log.info("two")
    level.level = "debug"
    log.debug("three")
    level.level = "error"
    log.warning("four")
    log.error("five")
    assert [(one["event"], one["level"]) for one in lines(capfd)] == [
        ("two", "info"),
        ("three", "debug"),
        ("five", "error"),
    ]


def test_what_failed_is_logged_at_every_level(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json", level="error"), "summit")
    log = structlog.get_logger("any")
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("it_failed")
    log.critical("worse")
    failed, worse = lines(capfd)
    assert "ValueError: broken" in str(failed["exception"])
    assert worse["event"] == "worse"


def test_each_line_names_the_site_and_the_time(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"), "summit")
    structlog.get_logger("any").info("started", port=7400)
    (one,) = lines(capfd)
    assert (one["site"], one["port"]) == ("summit", 7400)
    assert str(one["timestamp"]).endswith("Z")


def test_a_name_breaks_no_line_and_turns_no_text(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="console"), "summit")
    structlog.get_logger("any").info("refused", name="a\nforged line\u202e")
    (line,) = capfd.readouterr().err.splitlines()
    assert "\u202e" not in line
    assert "forged line" in line
