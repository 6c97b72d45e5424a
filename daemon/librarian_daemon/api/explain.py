"""The control API's route that explains why a file is, or is not, at a site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from aiohttp import web

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import quarantine
from librarian_daemon.catalog.status import explanation
from librarian_daemon.mesh.presences import Presences, last_heard
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.json_http import answer, text_of
from librarian_daemon.status.sections import FAULTS, said
from librarian_protocol import api
from librarian_protocol.api import FileTransfer, NameDetail
from librarian_protocol.errors import NotFound
from librarian_protocol.explanation import TransferReport, explain
from librarian_protocol.names import Name, SiteName


class ExplainControl:
    """One route."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        presences: Presences,
        clock: Clock,
        site: SiteName,
        adapters: Sequence[str],
        detail: Callable[[str], Awaitable[NameDetail]],
    ) -> None:
        self._catalog = catalog
        self._presences = presences
        self._clock = clock
        self._site = site
        self._adapters = adapters
        self._detail = detail

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [web.get(f"{api.PREFIX}/explain", self._explain)]

    async def _explain(self, request: web.Request) -> web.Response:
        name = Name.parse(text_of(request, "name"))
        at = SiteName.parse(request.query.get("at") or self._site)
        members = await self._catalog.read(explanation.members)
        if at not in members and at != self._site:
            raise NotFound(f"site {at!r} is not in the roster", hint=f"there are: {', '.join(members)}")
        now_s = self._clock.unix_s()
        found = await self._catalog.read(explanation.facts, self._site, at, name, self._adapters, now_s)
        if not found:
            near = await self._catalog.read(explanation.near, name, 3)
            hint = f"did you mean {', '.join(repr(str(other)) for other in near)}?" if near else "was it ever dropped?"
            raise NotFound(f"this site knows no file named {str(name)!a}", hint=hint)
        unknown: list[str] = []
        transfers: dict[str, list[FileTransfer]] = {}
        waits: list[str] | None = None
        try:
            transfers = {file.digest: file.transfers for file in (await self._detail(name)).files}
        except FAULTS as exc:
            unknown.append(f"transfers cannot be shown: {said(exc)}")
        down = await self._presences.away()
        sight = (await self._presences.sights()).get(at)
        try:
            waits = await self._catalog.read(quarantine.waits_for, self._site, down)
        except FAULTS as exc:
            unknown.append(f"what a recovery waits for cannot be shown: {said(exc)}")
        explained: list[api.Explanation] = []
        for facts in found:
            transfer = _transfer(transfers.get(facts.digest, [])) if at == self._site else None
            heard = last_heard(sight, facts.last_heard)
            now = msgspec.structs.replace(facts, transfer=transfer, down=down, recovery=waits or [], last_heard=heard)
            why = explain(now)
            explained.append(
                api.Explanation(
                    name=f"{name} {facts.digest[:19]}…" if len(found) > 1 else str(name),
                    at=at,
                    summary=why.summary,
                    lines=[*why.lines, *unknown],
                    next=why.next,
                )
            )
        return answer(explained)


def _transfer(transfers: Sequence[FileTransfer]) -> TransferReport | None:
    """The transfer that is under way, or the last one."""
    live = [transfer for transfer in transfers if transfer.state not in {"stored", "cancelled"}] or list(transfers)
    if not live:
        return None
    transfer = live[-1]
    return TransferReport(
        id=transfer.id,
        state=transfer.state,
        reason=transfer.reason,
        message=transfer.message,
        hint=transfer.hint,
        attempts=transfer.attempts,
        source=SiteName(transfer.source_site) if transfer.source_site else None,
        next_try_in_s=transfer.next_try_in_s,
        waits_for=transfer.waits_for,
    )
