"""Deciding which file has a name: the control API's route, and what is said."""

from __future__ import annotations

import structlog
from aiohttp import web

from librarian_daemon.answers import answer, body_of
from librarian_daemon.catalog import asides, queries
from librarian_daemon.catalog.roster import roster
from librarian_daemon.catalog.writer import Catalog, Tx
from librarian_daemon.views import Views
from librarian_protocol import api, wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import NameResolved
from librarian_protocol.errors import ArgumentInvalid, NotFound, NotPossible
from librarian_protocol.names import Name, SiteName

_RESOLVE = wire.decoder(api.Resolve)


class ResolveControl:
    """One route."""

    def __init__(self, catalog: Catalog, views: Views, site: SiteName) -> None:
        self._catalog = catalog
        self._views = views
        self._site = site
        self._log = structlog.get_logger("names")

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [web.post(f"{api.PREFIX}/file/resolve", self._resolve)]

    async def _resolve(self, request: web.Request) -> web.Response:
        body = await body_of(request, _RESOLVE)
        name = Name.parse(body.name)

        def work(tx: Tx) -> Digest:
            mine = roster(tx.connection).get(self._site)
            if mine is None or not mine.may_admit:
                raise NotPossible(
                    f"site {self._site!r} may not decide about names: that is an administrator's word",
                    hint="decide at a site that may admit others: `lbctl site list` shows which",
                )
            found = queries.detail(tx.connection, name)
            if found is None or len(found.files) < 2:
                raise NotFound(f"there are not two files named {str(name)!a}", hint="`lbctl file show` lists them")
            digests = [Digest(file.digest) for file, _ in found.files if not file.withdrawn]
            keep = _chosen(found, body)
            tx.say(
                NameResolved(
                    name=name,
                    keep=keep,
                    over=[one for one in digests if one != keep],
                    supersedes=asides.decisions(tx.connection, name),
                )
            )
            return keep

        keep = await self._catalog.write(work)
        self._log.warning("name_resolved", name=name, keep=keep)
        return answer(await self._views.name(name))


def _chosen(found: queries.Detail, body: api.Resolve) -> Digest:
    """The one file that is meant."""
    if (body.keep is None) == (body.keep_from is None):
        raise ArgumentInvalid("say which file is to have the name: its digest, or a site that holds it")
    files = [file for file, _ in found.files if not file.withdrawn]
    if body.keep is not None:
        wanted = body.keep.removeprefix("blake3:")
        chosen = [one for one in files if one.digest.removeprefix("blake3:").startswith(wanted)]
    else:
        chosen = [one for one in files if any(held.site == body.keep_from for held in one.instances)]
    if len(chosen) != 1:
        raise ArgumentInvalid(
            f"{len(chosen)} files of that name fit {body.keep or body.keep_from!a}",
            hint="`lbctl file show` lists their digests, and who holds them",
        )
    return Digest(chosen[0].digest)
