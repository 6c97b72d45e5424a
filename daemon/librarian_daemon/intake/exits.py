"""How claimed files leave ``.claimed`` other than into the store: put back, refused, or removed once stored."""

from __future__ import annotations

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from librarian_daemon.fs.threads import Threads
from librarian_daemon.intake.directory import claims, rejection
from librarian_daemon.intake.directory.claimed import Claimed
from librarian_daemon.intake.directory.drop import Drop, shown
from librarian_daemon.intake.directory.lease import NotReadable, StillWritten
from librarian_daemon.intake.directory.rejected import Refused
from librarian_daemon.intake.drop_incidents import Refusals
from librarian_daemon.ports.time import Clock, Rng
from librarian_protocol.dropped import Reason
from librarian_protocol.errors import LibrarianError, NotPossible


class Exits:
    """Each method raises StoreError if the drop directory's filesystem fails."""

    def __init__(
        self,
        drop: Drop,
        refusals: Refusals,
        clock: Clock,
        rng: Rng,
        threads: Threads,
        logger: FilteringBoundLogger,
        returned: Callable[[bytes, Reason], None],
    ) -> None:
        """``returned`` is called with each path before it is put back, and why."""
        self._drop = drop
        self._refusals = refusals
        self._clock = clock
        self._rng = rng
        self._threads = threads
        self._log = logger
        self._returned = returned
        self.refused = 0
        #: Paths that had to stay claimed, and why: they are retried later.
        self.left_claimed: dict[bytes, Reason] = {}

    async def put_back(self, claimed: Claimed, why: StillWritten) -> None:
        """Return it to its writer. It stays claimed if its place is occupied or this is not permitted."""
        reason = Reason.NOT_READABLE if isinstance(why, NotReadable) else Reason.STILL_WRITTEN
        self._returned(claimed.rel, reason)
        if await self._threads.run(claims.put_back, self._drop, claimed):
            self._log.info("put_back", path=shown(claimed.rel), reason=reason.value, detail=str(why))
        else:
            self.left_claimed[claimed.path] = reason
            self._log.warning("left_claimed", path=shown(claimed.rel), reason=reason.value, detail=str(why))

    async def refuse(self, claimed: Claimed, error: LibrarianError) -> None:
        """Move it to ``.rejected`` with its reason, and count it in the incident of its cause."""
        place = await self._reject(claimed, error)
        if not place:
            return
        self.refused += 1
        path = f"{self._drop.path}/{shown(claimed.rel)}"
        self._log.warning("file_refused", path=path, code=error.code, reason=error.message, moved_to=place)

    async def remove(self, claimed: Claimed) -> None:
        """Remove the original of a stored file. If this is not permitted, its owner finds it in ``.rejected``."""
        if not await self._threads.run(claims.remove, self._drop, claimed):
            error = NotPossible(
                "the daemon's user may not remove all of this original",
                hint="remove it; give the daemon's user write access to what is dropped: `chmod -R g+rwX PATH`",
            )
            place = await self._reject(claimed, error, accepted=True)
            self._log.warning("original_left", path=shown(claimed.rel), moved_to=place)

    async def _reject(self, claimed: Claimed, error: LibrarianError, *, accepted: bool = False) -> str:
        """Its new path; "" if it had to stay claimed."""
        at, refusal_id = self._clock.utc(), self._rng.hex(8)
        text = rejection.reason_text(self._drop, claimed, error, at, accepted=accepted)
        try:
            place = await self._threads.run(rejection.refuse, self._drop, claimed, text, at, refusal_id)
        except PermissionError as exc:
            self.left_claimed[claimed.path] = Reason.NOT_PERMITTED
            self._log.warning("left_claimed", path=shown(claimed.rel), reason=error.message, detail=exc.strerror)
            return ""
        self._refusals.add(
            Refused(
                place=place.rpartition("/")[2],
                what=shown(claimed.rel),
                cause=(rejection.ORIGINAL_LEFT if accepted else error.kind).replace("_", "-"),
                code=error.code,
                at=at,
                why=error.message,
                hint=error.hint,
            )
        )
        return place
