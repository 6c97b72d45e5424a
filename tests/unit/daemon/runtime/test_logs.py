"""What is logged follows the level, at once; names from outside cannot forge lines."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Generator

import pytest
import structlog
from tests.support.stepping import SteppedClock

from librarian_daemon.config.settings import LogSettings
from librarian_daemon.runtime import logs


@pytest.fixture(autouse=True)
def untouched() -> Generator[None]:
    """Each test sets up logging for itself."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    for handler in [known for known in logging.getLogger().handlers if isinstance(known, logs.FromLibraries)]:
        logging.getLogger().removeHandler(handler)


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_the_level_is_followed_at_once_by_loggers_that_are_in_use(capfd: pytest.CaptureFixture[str]) -> None:
    level = logs.configure(LogSettings(format="json", level="info"), "summit").level
    log = structlog.get_logger("any")
    log.debug("one")
    log.info("two")
    level.level = "debug"
    log.debug("three")
    level.level = "error"
    log.warning("four")
    log.error("five")
    assert [(line["event"], line["level"]) for line in lines(capfd)] == [
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
    (line,) = lines(capfd)
    assert (line["site"], line["port"]) == ("summit", 7400)
    assert str(line["timestamp"]).endswith("Z")


def test_a_name_breaks_no_line_and_turns_no_text(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="console"), "summit")
    structlog.get_logger("any").info("refused", name="a\nforged line\u202e")
    (line,) = capfd.readouterr().err.splitlines()
    assert "\u202e" not in line
    assert "forged line" in line


def test_of_what_strangers_cause_a_few_lines_are_logged_and_how_many_were_left_out(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = logs.configure(LogSettings(format="json"), "summit")
    strangers, ours = structlog.get_logger("strangers"), structlog.get_logger("ours")
    for number in range(500):
        strangers.warning("request_malformed", sparingly=True, number=number)
        strangers.warning("join_not_valid", sparingly=True, number=number)
        ours.info("stored", number=number)
    log.sparing.tell()
    log.sparing.tell()
    strangers.warning("request_malformed", sparingly=True, number=500)
    found = lines(capfd)
    assert [line["number"] for line in found if line["event"] == "request_malformed"] == [*range(logs.FEW), 500]
    assert sum(line["event"] == "stored" for line in found) == 500
    told = [(line["of"], line["lines"]) for line in found if line["event"] == "lines_left_out"]
    assert told == [("request_malformed", 500 - logs.FEW), ("join_not_valid", 500 - logs.FEW)]
    assert not any("sparingly" in line for line in found)


async def test_what_was_left_out_is_told_when_a_while_is_over(capfd: pytest.CaptureFixture[str]) -> None:
    log = logs.configure(LogSettings(format="json"), "summit")
    for _ in range(logs.FEW + 1):
        structlog.get_logger("any").warning("join_not_valid", sparingly=True)
    clock = SteppedClock()
    telling = asyncio.create_task(log.sparing.run(clock))
    await clock.sleeping.wait()
    assert lines(capfd)[-1]["event"] == "join_not_valid"
    await clock.look_again()
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    (told,) = lines(capfd)
    assert (told["of"], told["lines"]) == ("join_not_valid", 1)


def test_what_libraries_log_and_warn_of_is_a_line_of_the_same_form(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"), "summit")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request from %s", "127.0.0.1")
    logging.getLogger("nats").warning("%d arguments are missing")
    record = logging.makeLogRecord(
        {"name": "nats", "levelno": logging.ERROR, "msg": "%d", "args": ("of a wrong kind",)}
    )
    logs.FromLibraries().handle(record)
    logging.getLogger("nats").info("not worth a line")
    for _ in range(100):
        logging.getLogger("asyncio").error("again")
    found = lines(capfd)
    assert {line["event"] for line in found} == {"library_said"}
    assert [line["said"] for line in found[:4]] == [
        "Error handling request from 127.0.0.1",
        "%d arguments are missing",
        "%d",
        "again",
    ]
    assert "ValueError: broken" in str(found[0]["exception"])
    assert [line["library"] for line in found].count("asyncio") == logs.FEW


def test_no_text_of_a_line_is_longer_than_a_bound(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"), "summit")
    try:
        raise ValueError("x" * 100_000 + " the end")
    except ValueError:
        structlog.get_logger("any").exception("it_failed", name="\x1b" * 100_000)
    (line,) = capfd.readouterr().err.splitlines()
    found = json.loads(line)
    assert len(found["name"]) <= 5 * logs.TEXT_CHARS
    assert len(found["exception"]) <= logs.TEXT_CHARS + 1
    assert found["exception"].endswith(" the end")


def test_a_name_in_a_traceback_moves_no_cursor(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"), "summit")
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        structlog.get_logger("any").exception("it_failed")
    (found,) = lines(capfd)
    assert "\x1b" not in str(found["exception"])
    assert "\n" in str(found["exception"])
