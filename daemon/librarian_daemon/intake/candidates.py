"""Decides when a candidate is complete, and remembers those that are not, with the reason.

In memory and bounded; losing them does no harm.
"""

from __future__ import annotations

import msgspec

from librarian_daemon.config.settings import IntakeSettings
from librarian_daemon.intake.directory.drop import shown
from librarian_daemon.intake.directory.scanner import Candidate, Fingerprint, Kind
from librarian_daemon.intake.directory.watcher import Arrival
from librarian_protocol import dropped
from librarian_protocol.dropped import Outstanding, Reason

#: Candidates whose fingerprints are remembered. For others the times in the filesystem decide.
MOST = 10_000
#: It is complete and is being taken in; it waits for the disk or the catalog.
BEING_TAKEN = "being-taken"
#: Reasons that are looked at again by time; the others wait for an event or a walk.
_BY_TIME = frozenset({Reason.STILL_WRITTEN, Reason.NOT_QUIET, Reason.NOT_READABLE, Reason.HOLDS_UNFINISHED})
_UNSEEN: Fingerprint = (0, 0, 0, 0, 0)


class Item(msgspec.Struct, frozen=True):
    """Something that waits."""

    rel: bytes
    reason: Reason
    #: Which member, or what the system said; "" if there is nothing to add.
    detail: str


class _Seen(msgspec.Struct):
    fingerprint: Fingerprint
    #: Since when it has this fingerprint and this reason; when it must be looked at again.
    since_s: float
    due_s: float
    reason: Reason
    detail: str
    #: It was seen to be moved in, and nothing has changed about that.
    moved: bool


