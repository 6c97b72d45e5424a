"""The ways out of ``.claimed`` other than into the store: put back, refused, removed because it is stored."""

from __future__ import annotations

import os
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from librarian_daemon.intake import claim, refuse
from librarian_daemon.intake.claim import Claimed
from librarian_daemon.intake.drop import REJECTED, Drop, shown
from librarian_daemon.intake.lease import StillWritten
from librarian_daemon.ports import Clock, Incidents, Rng
from librarian_daemon.store.threads import Threads
from librarian_protocol.errors import LibrarianError, NotPossible

INCIDENT_REFUSED = "intake-refused"
_REASONS = {os.fsdecode(refuse.REASON)}


class Exits:
    """Each method raises StoreError where the drop directory's filesystem fails."""

    def __init__(
        self,
        drop: Drop,
        incidents: Incidents,
        clock: Clock,
        rng: Rng,
        threads: Threads,
        logger: FilteringBoundLogger,
        returned: Callable[[bytes], None],
    ) -> None:
        """``returned`` is told each path before it is put back."""
        self._drop = drop
        self._incidents = incidents
        self._clock = clock
        self._rng = rng
        self._threads = threads
        self._log = logger
        self._returned = returned
        self.refused = 0
        #: Something had to stay claimed: it is to be taken up again later.
        self.left_claimed = False

    async def put_back(self, claimed: Claimed, why: StillWritten) -> None:
        """Return it to its writer; it stays claimed where something has its place by now."""
        self._returned(claimed.rel)
        if await self._threads.run(claim.put_back, self._drop, claimed):
            self._log.info("still_being_written", path=shown(claimed.rel), reason=str(why))
        else:
            self.left_claimed = True
            self._log.warning("written_to_after_claim", path=shown(claimed.rel), reason=str(why))

    async def refuse(self, claimed: Claimed, error: LibrarianError) -> None:
        """Move it to ``.rejected`` with its reason beside it, and open an incident."""
        place = await self._reject(claimed, error)
        self.refused += 1
        path = f"{self._drop.path}/{shown(claimed.rel)}"
        self._log.warning("file_refused", path=path, code=error.code, reason=error.message, moved_to=place)
        where = f"{self._drop.path}/{place}"
        await self._incidents.open(
            INCIDENT_REFUSED,
            where,
            f"{path} was refused: {error.message}",
            f"{error.hint or 'see the reason beside it'}; it was moved to {where}: empty that, and this is over",
        )

    async def resolve_cleared(self) -> None:
        """Resolve the incidents of what somebody has taken out of ``.rejected`` since."""
        ours = f"{self._drop.path}/{os.fsdecode(REJECTED)}/"
        open_now = [one for one in await self._incidents.subjects(INCIDENT_REFUSED) if one.startswith(ours)]
        for where in await self._threads.run(_cleared, open_now):
            await self._incidents.resolve(INCIDENT_REFUSED, where)

    async def remove(self, claimed: Claimed) -> None:
        """Remove the original of what is in the store. Where we may not, its owner finds it in ``.rejected``."""
        if not await self._threads.run(claim.remove, self._drop, claimed):
            error = NotPossible(
                "it was accepted and is in the store, but the daemon's user may not remove this original",
                hint="remove it; give the daemon's user write access to what is dropped",
            )
            place = await self._reject(claimed, error)
            self._log.warning("original_left", path=shown(claimed.rel), moved_to=place)

    async def _reject(self, claimed: Claimed, error: LibrarianError) -> str:
        at, refusal_id = self._clock.utc(), self._rng.hex(8)
        return await self._threads.run(refuse.refuse, self._drop, claimed, error, at, refusal_id)


def _cleared(directories: list[str]) -> list[str]:
    """Those that are gone, or hold nothing but the reason."""
    return [one for one in directories if not os.path.isdir(one) or set(os.listdir(one)) <= _REASONS]
