"""Carries out the retention rules of this site: finds what is old enough, and has the evictor give it up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from librarian_daemon.catalog import eviction_rows as rows
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.evictions import candidates
from librarian_daemon.catalog.evictions.attempts import Looked, Wish
from librarian_daemon.eviction.evictor import Evictor
from librarian_daemon.ports.store import Space, Store
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import retention
from librarian_protocol.errors import LibrarianError
from librarian_protocol.eviction.letters import MOST_BYTES, MOST_FILES
from librarian_protocol.names import SiteName
from librarian_protocol.retention import Rule

#: A store may fill quickly.
LOOK_EVERY_S = 30.0
_PAGE = 2000
WHY = "rule"


class Pass(msgspec.Struct, kw_only=True):
    """One rule's way through its store."""

    #: The file that it is behind.
    after: int = 0
    #: Of the present pass, or of the last one once it ended.
    looked: int = 0
    given_up: int = 0
    size_bytes: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter[str])
    ended_at: str | None = None
    #: Not before this moment of the clock that does not jump, where nothing presses.
    next_s: float = 0.0
    #: It began because the store was too full, and is not yet down.
    begun: bool = False


class Retention:
    """Service."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        stores: Mapping[str, Store],
        clock: Clock,
        site: SiteName,
        evictor: Evictor,
        rules: Sequence[Rule],
        every_s: float,
        grace_s: float,
        least_grace_s: float,
    ) -> None:
        """``every_s``: seconds between two passes of a rule that goes by age; ``grace_s``: in trash."""
        self._catalog = catalog
        self._stores = stores
        self._clock = clock
        self._site = site
        self._evictor = evictor
        self.rules = rules
        self._every_s = every_s
        self._grace_s = grace_s
        self._least_grace_s = least_grace_s
        self.passes = [Pass() for _ in rules]
        self.wake = Signal()
        self._log = structlog.get_logger("retention")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            more = False
            for rule, state in zip(self.rules, self.passes, strict=True):
                try:
                    more |= await self._carry_out(rule, state)
                except LibrarianError as exc:
                    self._log.error("rule_not_carried_out", store=rule.store, match=rule.match, error=exc.message)
            await self.wake.wait(0.1 if more else LOOK_EVERY_S)

    def now(self) -> None:
        """Begin every pass now."""
        for state in self.passes:
            state.next_s = 0.0
        self.wake.set()

    def wish(self, rule: Rule, store: Store) -> Wish:
        """What a rule wants of a store."""
        return self._evictor.wish(
            store.id, WHY, allow_archive=rule.allow_archive, needs_archive=rule.needs_role is not None
        )

    async def _carry_out(self, rule: Rule, state: Pass) -> bool:
        """A batch of a rule. Returns whether there is more to do at once."""
        store = next((one for one in self._stores.values() if one.label == rule.store), None)
        if store is None or store.can.trash is None:
            return False
        wanted_bytes = await self._wanted(rule, state, store)
        if wanted_bytes == 0 or self._clock.boottime_s() < state.next_s:
            return False
        wish = self.wish(rule, store)
        batch = await self._next(rule, state, wish, wanted_bytes)
        if not batch:
            return False
        for outcome in await self._evictor.give_up(wish, [one.file.file_id for one in batch]):
            if outcome.refusal is not None:
                state.refused[outcome.refusal] += 1
            elif not outcome.unfit:
                state.given_up += 1
                state.size_bytes += outcome.file.size_bytes
        return True

    async def _wanted(self, rule: Rule, state: Pass, store: Store) -> int | None:
        """Bytes that are to be given up now; None: all that is old enough."""
        if rule.fuller_than is None:
            return None
        space: Space = await store.space()
        trashed = await self._catalog.read(rows.trashed, store.id)
        fuller = retention.is_fuller(rule, total_bytes=space.total_bytes, free_bytes=space.free_bytes)
        self._evictor.grace_s[store.id] = self._least_grace_s if fuller else self._grace_s
        wanted = retention.to_free_bytes(
            rule,
            total_bytes=space.total_bytes,
            free_bytes=space.free_bytes,
            going_bytes=trashed.size_bytes,
            begun=state.begun,
        )
        if wanted and not state.begun:
            self._log.info("store_too_full", store=store.label, wanted_bytes=wanted)
            state.after = 0
        state.begun = bool(wanted)
        return wanted

    async def _next(self, rule: Rule, state: Pass, wish: Wish, wanted_bytes: int | None) -> list[Looked]:
        """The next batch; empty at the end of a pass."""
        batch: list[Looked] = []
        size_bytes = 0
        if state.after == 0:
            state.looked = state.given_up = state.size_bytes = 0
            state.refused = Counter()
        now_s = self._clock.unix_s()
        while True:
            page = await self._catalog.read(candidates.after, self._site, wish.store, state.after, _PAGE)
            old = [one.file_id for one in page if retention.is_old_enough(rule, one.name, one.at, now_s)]
            for at in range(0, len(old), MOST_FILES):
                for one in await self._evictor.look(wish, old[at : at + MOST_FILES]):
                    state.after = one.file.file_id
                    state.looked += 1
                    if one.refusal is not None:
                        state.refused[one.refusal] += 1
                    elif not one.unfit:
                        batch.append(one)
                        size_bytes += one.file.size_bytes
                    if (
                        len(batch) == MOST_FILES
                        or size_bytes >= MOST_BYTES
                        or (wanted_bytes is not None and size_bytes >= wanted_bytes)
                    ):
                        return batch
            if not page:
                state.after = 0
                state.ended_at = self._clock.utc()
                state.next_s = self._clock.boottime_s() + self._every_s
                return batch
            state.after = page[-1].file_id
