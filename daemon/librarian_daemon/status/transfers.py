"""The views of transfers, and of a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.status import queries
from librarian_daemon.catalog.transfers import order
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.mesh.membership import Membership
from librarian_daemon.mesh.presences import Presences
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.time import Clock
from librarian_daemon.transfers.fetcher import TransferProgress
from librarian_daemon.transfers.pauses import Pauses, shown
from librarian_daemon.transfers.turns import Turns
from librarian_protocol import api
from librarian_protocol.errors import NotFound
from librarian_protocol.priorities import arrivals
from librarian_protocol.transfer import POLICIES, State

#: Number of transfers that are read to estimate arrival times.
MOST_QUEUED = 10_000
QUEUED = frozenset({State.WANTED, State.RESERVED, State.FETCHING})
NO_ETAS: Mapping[int, float] = {}


class TransferViews:
    """Read-only answers."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        stores: Mapping[str, Store],
        membership: Membership,
        presences: Presences,
        progress: TransferProgress,
        turns: Turns,
        pauses: Pauses,
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._membership = membership
        self._presences = presences
        self._progress = progress
        self._turns = turns
        self._pauses = pauses
        self._clock = clock

    def pauses(self) -> list[api.Pause]:
        """The pauses."""
        return shown(self._pauses.in_force(), self._clock)

    async def name(self, name: str) -> api.NameDetail:
        """Everything that is known of a name.

        Raises:
            NotFound: nothing is.
        """
        found = await self._catalog.read(queries.detail, name)
        if found is None:
            raise NotFound(
                f"no file named {name!a} is known here", hint="`lbctl file list --match GLOB` looks for names"
            )
        away = {str(site): why for site, why in (await self._presences.away()).items()}
        for file, owed in found.files:
            for instance in file.instances:
                if instance.site in away and instance.state != "removed":
                    instance.detail = "; ".join(
                        [*filter(None, [instance.detail]), f"{instance.site} is not heard: {away[instance.site]}"]
                    )
            file.transfers = [await self.detail(view) for view in owed]
        return api.NameDetail(name=found.name, conflict=found.conflict, files=[file for file, _ in found.files])

    async def etas(self, page: Sequence[TransferView]) -> Mapping[int, float]:
        """Estimated arrival of the queued transfers of the page, in seconds from now."""
        if self._pauses.transfers() or not any(view.row.transfer.state in QUEUED for view in page):
            return {}
        on_wire, wanted = await self._catalog.read(order.queue, MOST_QUEUED)
        came = self._progress.bytes
        left = [
            msgspec.structs.replace(entry, left_bytes=entry.left_bytes - came.get(entry.id, 0)) for entry in on_wire
        ]
        rates = {
            str(site): self._progress.rate(site) for site in self._membership.members if not self._pauses.peer(site)
        }
        return arrivals(left, wanted, rates)

    async def transfer(self, owed: TransferView, etas: Mapping[int, float] = NO_ETAS) -> api.FileTransfer:
        """The view of a transfer."""
        row, transfer = owed.row, owed.row.transfer
        wait_s = None
        if transfer.next_try_s is not None:
            wait_s = round(max(transfer.next_try_s - self._clock.boottime_s(), 0.0), 1)
        store = self._stores.get(row.store)
        return api.FileTransfer(
            id=owed.id,
            name=owed.name,
            digest=owed.digest,
            size_bytes=owed.size_bytes,
            unit=owed.unit.value,
            store=row.store,
            label=store.label if store else "",
            state=transfer.state.value,
            reason=transfer.reason.value if transfer.reason else None,
            message=row.message,
            hint=POLICIES[transfer.reason].hint if transfer.reason else "",
            source_site=transfer.source,
            adapter=row.adapter,
            attempts=transfer.attempts,
            next_try_in_s=wait_s,
            created_at=row.created_at,
            changed_at=row.changed_at,
            chosen=row.chosen,
            moved_bytes=self._progress.bytes.get(owed.id, 0),
            priority=row.priority,
            eta_s=etas.get(owed.id),
        )

    async def detail(self, owed: TransferView) -> api.FileTransfer:
        """The view of a transfer, with what it waits for."""
        shown = await self.transfer(owed, await self.etas([owed]))
        shown.waits_for = await self._turns.waits_for(owed)
        return shown
