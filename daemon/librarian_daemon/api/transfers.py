"""The control API's routes about transfers: list, show, retry, cancel, pause, resume, priority."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transfers import order, transfers, transitions
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.json_http import answer, limit_of, number_of
from librarian_daemon.runtime.signals import Signal
from librarian_daemon.status.status import Views
from librarian_protocol import api, priorities
from librarian_protocol.errors import ArgumentInvalid, NotFound
from librarian_protocol.transfer import LIVE, TABLE, Cancel, Event, Pause, Reason, Resume, Retry, State, Want

MAX_PAGE = 5000
#: Actions on transfers, by path, with the states that ``all`` selects.
_ASKED: dict[str, tuple[Event, frozenset[State]]] = {
    "retry": (Retry(), frozenset({State.PARKED})),
    "cancel": (
        Cancel(by_person=True),
        frozenset({State.WANTED, State.RESERVED, State.FETCHING, State.WAITING, State.PARKED, State.PAUSED}),
    ),
    "pause": (Pause(), frozenset({State.WANTED, State.RESERVED, State.FETCHING, State.WAITING})),
    "resume": (Resume(), frozenset({State.PAUSED})),
}


class TransferControl:
    """Routes about transfers. ``wake`` wakes the replicator: it ends work on cancelled and paused transfers."""

    def __init__(self, catalog: Catalog, views: Views, clock: Clock, wake: Signal) -> None:
        self._catalog = catalog
        self._views = views
        self._clock = clock
        self._wake = wake

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        prefix = api.PREFIX
        return [
            web.get(f"{prefix}/transfers", self._list),
            web.get(f"{prefix}/transfer", self._show),
            web.post(f"{prefix}/transfer/priority", self._prioritise),
            web.post(f"{prefix}/transfer/{{verb:retry|cancel|pause|resume}}", self._ask),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        state = request.query.get("state") or None
        if state is not None and state not in list(State):
            raise ArgumentInvalid(f"state {state!r} is not one of {', '.join(State)}")
        limit = limit_of(request, 100, MAX_PAGE)
        before = number_of(request, "after", 0, 1 << 62) or None
        page = await self._catalog.read(transfers.page_of, state=state, before=before, limit=limit)
        following = page[-1].id if len(page) == limit else None
        etas = await self._views.transfers.etas(page)
        return answer(
            api.TransferPage(
                transfers=[await self._views.transfers.transfer(view, etas) for view in page], next=following
            )
        )

    async def _show(self, request: web.Request) -> web.Response:
        return answer(await self._views.transfers.detail(await self._of(request)))

    async def _of(self, request: web.Request) -> TransferView:
        number = number_of(request, "id", 0, 1 << 62)
        owed = await self._catalog.read(transfers.by_id, number)
        if owed is None:
            raise NotFound(f"there is no transfer {number}", hint="`lbctl transfer list`")
        return owed

    async def _prioritise(self, request: web.Request) -> web.Response:
        priority = priorities.check(number_of(request, "to", 0, 1 << 30, least=-(1 << 30)))
        owed = await self._of(request)
        if owed.row.transfer.state not in LIVE:
            raise ArgumentInvalid(f"transfer {owed.id} is {owed.row.transfer.state}: it waits for nothing")
        await self._catalog.write(order.prioritise, owed.row.file_id, owed.row.store, priority)
        self._wake.set()
        return answer([await self._views.transfers.detail(await self._of(request))])

    async def _ask(self, request: web.Request) -> web.Response:
        """Idempotent. With ``all``, at most a page of each state; the answer lists the transfers."""
        verb = request.match_info["verb"]
        event, states = _ASKED[verb]
        if request.query.get("all"):
            moves = [(view, event) for view in await self._all(states, request.query.get("reason"))]
        else:
            owed = await self._of(request)
            moves = [(owed, _for(verb, event, owed))]
        taken = await self._catalog.write(
            transitions.apply_transitions,
            [Transition(view=view, event=asked, message="a person asked") for view, asked in moves],
            self._clock.boottime_s(),
        )
        self._wake.set()
        again = await self._catalog.read(transfers.by_ids, sorted(taken))
        return answer([await self._views.transfers.transfer(view) for view in again])

    async def _all(self, states: frozenset[State], reason: str | None) -> Sequence[TransferView]:
        found: list[TransferView] = []
        for state in sorted(states):
            found += await self._catalog.read(transfers.page_of, state=state.value, before=None, limit=MAX_PAGE)
        return [view for view in found if reason is None or view.row.transfer.reason == reason]


def _for(verb: str, event: Event, owed: TransferView) -> Event:
    """The event for one transfer.

    Raises:
        ArgumentInvalid: the machine has no such step.
    """
    transfer = owed.row.transfer
    if verb == "resume" and transfer.state is State.CANCELLED and transfer.reason is Reason.BY_PERSON:
        return Want()
    if (transfer.state, type(event)) not in TABLE:
        raise ArgumentInvalid(f"transfer {owed.id} is {transfer.state}: there is nothing to {verb}")
    return event
