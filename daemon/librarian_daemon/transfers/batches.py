"""Which wanted transfers go together in a batch, from whom, and whose turn it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence, Set

import msgspec

from librarian_adapters.contract import Adapter
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.config.settings import AdapterLimits, ReplicatorSettings
from librarian_daemon.ports.time import Rng
from librarian_daemon.transfers.fetcher import Job
from librarian_daemon.transfers.slots import Slots, Slow
from librarian_protocol.entries import Unit
from librarian_protocol.names import SiteName
from librarian_protocol.source_choice import Choice, choose
from librarian_protocol.transfer import Fail, Reason
from librarian_protocol.wanted import EXPLAINED, Source, UnwantedReason

_NONE = {
    UnwantedReason.NO_COMMON_ADAPTER: Reason.NO_COMMON_ADAPTER,
    UnwantedReason.NO_SOURCE: Reason.NO_SOURCE,
    UnwantedReason.NO_OTHER_STORE: Reason.NO_SOURCE,
    UnwantedReason.SOURCE_DOUBTED: Reason.NO_SOURCE,
}


class _Asked(msgspec.Struct, frozen=True):
    """A transfer and the source chosen for it."""

    owed: TransferView
    choice: Choice
    #: Whether another site could be tried.
    has_other: bool


#: Transfers of one site and one adapter that can share a batch, in order, by what must be equal.
_Piles = dict[tuple[str, ...], deque[_Asked]]
#: By what decides: the list of the ways itself, and what the transfer has behind it.
_Chosen = dict[tuple[int, int, str, int], tuple[Choice, bool] | None]


class Batches:
    """Groups transfers into jobs. Has no state."""

    def __init__(
        self,
        *,
        adapters: Mapping[str, Adapter],
        stores: Container[str],
        settings: ReplicatorSettings,
        limits: Mapping[str, AdapterLimits],
        slots: Mapping[str, Slots],
        slow: Slow,
        paused: Callable[[], Set[SiteName]],
        rng: Rng,
    ) -> None:
        """``paused``: sites from which nothing is fetched now."""
        self.adapters = adapters
        self._stores = stores
        self._settings = settings
        self._min_bytes = {name: limit.min_bytes for name, limit in limits.items()}
        #: By adapter.
        self.slots = slots
        self._slow = slow
        self._paused = paused
        self._rng = rng

    @property
    def files(self) -> int:
        """Files of a batch at most."""
        return self._settings.batch_files

    def open(self, ways: Sequence[Source]) -> Sequence[Source]:
        """The ways through sites that are not paused."""
        paused = self._paused()
        return [way for way in ways if way.site not in paused] if paused else ways

    def way(self, owed: TransferView, ways: Sequence[Source]) -> Choice:
        """The way of the next attempt, out of at least one. A slow site is used only if no other has the file."""
        slow = self._slow()
        return choose(
            [way for way in ways if way.site not in slow] or ways,
            size_bytes=owed.size_bytes,
            attempts=owed.row.transfer.attempts,
            last=owed.row.message,
            min_bytes=self._min_bytes,
        )

    def choose(
        self, owed: Sequence[TransferView], found: Mapping[int, Sequence[Source] | UnwantedReason]
    ) -> tuple[list[Job], list[Transition]]:
        """Group by source and adapter, each book by itself, as far as there are slots.

        Transfers without a source fail for that reason: they are in the second list.
        """
        hopeless: list[Transition] = []
        asking: dict[str, dict[SiteName, _Piles]] = {}
        known: _Chosen = {}
        for view in owed:
            if view.row.store not in self._stores:
                fail = Fail(Reason.STORE_NOT_MOUNTED)
                hopeless.append(Transition(view=view, event=fail, message="the store is not configured here"))
                continue
            ways = found.get(view.row.file_id, UnwantedReason.NO_SOURCE)
            if isinstance(ways, UnwantedReason):
                hopeless.append(Transition(view=view, event=Fail(_NONE[ways]), message=EXPLAINED[ways]))
                continue
            chosen = self._chosen(view, ways, known)
            if chosen is None:
                continue  # all of them are paused: it stays wanted
            choice, has_other = chosen
            source, adapter = choice.source, choice.source.offer.name
            alone = view.unit is Unit.BOOK and not self.adapters[adapter].capabilities.trees
            key = (view.row.store, source.store, str(view.id) if alone else "")
            piles = asking.setdefault(adapter, {}).setdefault(source.site, {})
            piles.setdefault(key, deque()).append(_Asked(view, choice, has_other))
        return [job for adapter, by_site in asking.items() for job in self._shared(adapter, by_site)], hopeless

    def _chosen(self, owed: TransferView, ways: Sequence[Source], known: _Chosen) -> tuple[Choice, bool] | None:
        """The way, and whether another site could be tried; None where all are paused. What is alike is chosen once."""
        attempts = owed.row.transfer.attempts
        alike = id(ways), attempts, owed.row.message if attempts else "", owed.size_bytes if self._min_bytes else 0
        if alike not in known:
            ways = self.open(ways)
            known[alike] = (self.way(owed, ways), len({way.site for way in ways}) > 1) if ways else None
        return known[alike]

    def _shared(self, adapter: str, asking: dict[SiteName, _Piles]) -> list[Job]:
        """Jobs of one adapter, with the sites in turn, until no site can have another."""
        jobs: list[Job] = []
        slots = self.slots[adapter].copy()
        while (site := slots.following(asking)) is not None:
            slots.take(site)
            piles = asking[site]
            key = min(piles, key=lambda pile: piles[pile][0].owed.place)
            jobs.append(self._job(piles[key]))
            if not piles[key]:
                del piles[key]
            if not piles:
                del asking[site]
        return jobs

    def _job(self, pile: deque[_Asked]) -> Job:
        """A job with as much of the pile as fits, removed from it. One priority only: urgent transfers wait for no
        others.
        """
        source = pile[0].choice.source
        limits = self.adapters[source.offer.name].capabilities
        files = min(limits.max_files, self._settings.batch_files)
        left_bytes = min(limits.max_bytes, self._settings.batch_bytes)
        job = Job(
            id=self._rng.hex(16),
            source=source.site,
            source_store=source.store,
            offer=source.offer,
            owed=[],
            has_other=set(),
            why={},
        )
        priority = pile[0].owed.row.priority
        while pile and pile[0].owed.row.priority == priority:
            if job.owed and (len(job.owed) == files or pile[0].owed.size_bytes > left_bytes):
                break
            asked = pile.popleft()
            left_bytes -= asked.owed.size_bytes
            job.owed.append(asked.owed)
            job.why[asked.owed.id] = asked.choice.why
            if asked.has_other:
                job.has_other.add(asked.owed.id)
        return job
