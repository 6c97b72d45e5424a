"""The control API's answer to why a file is, or is not, at a site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from aiohttp import web

from librarian_daemon.answers import answer, text_of
from librarian_daemon.catalog import explaining, recovery
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.ports import Bus
from librarian_protocol import api
from librarian_protocol.api import FileTransfer, NameDetail
from librarian_protocol.errors import NotFound
from librarian_protocol.explaining import Moving, explain
from librarian_protocol.names import Name, SiteName


class ExplainControl:
    """One route."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: Bus,
        site: SiteName,
        adapters: Sequence[str],
        detail: Callable[[str], Awaitable[NameDetail]],
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._site = site
        self._adapters = adapters
        self._detail = detail

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [web.get(f"{api.PREFIX}/explain", self._explain)]

    async def _explain(self, request: web.Request) -> web.Response:
        name = Name.parse(text_of(request, "name"))
        at = SiteName.parse(request.query.get("at") or self._site)
        members = await self._catalog.read(explaining.members)
        if at not in members and at != self._site:
            raise NotFound(f"site {at!r} is not in the roster", hint=f"there are: {', '.join(members)}")
        found = await self._catalog.read(explaining.facts, self._site, at, name, self._adapters)
        if not found:
            near = await self._catalog.read(explaining.near, name, 3)
            hint = f"did you mean {', '.join(repr(str(one)) for one in near)}?" if near else "was it ever dropped?"
            raise NotFound(f"nobody has told this site of a file named {str(name)!a}", hint=hint)
        detail = await self._detail(name)
        transfers = {file.digest: file.transfers for file in detail.files}
        down = {site: link.detail for site, link in self._bus.links().items() if not link.up}
        waits = await self._catalog.read(recovery.waits_for, self._site) or []
        explained: list[api.Explanation] = []
        for facts in found:
            moving = _moving(transfers.get(facts.digest, [])) if at == self._site else None
            said = explain(msgspec.structs.replace(facts, moving=moving, down=down, recovery=waits))
            explained.append(
                api.Explanation(
                    name=f"{name} {facts.digest[:19]}…" if len(found) > 1 else str(name),
                    at=at,
                    summary=said.summary,
                    lines=list(said.lines),
                    next=said.next,
                )
            )
        return answer(explained)


def _moving(transfers: Sequence[FileTransfer]) -> Moving | None:
    """The transfer that is under way, or the last one."""
    live = [one for one in transfers if one.state not in {"stored", "cancelled"}] or list(transfers)
    if not live:
        return None
    one = live[-1]
    return Moving(
        id=one.id,
        state=one.state,
        reason=one.reason,
        message=one.message,
        hint=one.hint,
        attempts=one.attempts,
        source=SiteName(one.source_site) if one.source_site else None,
        next_try_in_s=one.next_try_in_s,
    )
