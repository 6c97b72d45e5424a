"""What this site moves bytes with: its adapters, how its requests are signed, and what it offers to others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from aiohttp import web

from librarian_adapters import registry
from librarian_adapters.contract import Adapter, Signer
from librarian_adapters.stalling import Stalling
from librarian_adapters.verifying import Verifying
from librarian_daemon.ports import Clock
from librarian_daemon.pushing import Tickets
from librarian_daemon.scraping import Scraper
from librarian_daemon.settings import SiteSettings
from librarian_daemon.store.posix import PosixStore
from librarian_daemon.tls import AUTHORITY, DataTls
from librarian_daemon.views import Views
from librarian_protocol import requests
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.requests import Request


def signer(site: SiteName, key: SiteKey, clock: Clock) -> Signer:
    """Signs data requests as this site."""

    def sign(
        *,
        source: SiteName,
        method: str,
        target: str,
        range: str,  # noqa: A002 - the contract's word: the header's name
        body: bytes,
    ) -> dict[str, str]:
        request = Request(
            source=source,
            destination=site,
            method=method,
            target=target,
            range=range,
            body=body,
            expires=clock.unix_s() + requests.LIFETIME_S,
        )
        return requests.sign(request, key)

    return sign


def load_adapters(
    settings: SiteSettings,
    sign: Signer,
    stores: Mapping[str, PosixStore],
    certificate: Callable[[SiteName], str | None],
    tickets: Tickets,
    state: Path,
) -> dict[str, Adapter]:
    """The configured adapters, each bounded in patience and verified, in order of preference."""
    loaded = registry.load(
        settings.adapters.order,
        site=settings.site,
        sign=sign,
        settings=settings.adapters.settings,
        roots={store.id: store.root for store in stores.values()},
        labels={store.id: store.label for store in stores.values()},
        state=state,
        certificate=certificate,
        ca_file=settings.tls.ca_file,
        pushes=tickets if settings.data.dialable else None,
    )
    return {one.name: Verifying(Stalling(one, stall_s=settings.replicator.stall_s)) for one in loaded}


def offers(adapters: Iterable[Adapter], own: AdapterOffer) -> list[AdapterOffer]:
    """All by which this site gives bytes away: its data plane, and what adapters say of themselves."""
    return [own, *(offer for one in adapters if (offer := one.offer()) is not None)]


def http_offer(settings: SiteSettings, tls: DataTls, address: str) -> AdapterOffer:
    """This site's data plane; where nobody can dial it, it pushes."""
    if settings.data.dialable:
        params = {AUTHORITY: True} if tls.context is not None and not tls.pinned else {}
        return AdapterOffer(name="http", version=1, address=tls.url(address), dial=Dial.DESTINATION, params=params)
    return AdapterOffer(name="http", version=1, address="", dial=Dial.SOURCE)


def with_health(app: web.Application, routes: list[web.RouteDef], views: Views, scraper: Scraper) -> web.Application:
    """The data plane's application: these routes, and what monitoring asks."""
    app.add_routes(routes)

    async def metrics(_request: web.Request) -> web.Response:
        text = await scraper.scrape()
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def alive(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        missing = await views.readiness()
        lines = [f"{part}: {why}" for part, why in missing.items()] or ["ok"]
        return web.Response(status=503 if missing else 200, text="\n".join(lines) + "\n")

    app.add_routes([web.get("/metrics", metrics), web.get("/livez", alive), web.get("/readyz", ready)])
    return app
