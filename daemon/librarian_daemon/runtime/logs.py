"""Logging: structlog to stderr, console on a terminal, JSON lines otherwise; one line a state change, with ids.

What libraries log, and Python's warnings, become lines of the same form. A line that outsiders can cause is logged with
``sparingly=True``: a few of a kind in each period, then the number omitted. Texts in a line are bounded.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from threading import Lock

import msgspec
import structlog

from librarian_daemon.config.settings import LogSettings
from librarian_daemon.ports.time import Clock
from librarian_protocol.api import Level

_NUMBERS = logging.getLevelNamesMapping()
#: Lines of one kind that is logged sparingly, in one period.
FEW = 10
WHILE_S = 10.0
#: Characters of one text in a line; of a traceback, its end is kept.
TEXT_CHARS = 4096


class LogLevel:
    """The level of the log. One for the process; ``lbctl log level`` changes it."""

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
        """A processor of structlog: drops events below the level."""
        if _NUMBERS.get(method.upper(), logging.ERROR) < self._least:
            raise structlog.DropEvent
        return event


class Sparing:
    """Limits lines of one kind in each period, and counts the omitted ones. One for the process."""

    def __init__(self) -> None:
        self._lines: Counter[str] = Counter()
        self._lock = Lock()

    def __call__(self, _logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """A processor of structlog: drops sparing events beyond their limit."""
        if not event.pop("sparingly", False):
            return event
        kind = " ".join(str(event[key]) for key in ("event", "library") if key in event)
        with self._lock:
            self._lines[kind] += 1
            if self._lines[kind] > FEW:
                raise structlog.DropEvent
        return event

    async def run(self, clock: Clock) -> None:
        """In each period log the number of omitted lines, and start counting again; until cancelled."""
        while True:
            await clock.sleep(WHILE_S)
            self.tell()

    def tell(self) -> None:
        """One line for each kind with omitted lines; counting starts again."""
        with self._lock:
            left_out = {kind: lines - FEW for kind, lines in self._lines.items() if lines > FEW}
            self._lines.clear()
        for kind, lines in left_out.items():
            structlog.get_logger("log").warning("lines_left_out", of=kind, lines=lines)


class Log(msgspec.Struct, frozen=True):
    """The process's log: what can be changed, and what must run."""

    level: LogLevel
    sparing: Sparing


def configure(settings: LogSettings, site: str) -> Log:
    """Set up logging for the process. Called once, by the entry point."""
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    log = Log(LogLevel(settings.level), Sparing())
    structlog.contextvars.bind_contextvars(site=site)
    structlog.configure(
        processors=[
            log.level,
            log.sparing,
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
    logging.getLogger().addHandler(FromLibraries(logging.WARNING))
    logging.captureWarnings(True)
    return log


class FromLibraries(logging.Handler):
    """Messages of libraries to Python's own logging: one line, sparingly, since outsiders cause many of them."""

    def emit(self, record: logging.LogRecord) -> None:
        """See the base class."""
        try:
            said = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit the text
            said = str(record.msg)
        log = structlog.get_logger("library")
        tell = log.error if record.levelno >= logging.ERROR else log.warning
        tell("library_said", sparingly=True, library=record.name, said=said, exc_info=record.exc_info or None)


def _escape(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Names come from outside: they must not move the cursor, end the line, reverse text, or fill a disk."""
    for key, value in event.items():
        if isinstance(value, str):
            is_traceback = key == "exception"
            text = value
            if len(text) > TEXT_CHARS:
                text = f"…{text[-TEXT_CHARS:]}" if is_traceback else f"{text[:TEXT_CHARS]}…"
            if not text.isprintable():
                kept = "\n" if is_traceback else ""
                text = "".join(char if char.isprintable() or char == kept else ascii(char)[1:-1] for char in text)
            event[key] = text
    return event
