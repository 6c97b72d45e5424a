"""Transfers that a person asks for, file by file: the control API's route."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from librarian_daemon.answers import answer, body_of
from librarian_daemon.catalog import planning, transfers
from librarian_daemon.catalog.planning import ONE_OFF, Known
from librarian_daemon.catalog.transfers import Move, Owed, Wish
from librarian_daemon.catalog.writer import Catalog, Tx
from librarian_daemon.ports import Clock, Store
from librarian_daemon.signals import Signal
from librarian_daemon.views import Views
from librarian_protocol import api, wire
from librarian_protocol.digests import Digest
from librarian_protocol.errors import ArgumentInvalid, NotFound, NotPossible
from librarian_protocol.names import Name, SiteName
from librarian_protocol.transfer import State
from librarian_protocol.transfer import Want as WantAgain
from librarian_protocol.wanted import EXPLAINED, Want, wanted

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
        chosen_stores: Callable[[list[str]], list[Store]],
        wake: Signal,
    ) -> None:
        self._catalog = catalog
        self._views = views
        self._clock = clock
        self._site = site
        self._adapters = adapters
        self._chosen_stores = chosen_stores
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
        store = self._chosen_stores([body.into] if body.into else [])[0]
        digest = None if body.digest is None else Digest.parse(body.digest)

        def work(tx: Tx) -> int:
            known = _only(planning.named(tx.connection, name), name, digest)
            _, here = planning.load_here(tx.connection, self._site, self._adapters)
            one_off = planning.one_off_facts(name, store.id, from_site)
            found = wanted(known.file, one_off, planning.admitted(known, here).instances, here)
            if not isinstance(found, Want):
                raise NotPossible(f"{name!a} cannot be fetched: {EXPLAINED[found.reason]}", hint="see `lbctl explain`")
            planning.add_one_off(tx, known.file_id, store.id, from_site)
            transfers.create(tx, [Wish(file_id=known.file_id, store=store.id, subscription=ONE_OFF)])
            return known.file_id

        file_id = await self._catalog.write(work)
        owed = await self._owed(file_id, store.id)
        if owed.row.transfer.state in {State.STORED, State.CANCELLED}:
            again = Move(owed=owed, event=WantAgain(), message="a person asked")
            await self._catalog.write(transfers.take, [again], self._clock.boottime_s())
            owed = await self._owed(file_id, store.id)
        self._wake.set()
        return answer(await self._views.transfer(owed))

    async def _owed(self, file_id: int, store: str) -> Owed:
        found = await self._catalog.read(transfers.of_file, file_id)
        return next(one for one in found if one.row.store == store)


def _only(known: Sequence[Known], name: Name, digest: Digest | None) -> Known:
    chosen = [one for one in known if digest is None or one.file.digest == digest]
    if not chosen:
        raise NotFound(f"no file named {name!a} is known here", hint="`lbctl file list --match GLOB` looks for names")
    if len(chosen) > 1:
        raise ArgumentInvalid(f"{len(chosen)} files have the name {name!a}", hint="say which one with --digest")
    return chosen[0]
