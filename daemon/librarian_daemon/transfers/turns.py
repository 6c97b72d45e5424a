"""What a wanted transfer waits for: its turn, a slot of its source, or a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transfers import planning
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.transfers.batches import Batches
from librarian_daemon.transfers.pauses import Pauses
from librarian_daemon.transfers.slots import Slots, says
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import State
from librarian_protocol.wanted import EXPLAINED, UnwantedReason


class Turns:
    """Answers from the state that the replicator uses."""

    def __init__(
        self,
        catalog: Catalog,
        site: SiteName,
        adapters: Sequence[str],
        batches: Batches,
        slots: Mapping[str, Slots],
        pauses: Pauses,
    ) -> None:
        self._catalog = catalog
        self._site = site
        self._adapters = adapters
        self._batches = batches
        self._slots = slots
        self._pauses = pauses

    async def waits_for(self, owed: TransferView) -> str:
        """``site-has-its-share: summit …``; "" if the transfer does not wait for its turn."""
        if owed.row.transfer.state is not State.WANTED:
            return ""
        if why := self._pauses.transfers():
            return f"paused: transfers are {why}"
        files = [owed.row.file_id]
        if owed.row.subscription in await self._catalog.read(planning.local_subscriptions, self._site):
            found = await self._catalog.read(planning.find_local_sources, self._site, files)
        else:
            found = await self._catalog.read(planning.find_sources, self._site, self._adapters, files)
        ways = found.get(owed.row.file_id, UnwantedReason.NO_SOURCE)
        if isinstance(ways, UnwantedReason):
            return f"no-source: {EXPLAINED[ways]}"
        opened = self._batches.open(ways)
        if not opened:
            return f"paused: {ways[0].site} is {self._pauses.peer(ways[0].site)}"
        source = self._batches.way(owed, opened).source
        adapter = source.offer.name
        return (
            says(self._slots[adapter], adapter, source.site)
            or f"its-turn: {source.site} brings it next by {adapter}, after what was wanted before it"
        )
