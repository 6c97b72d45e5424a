"""The control API's routes about drop directories: what was refused, and what is ignored."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import structlog
from aiohttp import web

from librarian_daemon.intake.contents import DropContents
from librarian_daemon.intake.directory.drop import shown
from librarian_daemon.intake.directory.rejected import Refused
from librarian_daemon.intake.service import Intake
from librarian_daemon.runtime.json_http import answer, body_of, number_of
from librarian_protocol import api, wire
from librarian_protocol.errors import ArgumentInvalid, NotFound

#: How many entries that could not be moved are named.
EXAMPLES = 20
_CHOICE = wire.decoder(api.RefusedChoice)


class DropControl:
    """Lists are JSON lines, sent as they are read. ``limit`` ends them; 0 means no limit."""

    def __init__(self, intakes: Sequence[Intake], stores: Sequence[str]) -> None:
        """``intakes`` may change while the daemon runs. ``stores`` are the paths of the site's stores."""
        self._intakes = intakes
        self._stores = stores
        self._log = structlog.get_logger("drops")

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.get(f"{api.PREFIX}/rejected", self._list),
            web.post(f"{api.PREFIX}/rejected/retry", self._retry),
            web.post(f"{api.PREFIX}/rejected/return", self._return),
            web.get(f"{api.PREFIX}/ignored", self._ignored),
        ]

    def _chosen(self, path: str) -> Sequence[DropContents]:
        drops = [intake.contents for intake in self._intakes]
        chosen = [drop for drop in drops if not path or os.path.normpath(path) == os.path.normpath(drop.path)]
        if not chosen:
            known = ", ".join(drop.path for drop in drops)
            raise NotFound(f"{path or 'none'} is no drop directory of this site", hint=f"there are: {known or 'none'}")
        return chosen

    async def _list(self, request: web.Request) -> web.StreamResponse:
        cause, drops = request.query.get("cause", ""), self._chosen(request.query.get("drop", ""))

        async def lines() -> AsyncIterator[object]:
            for drop in drops:
                async for portion in drop.refused():
                    for refused in portion:
                        if not cause or refused.cause == cause:
                            yield _refused(drop, refused)

        return await _answer_lines(request, lines())

    async def _ignored(self, request: web.Request) -> web.StreamResponse:
        drops = self._chosen(request.query.get("drop", ""))

        async def lines() -> AsyncIterator[object]:
            for drop in drops:
                async for portion in drop.ignored():
                    for ignored in portion:
                        at = datetime.fromtimestamp(ignored.mtime_ns / 1e9, UTC).isoformat(timespec="microseconds")
                        yield api.Ignored(
                            drop=drop.path,
                            name=shown(ignored.rel),
                            glob=ignored.glob,
                            size_bytes=ignored.size_bytes,
                            changed_at=at.replace("+00:00", "Z"),
                        )

        return await _answer_lines(request, lines())

    async def _retry(self, request: web.Request) -> web.Response:
        choice = await body_of(request, _CHOICE)
        if choice.to:
            raise ArgumentInvalid("files that are dropped again go to where they were dropped", hint="leave `to` out")
        return answer(await self._move(choice))

    async def _return(self, request: web.Request) -> web.Response:
        choice = await body_of(request, _CHOICE)
        if not os.path.isabs(choice.to) or not os.path.isdir(choice.to):
            raise ArgumentInvalid(
                f"{choice.to!a} is no directory that the daemon sees", hint="give the absolute path of one that exists"
            )
        to = os.path.realpath(choice.to)
        for closed in map(os.path.realpath, [*self._stores, *(intake.contents.path for intake in self._intakes)]):
            if os.path.commonpath([closed, to]) == closed:
                raise ArgumentInvalid(
                    f"{choice.to} lies in {closed}, a store or a drop directory",
                    hint="give one beside it, on the same filesystem; `lbctl rejected retry` drops them again",
                )
        return answer(await self._move(choice))

    async def _move(self, choice: api.RefusedChoice) -> api.RefusedMoved:
        if sum((bool(choice.ids), bool(choice.cause), choice.all)) != 1:
            raise ArgumentInvalid("say which: ids, a cause, or all", hint="`lbctl rejected list` shows them")
        result, wanted = api.RefusedMoved(moved=0, left=0), set(choice.ids)
        for drop in self._chosen(choice.drop):
            async for portion in drop.refused():
                found = [
                    refused
                    for refused in portion
                    if choice.all or refused.cause == choice.cause or refused.place in wanted
                ]
                for outcome in await drop.move_out(found, choice.to) if found else ():
                    wanted.discard(outcome.found.place)
                    if not outcome.problem:
                        result.moved += 1
                        continue
                    result.left += 1
                    if len(result.examples) < EXAMPLES:
                        result.examples.append(f"{outcome.found.place}: {outcome.problem}")
        if wanted:
            raise NotFound(
                f"nothing refused has the id {', '.join(sorted(wanted))}"
                + (f"; {result.moved} others were moved" if result.moved else ""),
                hint="`lbctl rejected list` shows them",
            )
        self._log.info("refused_things_moved", moved=result.moved, left=result.left, to=choice.to)
        return result


def _refused(drop: DropContents, refused: Refused) -> api.Refused:
    return api.Refused(
        id=refused.place,
        drop=drop.path,
        name=refused.what,
        cause=refused.cause,
        code=refused.code,
        at=refused.at,
        message=refused.why,
        hint=refused.hint,
    )


async def _answer_lines(request: web.Request, lines: AsyncIterator[object]) -> web.StreamResponse:
    limit = number_of(request, "limit", 0, 1 << 62) or 1 << 62
    response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
    await response.prepare(request)
    try:
        async for line in lines:
            await response.write(wire.encode(line) + b"\n")
            limit -= 1
            if limit <= 0:
                break
    except ConnectionResetError:
        return response
    await response.write_eof()
    return response
