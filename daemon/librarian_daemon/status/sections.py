"""Sections of views: a failed section is named, and the others are still shown."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import structlog

from librarian_protocol.errors import LibrarianError

T = TypeVar("T")
#: Errors that fail only one section: of the catalog, or of a value that cannot be computed or shown. Any other error is
#: a defect: it ends the request, and is logged.
FAULTS = (LibrarianError, ValueError, ArithmeticError)
#: Bytes of an error's text in a view.
_SHOWN = 300


def said(exc: Exception) -> str:
    """An error's text, bounded."""
    text = exc.message if isinstance(exc, LibrarianError) else f"{type(exc).__name__}: {exc}"
    return text[:_SHOWN]


class Sections:
    """Which sections of this daemon's views failed when they were last made, and why."""

    def __init__(self) -> None:
        self.failing: dict[str, str] = {}
        self._log = structlog.get_logger("views")

    async def made(self, name: str, making: Awaitable[T], instead: T) -> T:
        """The section; ``instead`` if it fails. The failure is remembered until the section is made again."""
        try:
            found = await making
        except FAULTS as exc:
            why = said(exc)
            if self.failing.get(name) != why:
                self._log.error("view_failed", section=name, error=why)
            self.failing[name] = why
            return instead
        self.failing.pop(name, None)
        return found
