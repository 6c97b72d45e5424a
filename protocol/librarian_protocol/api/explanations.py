"""Why a file is, or is not, somewhere."""

from __future__ import annotations

import msgspec


class Explanation(msgspec.Struct, kw_only=True):
    """Why a file is, or is not, at a site; in plain words, with the next step."""

    name: str
    at: str
    summary: str
    lines: list[str]
    next: str
