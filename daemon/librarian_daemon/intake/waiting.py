"""What is not complete yet, and why: bounded, in memory, and lost without harm."""

from __future__ import annotations

import msgspec

from librarian_daemon.intake.scan import Candidate, Fingerprint, Kind
from librarian_daemon.settings import IntakeSettings

#: Candidates whose looks are remembered. Beyond, the times in the filesystem must do.
MOST = 10_000
STILL_WRITTEN = "still-being-written"
NOT_QUIET = "not-quiet-yet"
NO_MARKER = "no-marker"
NOT_READABLE = "not-readable"
#: Reasons that are looked at again by time; the others wait for an event or a walk.
_BY_TIME = frozenset({STILL_WRITTEN, NOT_QUIET})


class _Seen(msgspec.Struct):
    fingerprint: Fingerprint
    since_s: float
    reason: str


class Waiting:
    """Candidates by path, as they looked and since when."""

    def __init__(self, settings: IntakeSettings, most: int = MOST) -> None:
        self._complete = settings.complete
        self._quiet_s = settings.quiet_s
        self._most = most
        self._seen: dict[bytes, _Seen] = {}
        #: Candidates that found no room at the last walk; for the count only.
        self.beyond = 0

    def judge(self, found: Candidate, *, moved: bool, marked: bool, now_s: float, unix_s: int) -> bool:
        """Whether the candidate is complete; if not, it waits from now on, or still does.

        Args:
            moved: it was renamed into place as a whole.
            marked: a book's marker stands in it.
            now_s: on the clock that does not jump.
            unix_s: wall time, to compare with the filesystem's where nothing is remembered.
        """
        seen = self._seen.get(found.rel)
        if seen is not None and seen.reason == STILL_WRITTEN and now_s - seen.since_s < self._quiet_s:
            return False
        if self._complete == "marker" and found.kind is Kind.BOOK:
            return marked or self._wait(found, NO_MARKER, now_s)
        if self._complete == "rename" or moved:
            return True
        if seen is None and len(self._seen) >= self._most:
            if unix_s - found.newest_ns / 1e9 >= self._quiet_s:
                return True
            self.beyond += 1
            return False
        if seen is not None and seen.fingerprint == found.fingerprint:
            return now_s - seen.since_s >= self._quiet_s
        return self._wait(found, NOT_QUIET, now_s)

    def _wait(self, found: Candidate, reason: str, now_s: float) -> bool:
        if found.rel in self._seen or len(self._seen) < self._most:
            self._seen[found.rel] = _Seen(found.fingerprint, now_s, reason)
        return False

    def hold(self, found: Candidate, reason: str, now_s: float) -> None:
        """It looked complete, but cannot be taken for this reason."""
        self._wait(found, reason, now_s)

    def returned(self, rel: bytes, now_s: float) -> None:
        """It was put back: somebody wrote to it. It is left alone for a while, whatever its look."""
        if rel in self._seen or len(self._seen) < self._most:
            self._seen[rel] = _Seen((0, 0, 0, 0, 0), now_s, STILL_WRITTEN)

    def forget(self, rel: bytes) -> None:
        """It was taken, or is gone."""
        self._seen.pop(rel, None)

    def due(self, now_s: float) -> list[bytes]:
        """What is to be looked at again now."""
        return [
            rel for rel, seen in self._seen.items() if seen.reason in _BY_TIME and now_s - seen.since_s >= self._quiet_s
        ]

    def others(self) -> list[bytes]:
        """What waits for something else than time: to be looked at with each walk, for it may be gone."""
        return [rel for rel, seen in self._seen.items() if seen.reason not in _BY_TIME]

    def next_due_s(self, now_s: float) -> float | None:
        """Seconds until the next look; None where nothing waits for time."""
        since = [seen.since_s for seen in self._seen.values() if seen.reason in _BY_TIME]
        return max(min(since) + self._quiet_s - now_s, 0.0) if since else None

    def __len__(self) -> int:
        return len(self._seen) + self.beyond

    def items(self, most: int) -> list[tuple[bytes, str]]:
        """Some of them, with their reasons."""
        found: list[tuple[bytes, str]] = []
        for rel, seen in self._seen.items():
            if len(found) >= most:
                break
            found.append((rel, seen.reason))
        return found
