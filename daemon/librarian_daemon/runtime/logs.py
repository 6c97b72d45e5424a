"""Logging: structlog to stderr, console on a terminal, JSON lines otherwise; one line a state change, with ids."""

from __future__ import annotations

import logging
import sys

import structlog

from librarian_daemon.settings import LogSettings
from librarian_protocol.api import Level

_NUMBERS = logging.getLevelNamesMapping()


class LogLevel:
    """What is logged, from now on: of that level or above. One for the process; ``lbctl log level`` changes it."""

    def __init__(self, level: Level) -> None:
        self.level = level

    @property
    def level(self) -> Level:
        """The level in force."""
        return self._level

    @level.setter
    def level(self, level: Level) -> None:
        self._level: Level = level
        self._least = _NUMBERS[level.upper()]

    def __call__(self, _logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """A processor of structlog: what is below the level goes no further."""
        if _NUMBERS.get(method.upper(), logging.ERROR) < self._least:
            raise structlog.DropEvent
        return event


def configure(settings: LogSettings, site: str) -> LogLevel:
    """Set up logging for the process; the level that it returns can be changed. Called once, by the entry point."""
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    level = LogLevel(settings.level)
    structlog.contextvars.bind_contextvars(site=site)
    structlog.configure(
        processors=[
            level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _escape,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    return level


def _escape(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Names come from outside: nothing in them may move the cursor, end the line or turn the text around."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in value)
    return event
