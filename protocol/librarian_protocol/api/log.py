"""The log level."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["debug", "info", "warning", "error"]


class LogLevel(msgspec.Struct, kw_only=True):
    """What the daemon logs: of that level or above."""

    level: Level
