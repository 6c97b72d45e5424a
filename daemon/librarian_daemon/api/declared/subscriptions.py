"""The control API's routes about subscriptions: list, add, remove."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import structlog
from aiohttp import web

from librarian_daemon.api.stores.control import StoreChoice
from librarian_daemon.catalog import backfills
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.status import queries
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import planning
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.time import Rng
from librarian_daemon.runtime.json_http import answer, body_of, text_of
from librarian_protocol import api, globs, wire
from librarian_protocol.entries import SubscriptionDeclared, SubscriptionWithdrawn
from librarian_protocol.errors import ArgumentInvalid, NotFound, NotPossible
from librarian_protocol.names import SiteName

_ADD = wire.decoder(api.SubscriptionAdd)


class SubscriptionControl:
    """This site's own subscriptions are added and removed; those of all sites are listed."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        members: Callable[[], Collection[SiteName]],
        choice: StoreChoice,
        rng: Rng,
        site: SiteName,
    ) -> None:
        """``members``: the sites of the roster, this one too."""
        self._catalog = catalog
        self._members = members
        self._choice = choice
        self._rng = rng
        self._site = site
        self._log = structlog.get_logger("control")

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        path = f"{api.PREFIX}/subscriptions"
        return [web.get(path, self._list), web.post(path, self._add), web.delete(path, self._remove)]

    async def _list(self, request: web.Request) -> web.Response:
        return answer(await self._catalog.read(queries.subscriptions))

    async def _add(self, request: web.Request) -> web.Response:
        body = await body_of(request, _ADD)
        globs.check(body.match)
        from_site = None if body.from_site is None else SiteName.parse(body.from_site)
        if from_site == self._site and not body.into:
            raise ArgumentInvalid(
                "from this site itself it is from one of its stores into others: into which?", hint="give --into"
            )
        into = await self._choice.of(body.into)
        await self._check_new(from_site, body.match, into)
        declared = SubscriptionDeclared(
            subscription=self._rng.hex(16),
            from_site=from_site,
            match=body.match,
            into=[store.id for store in into],
            max_bytes=body.max_bytes,
            newest_s=body.newest_s,
            priority=body.priority,
        )

        def work(tx: Tx) -> None:
            tx.append(declared)
            if body.on_full == "deactivate":
                planning.deactivate_full(tx, declared.subscription)
            if body.new_only:
                planning.only_new(tx, declared.subscription)
            else:
                backfills.start(tx, declared.subscription)

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
                labels=[store.label for store in into],
                max_bytes=declared.max_bytes,
                newest_s=declared.newest_s,
                on_full=body.on_full,
                priority=declared.priority,
            )
        )

    async def _check_new(self, from_site: SiteName | None, match: str, into: Sequence[Store]) -> None:
        known = self._members()
        if from_site is not None and len(known) > 1 and from_site not in known:
            raise NotFound(f"site {from_site!r} is not in the roster", hint=f"there are: {', '.join(sorted(known))}")
        for subscription in await self._catalog.read(queries.subscriptions):
            if (subscription.site, subscription.from_site, subscription.match) != (self._site, from_site, match):
                continue
            if from_site == self._site and set(subscription.into).isdisjoint(store.id for store in into):
                continue  # one more instance
            if subscription.into == [store.id for store in into]:
                raise NotPossible(
                    f"subscription {subscription.id} says the same already", hint="`lbctl subscription list`"
                )
            labels = ", ".join(subscription.labels)
            raise NotPossible(
                f"subscription {subscription.id} wants the same files, into {labels}",
                hint=f"`lbctl subscription rm {subscription.id}` first: nothing that it brought is deleted",
            )

    async def _remove(self, request: web.Request) -> web.Response:
        wanted = text_of(request, "id")
        mine = [
            subscription
            for subscription in await self._catalog.read(queries.subscriptions)
            if subscription.site == self._site
        ]
        found = [subscription for subscription in mine if subscription.id.startswith(wanted)]
        if len(found) != 1:
            raise NotFound(
                f"{len(found)} subscriptions of this site begin with {wanted!r}", hint="`lbctl subscription list`"
            )

        def work(tx: Tx) -> None:
            tx.append(SubscriptionWithdrawn(subscription=found[0].id))
            planning.replan_live(tx)

        await self._catalog.write(work)
        self._log.info("unsubscribed", subscription=found[0].id)
        return answer(found[0])