class Candidates:
    """Candidates by path, with their last fingerprint and its time."""

    def __init__(self, settings: IntakeSettings, most: int = MOST) -> None:
        self._complete = settings.complete
        self._quiet_s = settings.quiet_for_s
        self._most = most
        self._seen: dict[bytes, _Seen] = {}
        #: Number of candidates that the last walk could not remember.
        self.beyond = 0

    def judge(self, found: Candidate, *, arrival: Arrival, marked: bool, now_s: float, unix_s: int) -> bool:
        """Whether the candidate is complete. A candidate that is not complete waits.

        Args:
            arrival: how it arrived.
            marked: a book's marker is in it.
            now_s: on the clock that does not jump.
            unix_s: wall time, to compare with the filesystem's where nothing is remembered.
        """
        seen = self._seen.get(found.rel)
        if seen is not None and seen.reason is Reason.STILL_WRITTEN and now_s < seen.due_s:
            seen.moved = seen.moved or arrival is Arrival.MOVED
            return False
        if self._complete == "marker" and found.kind is Kind.BOOK:
            return marked or self._wait(found, Reason.NO_MARKER, now_s)
        if arrival is Arrival.MOVED or (seen is not None and seen.moved and self._complete == "moved"):
            return True
        if seen is not None and seen.reason is Reason.PAUSED and seen.fingerprint == found.fingerprint:
            return True  # it was complete when the pause stopped it
        doubtful = arrival is Arrival.BY_RSYNC or (
            seen is not None and seen.reason is Reason.NOT_SEEN_FINISHED and seen.fingerprint == found.fingerprint
        )
        if doubtful or found.stopped:
            return self._wait(found, Reason.NOT_SEEN_FINISHED, now_s)
        if self._complete == "rename":
            return True
        if self._complete == "moved":
            return self._wait(found, Reason.NOT_SEEN_MOVED, now_s)
        if found.holds:
            return self._wait(found, Reason.HOLDS_UNFINISHED, now_s, shown(found.holds))
        if seen is None and len(self._seen) >= self._most:
            if unix_s - found.newest_ns / 1e9 >= self._quiet_s:
                return True
            self.beyond += 1
            return False
        if seen is not None and seen.fingerprint == found.fingerprint and seen.reason is not Reason.HOLDS_UNFINISHED:
            if now_s - seen.since_s >= self._quiet_s:
                return True
            if seen.reason is Reason.NOT_QUIET:
                return False
        detail = f"{shown(found.newest)} changed" if found.newest and seen is not None else ""
        return self._wait(found, Reason.NOT_QUIET, now_s, detail)

    def _wait(self, found: Candidate, reason: Reason, now_s: float, detail: str = "") -> bool:
        self.hold(found.rel, reason, now_s, detail=detail, fingerprint=found.fingerprint)
        return False

    def hold(
        self,
        rel: bytes,
        reason: Reason,
        now_s: float,
        *,
        detail: str = "",
        fingerprint: Fingerprint = _UNSEEN,
        moved: bool = False,
    ) -> None:
        """Note that it cannot be taken, for this reason. A candidate that already waits for this reason keeps its first
        time.
        """
        seen = self._seen.get(rel)
        if seen is None:
            if len(self._seen) >= self._most:
                self.beyond += 1
                return
        elif seen.reason is reason and seen.fingerprint == fingerprint:
            seen.due_s, seen.detail, seen.moved = now_s + self._quiet_s, detail, seen.moved or moved
            return
        moved = moved or (seen is not None and seen.moved)
        self._seen[rel] = _Seen(fingerprint, now_s, now_s + self._quiet_s, reason, detail, moved)

    def returned(self, rel: bytes, reason: Reason, now_s: float) -> None:
        """It was complete and was put back: it is not looked at for a while."""
        self.hold(rel, reason, now_s, moved=True)

    def forget(self, rel: bytes) -> None:
        """Forget a candidate that was taken or is gone."""
        self._seen.pop(rel, None)

    def due(self, now_s: float) -> list[bytes]:
        """Paths that must be looked at again now."""
        return [rel for rel, seen in self._seen.items() if seen.reason in _BY_TIME and now_s >= seen.due_s]

    def others(self) -> list[bytes]:
        """Paths that do not wait for time. Each walk looks at them, since they may be gone."""
        return [rel for rel, seen in self._seen.items() if seen.reason not in _BY_TIME]

    def next_due_s(self, now_s: float) -> float | None:
        """Seconds until the next look; None if nothing waits for time."""
        due = [seen.due_s for seen in self._seen.values() if seen.reason in _BY_TIME]
        return max(min(due) - now_s, 0.0) if due else None

    def next_told_s(self, now_s: float) -> float | None:
        """Seconds until the next candidate must be reported to a person; None if there is none."""
        patience_s = dropped.PATIENCE * self._quiet_s
        left = (seen.since_s + patience_s - now_s for seen in self._seen.values() if seen.reason in dropped.HINTS)
        return min((wait_s for wait_s in left if wait_s > 0), default=None)

    def __len__(self) -> int:
        return len(self._seen) + self.beyond

    def items(self, most: int) -> list[Item]:
        """At most ``most`` of them; those that need a person come first."""
        chosen = sorted(self._seen.items(), key=lambda entry: entry[1].reason not in dropped.HINTS)[:most]
        return [Item(rel, seen.reason, seen.detail) for rel, seen in chosen]

    def by_reason(self) -> dict[str, int]:
        """Number that wait for each reason, without those that are not remembered."""
        counts: dict[str, int] = {}
        for seen in self._seen.values():
            counts[seen.reason.value] = counts.get(seen.reason.value, 0) + 1
        return counts

    def outstanding(self, now_s: float, place: str) -> dict[str, Outstanding]:
        """What to report to a person, by reason; ``place`` is the drop directory, for the message."""
        found: dict[Reason, list[str]] = {}
        for rel, seen in self._seen.items():
            if dropped.is_for_a_person(seen.reason, now_s - seen.since_s, self._quiet_s):
                detail = f" ({seen.detail})" if seen.detail else ""
                found.setdefault(seen.reason, []).append(f"{place}/{shown(rel)}{detail}")
        return {
            reason.value: dropped.waiting(reason, len(names), names, at_least=bool(self.beyond))
            for reason, names in found.items()
        }
