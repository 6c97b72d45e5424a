"""The control API's routes that compare stores with the catalog, and those about a lost catalog."""

from __future__ import annotations

from aiohttp import web

from librarian_daemon.integrity.reconciler import Reconciler
from librarian_daemon.recovery.recovery import Recoverer
from librarian_daemon.runtime.json_http import answer, number_of
from librarian_protocol import api


class ReconcileControl:
    """Reconcile now; the state of recovery; a site that is alone."""

    def __init__(self, reconciler: Reconciler, recoverer: Recoverer) -> None:
        self._reconciler = reconciler
        self._recoverer = recoverer

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.post(f"{api.PREFIX}/reconcile", self._reconcile),
            web.get(f"{api.PREFIX}/recovery", self._recovery),
            web.post(f"{api.PREFIX}/recovery/alone", self._alone),
        ]

    async def _reconcile(self, request: web.Request) -> web.Response:
        return answer(await self._reconciler.once(all_of_it=bool(number_of(request, "all", 0, 1))))

    async def _recovery(self, _request: web.Request) -> web.Response:
        return answer(await self._recoverer.how())

    async def _alone(self, _request: web.Request) -> web.Response:
        await self._recoverer.alone()
        return answer(await self._recoverer.how())
