"""The control API, ``/api/v1``: what ``lbctl`` asks, on the unix socket only (docs/architecture.md).

Whoever may open the socket may do everything: its directory's mode decides. Reading is in ``views.py``; here stand the
routes, the few things that can be done, and how errors travel.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiohttp import web

from librarian_daemon.adding import AddControl
from librarian_daemon.answers import answer, body_of, number_of, refusal, text_of
from librarian_daemon.catalog import holdings, planning, queries, transfers
from librarian_daemon.catalog.transfers import Move
from librarian_daemon.catalog.writer import Catalog, Tx
from librarian_daemon.custodian import Custodian
from librarian_daemon.doctor import Doctor
from librarian_daemon.eventfeed import EventFeed
from librarian_daemon.explain_control import ExplainControl
from librarian_daemon.incident_control import IncidentControl
from librarian_daemon.journal_control import JournalControl
from librarian_daemon.log_control import LogControl
from librarian_daemon.membership import Membership
from librarian_daemon.notify_control import NotifyControl
from librarian_daemon.ports import Clock, Rng, Store
from librarian_daemon.reconcile_control import ReconcileControl
from librarian_daemon.resolving import ResolveControl
from librarian_daemon.signals import Signal
from librarian_daemon.site_control import SiteControl
from librarian_daemon.views import Views
from librarian_protocol import api, globs, wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import SubscriptionDeclared, SubscriptionWithdrawn, Unit
from librarian_protocol.errors import ArgumentInvalid, LibrarianError, NotFound, NotPossible, StoreNotMounted
from librarian_protocol.manifest import HEADER, line
from librarian_protocol.names import Name, SiteName
from librarian_protocol.transfer import Retry, State

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_PAGE = 5000


class Control:
    """The routes."""

    def __init__(
        self,
        *,
        site: SiteName,
        catalog: Catalog,
        stores: Sequence[Store],
        ingestable: Sequence[Store],
        views: Views,
        feed: EventFeed,
        membership: Membership,
        sites: SiteControl,
        explaining: ExplainControl,
        adapters: Sequence[str],
        journals: JournalControl,
        notifications: NotifyControl,
        reconciling: ReconcileControl,
        log: LogControl,
        custodian: Custodian,
        doctor: Doctor,
        clock: Clock,
        rng: Rng,
        wake_replicator: Signal,
    ) -> None:
        self._site = site
        self._catalog = catalog
        self._stores = stores
        self._ingestable = ingestable
        self._views = views
        self._feed = feed
        self._membership = membership
        self._sites = sites
        self._explaining = explaining
        self._adapters = adapters
        self._journals = journals
        self._notifications = notifications
        self._reconciling = reconciling
        self._log_control = log
        self._custodian = custodian
        self._doctor = doctor
        self._clock = clock
        self._rng = rng
        self._wake_replicator = wake_replicator
        self._log = structlog.get_logger("control")

    def application(self) -> web.Application:
        """The application to serve on the socket."""
        # A page of segments comes in one body.
        app = web.Application(middlewares=[self._errors], client_max_size=64 << 20)
        get, post, prefix = web.get, web.post, api.PREFIX
        app.add_routes(
            [
                get(f"{prefix}/status", self._status),
                get(f"{prefix}/files", self._files),
                get(f"{prefix}/file", self._file),
                get(f"{prefix}/file/manifest", self._manifest),
                post(f"{prefix}/file/verify", self._verify),
                get(f"{prefix}/transfers", self._transfers),
                get(f"{prefix}/transfer", self._transfer),
                post(f"{prefix}/transfer/retry", self._retry),
                get(f"{prefix}/subscriptions", self._subscriptions),
                post(f"{prefix}/subscriptions", self._subscribe),
                web.delete(f"{prefix}/subscriptions", self._unsubscribe),
                get(f"{prefix}/stores", self._list_stores),
                get(f"{prefix}/events", self._feed.events),
                get(f"{prefix}/events/verify", self._feed.verify),
                get(f"{prefix}/doctor", self._examine),
                *IncidentControl(self._catalog).routes(),
                *self._sites.routes(),
                *self._explaining.routes(),
                *self._journals.routes(),
                *self._notifications.routes(),
                *self._reconciling.routes(),
                *self._log_control.routes(),
                *AddControl(
                    catalog=self._catalog,
                    views=self._views,
                    clock=self._clock,
                    site=self._site,
                    adapters=self._adapters,
                    chosen_stores=self._chosen_stores,
                    wake=self._wake_replicator,
                ).routes(),
                *ResolveControl(self._catalog, self._views, self._site).routes(),
            ]
        )
        return app

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._log.debug("asked", method=request.method, path=request.path)
        try:
            return await handler(request)
        except LibrarianError as exc:
            return refusal(exc)
        except web.HTTPException as exc:
            missing = NotFound(
                f"{request.method} {request.path} is not in this API", hint="compare lbctl's version with lbd's"
            )
            return refusal(missing) if exc.status in {404, 405} else refusal(ArgumentInvalid(exc.reason))

    # ---- status ----------------------------------------------------------------------------------------

    async def _status(self, request: web.Request) -> web.Response:
        return answer(await self._views.status())

    async def _list_stores(self, request: web.Request) -> web.Response:
        return answer(await self._views.stores())

    async def _examine(self, request: web.Request) -> web.Response:
        return answer(await self._doctor.examine())

    # ---- files -----------------------------------------------------------------------------------------

    async def _files(self, request: web.Request) -> web.Response:
        match = globs.check(request.query.get("match", globs.EVERYTHING))
        limit = number_of(request, "limit", 100, MAX_PAGE)
        page = await self._catalog.read(queries.files, match=match, after=request.query.get("after", ""), limit=limit)
        return answer(page)

    async def _file(self, request: web.Request) -> web.Response:
        return answer(await self._views.name(text_of(request, "name")))

    async def _here(self, request: web.Request) -> list[holdings.Holding]:
        """This site's instances of the file that the request names.

        Raises:
            NotFound: there are none.
        """
        name = Name.parse(text_of(request, "name"))
        digest = request.query.get("digest")
        found = await self._catalog.read(holdings.of_name, self._site, name)
        if digest is not None:
            found = [one for one in found if one.digest == Digest.parse(digest)]
        if not found:
            raise NotFound(
                f"no instance of {name!a} stands at site {self._site!r}", hint="`lbctl file show` lists where"
            )
        return found

    def _store(self, holding: holdings.Holding) -> Store:
        for store in self._stores:
            if store.id == holding.store:
                return store
        raise StoreNotMounted(f"store {holding.store} is not configured at this site")

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        books = [one for one in await self._here(request) if one.unit is Unit.BOOK]
        if not books:
            raise ArgumentInvalid("a single file has no manifest", hint="`lbctl file show` gives its digest")
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        # The header is sent with the first page: a manifest that cannot be read is an error, not an empty answer.
        async for page in self._store(books[0]).manifest(books[0].digest):
            text = b"".join(line(member) for member in page)
            if not response.prepared:
                await response.prepare(request)
                text = HEADER + text
            await response.write(text)
        if not response.prepared:
            await response.prepare(request)
            await response.write(HEADER)
        await response.write_eof()
        return response

    async def _verify(self, request: web.Request) -> web.Response:
        results: list[api.VerifyResult] = []
        for holding in await self._here(request):
            store = self._store(holding)
            check = await self._custodian.examine(holding)
            message = "not mounted" if check is None else check.error.message if check.error else "every byte is right"
            results.append(
                api.VerifyResult(
                    name=holding.name,
                    digest=holding.digest,
                    store=store.id,
                    label=store.label,
                    ok=check is not None and check.error is None,
                    size_bytes=holding.size_bytes,
                    found_digest=check.digest if check else None,
                    message=message,
                )
            )
        return answer(results)

    # ---- transfers -------------------------------------------------------------------------------------

    async def _transfers(self, request: web.Request) -> web.Response:
        state = request.query.get("state") or None
        if state is not None and state not in list(State):
            raise ArgumentInvalid(f"state {state!r} is not one of {', '.join(State)}")
        limit = number_of(request, "limit", 100, MAX_PAGE)
        before = number_of(request, "after", 0, 1 << 62) or None
        page = await self._catalog.read(transfers.page_of, state=state, before=before, limit=limit)
        following = page[-1].id if len(page) == limit else None
        return answer(api.TransferPage(transfers=[await self._views.transfer(one) for one in page], next=following))

    async def _transfer(self, request: web.Request) -> web.Response:
        number = number_of(request, "id", 0, 1 << 62)
        owed = await self._catalog.read(transfers.by_id, number)
        if owed is None:
            raise NotFound(f"there is no transfer {number}", hint="`lbctl transfer list`")
        return answer(await self._views.transfer(owed))

    async def _retry(self, request: web.Request) -> web.Response:
        if request.query.get("all"):
            reason = request.query.get("reason")
            page = await self._catalog.read(transfers.page_of, state=State.PARKED.value, before=None, limit=MAX_PAGE)
            chosen = [one for one in page if reason is None or one.row.transfer.reason == reason]
        else:
            number = number_of(request, "id", 0, 1 << 62)
            owed = await self._catalog.read(transfers.by_id, number)
            if owed is None:
                raise NotFound(f"there is no transfer {number}", hint="`lbctl transfer list`")
            if owed.row.transfer.state not in {State.WANTED, State.WAITING, State.PARKED}:
                raise ArgumentInvalid(f"transfer {number} is {owed.row.transfer.state}: there is nothing to retry")
            chosen = [owed]
        moves = [Move(owed=one, event=Retry(), message="a person asked") for one in chosen]
        taken = await self._catalog.write(transfers.take, moves, self._clock.boottime_s())
        self._wake_replicator.set()
        again = await self._catalog.read(transfers.by_ids, sorted(taken))
        return answer([await self._views.transfer(one) for one in again])

    # ---- subscriptions ---------------------------------------------------------------------------------

    async def _subscriptions(self, request: web.Request) -> web.Response:
        return answer(await self._catalog.read(queries.subscriptions))

    async def _subscribe(self, request: web.Request) -> web.Response:
        body = await body_of(request, wire.decoder(api.SubscriptionAdd))
        globs.check(body.match)
        from_site = None if body.from_site is None else SiteName.parse(body.from_site)
        if from_site == self._site:
            raise ArgumentInvalid("a site does not subscribe to itself", hint="give another site with --from")
        await self._check_new(from_site, body.match)
        into = self._chosen_stores(body.into)
        declared = SubscriptionDeclared(
            subscription=self._rng.hex(16), from_site=from_site, match=body.match, into=[one.id for one in into]
        )

        def work(tx: Tx) -> None:
            tx.say(declared)
            if body.new_only:
                planning.only_new(tx, declared.subscription)
            else:
                planning.start_backfill(tx, declared.subscription)

        await self._catalog.write(work)
        self._catalog.changed.set()
        self._log.info("subscribed", subscription=declared.subscription, peer=from_site, match=body.match)
        return answer(
            api.Subscription(
                id=declared.subscription,
                site=self._site,
                from_site=from_site,
                match=body.match,
                into=declared.into,
                labels=[one.label for one in into],
            )
        )

    async def _check_new(self, from_site: SiteName | None, match: str) -> None:
        known = self._membership.members
        if from_site is not None and len(known) > 1 and from_site not in known:
            raise NotFound(f"site {from_site!r} is not in the roster", hint=f"there are: {', '.join(sorted(known))}")
        for one in await self._catalog.read(queries.subscriptions):
            if (one.site, one.from_site, one.match) == (self._site, from_site, match):
                raise NotPossible(f"subscription {one.id} says the same already", hint="`lbctl subscription list`")

    def _chosen_stores(self, wanted: list[str]) -> list[Store]:
        if not wanted:
            if not self._ingestable:
                raise NotPossible("no store of this site is ingestable", hint="set `ingestable = true` for one of them")
            return list(self._ingestable)[:16]
        chosen: list[Store] = []
        for text in wanted:
            found = [one for one in self._stores if text in {one.id, one.label}]
            if not found:
                known = ", ".join(one.label for one in self._stores)
                raise ArgumentInvalid(f"there is no store {text!r} at this site", hint=f"there are: {known}")
            chosen += found
        return chosen

    async def _unsubscribe(self, request: web.Request) -> web.Response:
        wanted = text_of(request, "id")
        mine = [one for one in await self._catalog.read(queries.subscriptions) if one.site == self._site]
        found = [one for one in mine if one.id.startswith(wanted)]
        if len(found) != 1:
            raise NotFound(
                f"{len(found)} subscriptions of this site begin with {wanted!r}", hint="`lbctl subscription list`"
            )

        def work(tx: Tx) -> None:
            tx.say(SubscriptionWithdrawn(subscription=found[0].id))
            planning.replan_live(tx)

        await self._catalog.write(work)
        self._log.info("unsubscribed", subscription=found[0].id)
        return answer(found[0])
