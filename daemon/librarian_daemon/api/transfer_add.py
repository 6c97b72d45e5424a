"""The control API's route for transfers that a person asks for, file by file."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from librarian_daemon.api.stores.control import StoreChoice
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import order, planning, transfers, transitions
from librarian_daemon.catalog.transfers.planning import FileState
from librarian_daemon.catalog.transfers.transfers import NewTransfer, TransferView
from librarian_daemon.catalog.transfers.transitions import Transition
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.json_http import answer, body_of
from librarian_daemon.runtime.signals import Signal
from librarian_daemon.status.status import Views
from librarian_protocol import api, priorities, wire
from librarian_protocol.digests import Digest
from librarian_protocol.errors import ArgumentInvalid, NotFound, NotPossible
from librarian_protocol.names import Name, SiteName
from librarian_protocol.transfer import State
from librarian_protocol.transfer import Want as WantAgain
from librarian_protocol.wanted import EXPLAINED, ONE_OFF, Want, wanted

_ADD = wire.decoder(api.TransferAdd)


class AddControl:
    """One route."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        views: Views,
        clock: Clock,
        site: SiteName,
        adapters: Sequence[str],
        choice: StoreChoice,
        wake: Signal,
    ) -> None:
        self._catalog = catalog
        self._views = views
        self._clock = clock
        self._site = site
        self._adapters = adapters
        self._choice = choice
        self._wake = wake

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [web.post(f"{api.PREFIX}/transfers", self._add)]

    async def _add(self, request: web.Request) -> web.Response:
        body = await body_of(request, _ADD)
        name = Name.parse(body.name)
        from_site = None if body.from_site is None else SiteName.parse(body.from_site)
        if from_site == self._site:
            raise ArgumentInvalid("a site does not fetch from itself", hint="give another site with --from")
        store = (await self._choice.of([body.into] if body.into else []))[0]
        priority = None if body.priority is None else priorities.check(body.priority)
        digest = None if body.digest is None else Digest.parse(body.digest)

        def work(tx: Tx) -> int:
            known = _only(planning.named(tx.connection, name), name, digest)
            _, here = planning.load_here(tx.connection, self._site, self._adapters)
            one_off = planning.one_off_facts(name, store.id, from_site)
            found = wanted(known.file, one_off, planning.admitted(known, here).instances, here)
            if not isinstance(found, Want):
                raise NotPossible(f"{name!a} cannot be fetched: {EXPLAINED[found.reason]}", hint="see `lbctl explain`")
            planning.add_one_off(tx, known.file_id, store.id, from_site)
            transfers.create(tx, [NewTransfer(file_id=known.file_id, store=store.id, subscription=ONE_OFF)])
            if priority is not None:
                order.prioritise(tx, known.file_id, store.id, priority)
            return known.file_id

        file_id = await self._catalog.write(work)
        owed = await self._owed(file_id, store.id)
        if owed.row.transfer.state in {State.STORED, State.CANCELLED}:
            again = Transition(view=owed, event=WantAgain(), message="a person asked")
            await self._catalog.write(transitions.apply_transitions, [again], self._clock.boottime_s())
            owed = await self._owed(file_id, store.id)
        self._wake.set()
        return answer(await self._views.transfers.transfer(owed))

    async def _owed(self, file_id: int, store: str) -> TransferView:
        found = await self._catalog.read(transfers.of_file, file_id)
        return next(view for view in found if view.row.store == store)


def _only(known: Sequence[FileState], name: Name, digest: Digest | None) -> FileState:
    chosen = [candidate for candidate in known if digest is None or candidate.file.digest == digest]
    if not chosen:
        raise NotFound(f"no file named {name!a} is known here", hint="`lbctl file list --match GLOB` looks for names")
    if len(chosen) > 1:
        raise ArgumentInvalid(f"{len(chosen)} files have the name {name!a}", hint="say which one with --digest")
    return chosen[0]
