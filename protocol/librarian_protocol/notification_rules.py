"""Decides what is sent to people about incidents, and when. Pure.

One message names everything that there is to tell: many incidents at once are one message, not many.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from librarian_protocol.api import Incident
from librarian_protocol.display import safe
from librarian_protocol.incidents import Severity, State

#: How many incidents one message names. The others are counted.
NAMED = 20
#: At most one message in so many seconds also of critical incidents.
CRITICAL_EVERY_S = 60.0
#: The incident about a channel that does not work; it is told by the others.
FAILED = "notify-failed"

_RANK = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message. ``severity`` is that of the worst new incident; None where all is only over."""

    severity: Severity | None
    title: str
    body: str


def wanted(incident: Incident, channel: str, level: Severity) -> bool:
    """Whether a channel is to tell of an incident that it has not told of yet.

    Not of what somebody has seen already, nor of what ended before it could be told, unless it is critical.
    """
    severity = Severity(incident.severity)
    if _RANK[severity] > _RANK[level] or incident.acknowledged_at is not None:
        return False
    if incident.state == State.RESOLVED and severity is not Severity.CRITICAL:
        return False
    return not (incident.code == FAILED and incident.subject == channel)


def wait_s(new: Sequence[Incident], since_last_s: float, every_s: float) -> float:
    """Seconds until the next message may go out, 0 where it may now; ``since_last_s`` is the age of the last one."""
    critical = any(incident.severity == Severity.CRITICAL for incident in new)
    return max(0.0, (min(every_s, CRITICAL_EVERY_S) if critical else every_s) - since_last_s)


def message(site: str, new: Sequence[Incident], over: Sequence[Incident], *, more: bool = False) -> Message:
    """What to send about new incidents and about ones that are over; at least one of both.

    ``more``: there are more of them than these, which the next message tells.
    """
    ordered = sorted(new, key=lambda incident: (_RANK[Severity(incident.severity)], incident.id))
    least = "at least " if more else ""
    counts = [f"{least}{len(found)} {what}" for found, what in ((new, "new"), (over, "over")) if found]
    worst = Severity(ordered[0].severity) if ordered else None
    first = (ordered or list(over))[0]
    title = f"Librarian {site}: {first.title if len(new) + len(over) == 1 else ', '.join(counts)}"
    if worst is not None:
        title += f" ({worst})"
    elif len(over) == 1:
        title += ": over"
    lines = [_opened(incident) for incident in ordered] + [f"over: {_what(incident)}" for incident in over]
    if len(lines) > NAMED:
        lines = [*lines[:NAMED], f"… and {least}{len(lines) - NAMED} more: lbctl incident list --limit 0"]
    return Message(severity=worst, title=safe(title), body="\n".join(lines))


def _what(incident: Incident) -> str:
    return f"[{incident.id}] {incident.code} {safe(incident.subject)}"


def _opened(incident: Incident) -> str:
    ended = ", over by now" if incident.state == State.RESOLVED else ""
    hint = f"\n    what to do: {safe(incident.hint)}" if incident.hint else ""
    return f"{incident.severity}{ended}: {_what(incident)}: {safe(incident.message)}{hint}"
