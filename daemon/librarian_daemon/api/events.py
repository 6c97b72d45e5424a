"""Events over the control API: the record of events, following it, and verifying it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from aiohttp import web

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import record
from librarian_daemon.journal.verify import verify_journal
from librarian_daemon.runtime.json_http import number_of
from librarian_daemon.runtime.signals import Signal
from librarian_daemon.status.status import Views
from librarian_protocol import api, globs, segments, wire
from librarian_protocol.entries import KINDS
from librarian_protocol.errors import ArgumentInvalid, NotFound
from librarian_protocol.names import SiteName

#: How often a followed stream looks for more if no commit wakes it.
FOLLOW_S = 1.0
MAX_FOLLOWERS = 32
#: Segments that are read at once.
PAGE = 50


class EventFeed:
    """Two routes."""

    def __init__(self, *, site: SiteName, own_key: str, catalog: Catalog, views: Views) -> None:
        self._site = site
        self._own_key = own_key
        self._catalog = catalog
        self._views = views
        self._followers = 0

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [web.get(f"{api.PREFIX}/events", self._events), web.get(f"{api.PREFIX}/events/verify", self._verify)]

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Journal entries as JSON lines, from a position; with ``follow=1`` for ever."""
        site = request.query.get("site") or None
        kind = globs.check(request.query.get("kind") or "*")
        position = number_of(request, "after", 0, 1 << 62, least=-1)
        limit = number_of(request, "limit", 0, 1 << 62) or 1 << 62
        follow = request.query.get("follow") == "1"
        if position < 0:
            position = await self._catalog.read(record.last_position)
        if follow and self._followers >= MAX_FOLLOWERS:
            raise ArgumentInvalid(f"{MAX_FOLLOWERS} followers of events are connected already")
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        self._followers += follow
        try:
            async with aclosing(self._entries(position, site, kind, follow)) as entries:
                async for event in entries:
                    await response.write(wire.encode(event) + b"\n")
                    limit -= 1
                    if limit <= 0:
                        break
        except ConnectionResetError:
            return response
        finally:
            self._followers -= follow
        await response.write_eof()
        return response

    async def _entries(
        self, position: int, site: str | None, kind: str, follow: bool
    ) -> AsyncGenerator[api.Event, None]:
        said = Signal()
        self._catalog.watch(said, *(known for name, known in KINDS.items() if globs.matches(kind, name)))
        try:
            while True:
                page = await self._catalog.read(record.segments_after, position, site=site, limit=PAGE)
                for row, state, _, _, payload in page:
                    position = row
                    segment = segments.decode(payload)
                    if not record.counts(state) or not globs.matches(kind, segment.kind):
                        continue
                    for entry in segment.entries:
                        yield _event(segment, position, entry)
                if len(page) < PAGE:
                    if not follow:
                        return
                    await said.wait(FOLLOW_S)
        finally:
            self._catalog.watch_no_more(said)

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        """A report on each journal held here, as JSON lines."""
        site = request.query.get("site") or None
        known = sorted({peer.site for peer in await self._views.peers.sites()} | {self._site})
        if site is not None and site not in known:
            raise NotFound(f"site {site!r} is not in the roster", hint="`lbctl site list`")
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        for name in known if site is None else [site]:
            own_key = self._own_key if name == self._site else None
            report = await verify_journal(self._catalog, SiteName(name), own_key)
            await response.write(wire.encode(report) + b"\n")
        await response.write_eof()
        return response


class _Numbered(msgspec.Struct):
    seq: int
    at: str = ""


_NUMBERED = wire.decoder(_Numbered)


def _event(segment: segments.Segment, position: int, raw: msgspec.Raw) -> api.Event:
    seen = _NUMBERED.decode(raw)
    return api.Event(
        site=segment.site,
        epoch=segment.epoch,
        incarnation=segment.incarnation,
        seq=seen.seq,
        at=seen.at,
        kind=segment.kind,
        position=position,
        entry=raw,
    )
