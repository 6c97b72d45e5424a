"""The control API's routes for whole journals: export pages, import pages, and sign the end of an exported file."""

from __future__ import annotations

from collections import Counter

from aiohttp import web

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import record, replay
from librarian_daemon.catalog.mesh.roster import get_anchor
from librarian_daemon.journal.receiver import Receiver
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.json_http import answer, body_of
from librarian_protocol import api, exports, segments, wire
from librarian_protocol.errors import ArgumentInvalid, NotPossible, PeerError
from librarian_protocol.keys import Purpose, SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.segment_verdict import Verdict

PAGE = 200
MAX_PROBLEMS = 20
_RECORDS = wire.decoder(api.JournalRecords)
_SEAL = wire.decoder(api.ExportSeal)


class JournalControl:
    """The routes."""

    def __init__(self, catalog: Catalog, receiver: Receiver, clock: Clock, site: SiteName, key: SiteKey) -> None:
        self._catalog = catalog
        self._receiver = receiver
        self._clock = clock
        self._site = site
        self._key = key

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.get(f"{api.PREFIX}/journal", self._page),
            web.post(f"{api.PREFIX}/journal", self._take),
            web.post(f"{api.PREFIX}/journal/begin", self._begin),
            web.post(f"{api.PREFIX}/journal/seal", self._seal),
        ]

    async def _begin(self, request: web.Request) -> web.Response:
        anchor = await self._catalog.read(get_anchor)
        if anchor is None:
            raise NotPossible("this site is of no mesh yet: there is nothing to export")
        line = exports.Begin(
            v=exports.VERSION,
            mesh=anchor.mesh,
            by=self._site,
            key=self._key.public,
            at=self._clock.utc(),
            anchor=anchor.site,
            anchor_key=anchor.key,
            administrator=anchor.administrator,
        )
        return answer(api.ExportLine(line=exports.encode(line).decode()))

    async def _seal(self, request: web.Request) -> web.Response:
        body = await body_of(request, _SEAL)
        signature = self._key.sign(Purpose.EXPORT, body.chain.encode())
        line = exports.End(segments=body.segments, chain=body.chain, signature=signature)
        return answer(api.ExportLine(line=exports.encode(line).decode()))

    async def _page(self, request: web.Request) -> web.Response:
        after = request.query.get("after")
        try:
            if after is None:
                place, upto = record.BEGINNING, await self._catalog.read(record.last_position)
            else:
                epoch, seq, position, upto = (int(word) for word in after.split(","))
                place = epoch, seq, position
        except ValueError as exc:
            raise ArgumentInvalid("after is what `next` of the page before was: EPOCH,SEQ,POSITION,LAST") from exc
        found, following = await self._catalog.read(replay.records, place, upto, PAGE)
        wanted = request.query.get("site")
        return answer(
            api.JournalPage(
                records=[
                    api.JournalRecord(payload=record.payload.decode(), signature=record.signature)
                    for record in found
                    if wanted is None or record.site == wanted
                ],
                next=None if following is None else ",".join(map(str, (*following, upto))),
            )
        )

    async def _take(self, request: web.Request) -> web.Response:
        body = await body_of(request, _RECORDS)
        verdicts: Counter[str] = Counter()
        problems: list[str] = []
        for sent in body.records:
            payload = sent.payload.encode()
            try:
                origin = segments.decode(payload).site
                _, received = await self._receiver.take(origin, payload, sent.signature, None)
                verdicts[received.verdict.value] += 1
                if received.verdict in {Verdict.EQUIVOCATION, Verdict.BROKEN} and len(problems) < MAX_PROBLEMS:
                    problems.append(f"{origin}: {received.stalled}")
            except PeerError as exc:
                verdicts["refused"] += 1
                if len(problems) < MAX_PROBLEMS:
                    problems.append(exc.message)
        return answer(api.JournalTaken(verdicts=dict(verdicts), problems=problems))
