"""The control API's routes about files: list, show, manifest, verify, and resolving names with several files."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from aiohttp import web

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import instances, set_aside
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.mesh.administration import check_administrator
from librarian_daemon.catalog.status import queries
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.integrity.custodian import Custodian, is_disk_error
from librarian_daemon.ports.store import Store
from librarian_daemon.runtime.json_http import answer, body_of, limit_of, number_of, text_of
from librarian_daemon.status.status import Views
from librarian_protocol import api, globs, wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import NameResolved, Unit
from librarian_protocol.errors import ArgumentInvalid, NotFound, StoreError, StoreNotMounted
from librarian_protocol.manifest import HEADER, line
from librarian_protocol.names import Name, SiteName

MAX_PAGE = 5000
_RESOLVE = wire.decoder(api.Resolve)


class FileControl:
    """Listing and showing files; their manifests; reading this site's instances."""

    def __init__(
        self, catalog: Catalog, views: Views, custodian: Custodian, stores: Sequence[Store], site: SiteName
    ) -> None:
        self._catalog = catalog
        self._views = views
        self._custodian = custodian
        self._stores = stores
        self._site = site

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.get(f"{api.PREFIX}/files", self._list),
            web.get(f"{api.PREFIX}/file", self._show),
            web.get(f"{api.PREFIX}/file/manifest", self._manifest),
            web.post(f"{api.PREFIX}/file/verify", self._verify),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        match = globs.check(request.query.get("match", globs.EVERYTHING))
        limit = limit_of(request, 100, MAX_PAGE)
        asked = request.query
        number = number_of(request, "instances", 0, 1 << 20) if "instances" in asked else None
        only_at = str(self._site) if asked.get("only_here") else None
        held = queries.Held(
            only_at=only_at,
            at=asked.get("at"),
            not_at=asked.get("not_at"),
            instances=number,
            bad=bool(asked.get("bad")),
        )
        page = await self._catalog.read(
            queries.files, match=match, after=asked.get("after", ""), limit=limit, held=held
        )
        return answer(page)

    async def _show(self, request: web.Request) -> web.Response:
        return answer(await self._views.transfers.name(text_of(request, "name")))

    async def _here(self, request: web.Request) -> list[Holding]:
        """This site's instances of the file that the request names.

        Raises:
            NotFound: there are none.
        """
        name = Name.parse(text_of(request, "name"))
        digest = request.query.get("digest")
        found = await self._catalog.read(instances.of_name, self._site, name)
        if digest is not None:
            found = [instance for instance in found if instance.digest == Digest.parse(digest)]
        if not found:
            if await self._catalog.read(queries.detail, name) is None:
                raise NotFound(
                    f"no file named {name!a} is known here", hint="`lbctl file list --match GLOB` looks for names"
                )
            raise NotFound(
                f"no instance of {name!a} stands at site {self._site!r}", hint=f"`lbctl file show {name}` says where"
            )
        return found

    def _store(self, holding: Holding) -> Store:
        for store in list(self._stores):
            if store.id == holding.store:
                return store
        raise StoreNotMounted(f"store {holding.store} is not configured at this site")

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        books = [instance for instance in await self._here(request) if instance.unit is Unit.BOOK]
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
            message = "every byte is right"
            if check is None:
                message = "not looked at: its store is not mounted, or it was set aside"
            elif check.error is not None:
                message = check.error.message
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
                    looked=check is not None
                    and (not isinstance(check.error, StoreError) or is_disk_error(check.error)),
                )
            )
        return answer(results)


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
            check_administrator(tx, "decide about names", "decide")
            found = queries.detail(tx.connection, name)
            if found is None or len(found.files) < 2:
                raise NotFound(f"there are not two files named {str(name)!a}", hint="`lbctl file show` lists them")
            digests = [Digest(file.digest) for file, _ in found.files if not file.withdrawn]
            keep = _chosen(found, body)
            tx.append(
                NameResolved(
                    name=name,
                    keep=keep,
                    over=[digest for digest in digests if digest != keep],
                    supersedes=set_aside.decisions(tx.connection, name),
                )
            )
            return keep

        keep = await self._catalog.write(work)
        self._log.warning("name_resolved", name=name, keep=keep)
        return answer(await self._views.transfers.name(name))


def _chosen(found: queries.Detail, body: api.Resolve) -> Digest:
    """The one file that is meant."""
    if (body.keep is None) == (body.keep_from is None):
        raise ArgumentInvalid("say which file is to have the name: its digest, or a site that holds it")
    files = [file for file, _ in found.files if not file.withdrawn]
    if body.keep is not None:
        wanted = body.keep.removeprefix("blake3:")
        chosen = [file for file in files if file.digest.removeprefix("blake3:").startswith(wanted)]
    else:
        chosen = [file for file in files if any(held.site == body.keep_from for held in file.instances)]
    if len(chosen) != 1:
        raise ArgumentInvalid(
            f"{len(chosen)} files of that name fit {body.keep or body.keep_from!a}",
            hint="`lbctl file show` lists their digests, and who holds them",
        )
    return Digest(chosen[0].digest)
