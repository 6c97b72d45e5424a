"""Text for people, on a terminal or on a page: without characters that hide or reorder it; numbers, times."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

#: Control characters; format characters, which turn or hide text (right-to-left marks, joiners); line and
#: paragraph separators; halves of surrogate pairs.
_ESCAPED = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})

#: Seconds; figures older than that are shown with their age.
_JUST_NOW_S = 5.0


def safe(text: str) -> str:
    """The text, with an escape for every character that a terminal would obey or that a reader could not see."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _ESCAPED else char for char in text
    )


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 file``, ``1,204 files``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def bytes_short(size: str) -> str:
    """``1 Byte`` and ``2 Bytes`` as ``1 B`` and ``2 B``: for rates. Other sizes are as they were."""
    return size.replace(" Bytes", " B").replace(" Byte", " B")


def duration(seconds: float) -> str:
    """``41s``, ``1m04s``, ``6h12m``, ``3d04h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole // 60 % 60:02}m"
    return f"{whole // 86400}d{whole // 3600 % 24:02}h"


def old(at: str, now: datetime) -> str:
    """How long ago figures were counted; "" where that was just now."""
    age_s = (now - datetime.fromisoformat(at)).total_seconds()
    return f"{duration(age_s)} ago" if age_s > _JUST_NOW_S else ""


def ago(at: str | None, now: datetime) -> str:
    """How long ago an RFC 3339 time was; ``never`` for None, and the text itself where it is no time."""
    if not at:
        return "never"
    try:
        then = datetime.fromisoformat(at)
    except ValueError:
        return safe(at)
    if then.tzinfo is None:
        return safe(at)
    return f"{duration((now - then).total_seconds())} ago"


def utc(seconds: float) -> str:
    """RFC 3339, to the second, of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(at: str | None) -> str:
    """An RFC 3339 time to the second; ``-`` for None."""
    if not at:
        return "-"
    head, _, fraction = safe(at).partition(".")
    return f"{head}Z" if fraction.endswith("Z") else safe(at)


def digest(text: str) -> str:
    """``blake3:9ac1e2f0a7b4…``, or the same without its algorithm, short enough for a table."""
    head, colon, digits = safe(text).rpartition(":")
    return f"{head}{colon}{digits[:12]}…" if len(digits) > 12 else safe(text)
