"""What people are told of incidents, and when. Pure.

One message names everything that there is to tell: many incidents at once are one message, not many.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from librarian_protocol.api import Incident
from librarian_protocol.incidents import Severity, State
from librarian_protocol.shown import safe

#: Incidents that one message names; the others are counted.
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
    critical = any(one.severity == Severity.CRITICAL for one in new)
    return max(0.0, (min(every_s, CRITICAL_EVERY_S) if critical else every_s) - since_last_s)


def message(site: str, new: Sequence[Incident], over: Sequence[Incident]) -> Message:
    """What to send about new incidents and about ones that are over; at least one of both."""
    ordered = sorted(new, key=lambda one: (_RANK[Severity(one.severity)], one.id))
    counts = [f"{len(found)} {what}" for found, what in ((new, "new"), (over, "over")) if found]
    worst = Severity(ordered[0].severity) if ordered else None
    first = (ordered or list(over))[0]
    title = f"Librarian {site}: {first.title if len(new) + len(over) == 1 else ', '.join(counts)}"
    if worst is not None:
        title += f" ({worst})"
    elif len(over) == 1:
        title += ": over"
    lines = [_opened(one) for one in ordered] + [f"over: {_what(one)}" for one in over]
    if len(lines) > NAMED:
        lines = [*lines[:NAMED], f"… and {len(lines) - NAMED} more: lbctl incident list"]
    return Message(severity=worst, title=safe(title), body="\n".join(lines))


def _what(one: Incident) -> str:
    return f"[{one.id}] {one.code} {safe(one.subject)}"


def _opened(one: Incident) -> str:
    ended = ", over by now" if one.state == State.RESOLVED else ""
    hint = f"\n    what to do: {safe(one.hint)}" if one.hint else ""
    return f"{one.severity}{ended}: {_what(one)}: {safe(one.message)}{hint}"
