"""The control API's routes about giving up instances: by hand, by the rules, and the trash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from librarian_daemon.api.stores.control import StoreChoice
from librarian_daemon.catalog import eviction_rows as rows
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.eviction_rows import Giving
from librarian_daemon.catalog.evictions import candidates, facts
from librarian_daemon.catalog.evictions.attempts import Looked
from librarian_daemon.eviction.evictor import Evictor, Outcome
from librarian_daemon.eviction.retention import Retention
from librarian_daemon.eviction.trash import TrashKeeper
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.json_http import answer, body_of, limit_of
from librarian_protocol import api, globs, retention, wire
from librarian_protocol.display import utc
from librarian_protocol.errors import ArgumentInvalid, NotFound, NotPossible
from librarian_protocol.eviction.letters import MOST_FILES
from librarian_protocol.eviction.refusal import EXPLAINED
from librarian_protocol.lengths import seconds_of
from librarian_protocol.names import Name, SiteName
from librarian_protocol.retention import Rule
from librarian_protocol.wanted import InstanceState

_EVICT = wire.decoder(api.Evict)
_RESTORE = wire.decoder(api.Restore)
_PAGE = 1000
#: Files that one request looks at, where few of them match.
_LOOKED = 20_000


class RetentionControl:
    """The routes."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        clock: Clock,
        site: SiteName,
        stores: Mapping[str, Store],
        choice: StoreChoice,
        evictor: Evictor,
        trash: TrashKeeper,
        rules: Retention,
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._site = site
        self._stores = stores
        self._choice = choice
        self._evictor = evictor
        self._trash = trash
        self._rules = rules

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.post(f"{api.PREFIX}/file/evict", self._evict),
            web.get(f"{api.PREFIX}/retention", self._list),
            web.get(f"{api.PREFIX}/retention/plan", self._plan),
            web.post(f"{api.PREFIX}/retention/run", self._run),
            web.get(f"{api.PREFIX}/trash", self._trashed),
            web.post(f"{api.PREFIX}/trash/restore", self._restore),
        ]

    # ---- by hand -----------------------------------------------------------------------------------------

    async def _evict(self, request: web.Request) -> web.Response:
        body = await body_of(request, _EVICT)
        name = Name.parse(body.name)
        store = (await self._choice.of([body.store]))[0]
        file = self._chosen(await self._catalog.read(facts.of_name, name), name, store, body.digest)
        wish = self._evictor.wish(store.id, "hand", allow_archive=body.allow_archive)
        if body.dry_run:
            (looked,) = await self._evictor.look(wish, [file.file_id])
            outcome = Outcome(file=looked.file, refusal=looked.refusal, unfit=looked.unfit)
        else:
            (outcome,) = await self._evictor.give_up(wish, [file.file_id])
        return answer(self._evicted(outcome, store, "would-go" if body.dry_run else "in-trash"))

    def _chosen(
        self, files: Sequence[facts.FileFacts], name: Name, store: Store, digest: str | None
    ) -> facts.FileFacts:
        held = [
            file
            for file in files
            if (one := file.instance(self._site, store.id)) is not None
            and one.state is not InstanceState.REMOVED
            and (digest is None or str(file.digest) == digest)
        ]
        if not held:
            raise NotFound(
                f"store {store.label!r} has no instance of {name!a}", hint=f"`lbctl file show {name}` shows who has one"
            )
        if len(held) > 1:
            raise ArgumentInvalid(
                f"store {store.label!r} has {len(held)} files of that name", hint="say which: --digest blake3:…"
            )
        return held[0]

    def _evicted(self, outcome: Outcome, store: Store, went: str) -> api.Evicted:
        refusal, message = _why_not(outcome)
        if outcome.unfit:
            message += ": see `lbctl explain`"
        return api.Evicted(
            name=outcome.file.name,
            digest=outcome.file.digest,
            store=store.label,
            outcome=went if refusal is None else "refused",
            refusal=refusal,
            message=message,
            said=list(outcome.said),
        )

    # ---- by rules ----------------------------------------------------------------------------------------

    async def _list(self, _request: web.Request) -> web.Response:
        return answer(
            [
                api.RetentionRule(
                    store=rule.store,
                    match=rule.match,
                    after_s=rule.after_s,
                    fuller_than=rule.fuller_than,
                    down_to=rule.down_to,
                    needs_role=rule.needs_role,
                    allow_archive=rule.allow_archive,
                    looked=state.looked,
                    given_up=state.given_up,
                    size_bytes=state.size_bytes,
                    refused=dict(state.refused),
                    ended_at=state.ended_at,
                )
                for rule, state in zip(self._rules.rules, self._rules.passes, strict=True)
            ]
        )

    async def _run(self, _request: web.Request) -> web.Response:
        if not self._rules.rules:
            raise NotPossible("this site has no retention rule", hint="write [[retention.rule]] in site.toml")
        self._rules.now()
        return await self._list(_request)

    async def _plan(self, request: web.Request) -> web.Response:
        rules = await self._asked(request)
        limit = limit_of(request, 100, _PAGE)
        where, _, behind = request.query.get("after", "").partition(",")
        index, after = _cursor(where), _cursor(behind)
        found: list[api.Planned] = []
        looked = 0
        while index < len(rules) and len(found) < limit and looked < _LOOKED:
            some, after, seen = await self._page(rules[index], after, limit - len(found))
            found += some
            looked += seen
            if not seen:
                index, after = index + 1, 0
        going = [one for one in found if one.refusal is None]
        return answer(
            api.Plan(
                items=found,
                files=len(going),
                size_bytes=sum(one.size_bytes for one in going),
                looked=looked,
                next=f"{index},{after}" if index < len(rules) else None,
            )
        )

    async def _asked(self, request: web.Request) -> Sequence[Rule]:
        """The rules of this site; or what is asked instead."""
        query = request.query
        store = query.get("store", "")
        labels = [one.label for one in await self._choice.of([store])] if store else []
        if not query.get("match") and not query.get("age"):
            return [rule for rule in self._rules.rules if not labels or rule.store in labels]
        match, age = globs.check(query.get("match", "**")), query.get("age", "")
        after_s = seconds_of(age) if age else None
        known = labels or [one.label for one in self._stores.values()]
        archive = query.get("allow_archive") == "1"
        return [Rule(store=label, match=match, after_s=after_s, allow_archive=archive) for label in known]

    async def _page(self, rule: Rule, after: int, limit: int) -> tuple[list[api.Planned], int, int]:
        """Files of one rule behind a file, behind which the next begin, and how many were looked at."""
        store = (await self._choice.of([rule.store]))[0]
        page = await self._catalog.read(candidates.after, self._site, store.id, after, MOST_FILES)
        now_s = self._clock.unix_s()
        old = [one.file_id for one in page if retention.is_old_enough(rule, one.name, one.at, now_s)]
        taken = old[:limit]
        looked = await self._evictor.look(self._rules.wish(rule, store), taken)
        last = taken[-1] if len(old) > limit else page[-1].file_id if page else after
        return [self._planned(one, store) for one in looked], last, len(page)

    def _planned(self, looked: Looked, store: Store) -> api.Planned:
        file = looked.file
        refusal, message = _why_not(looked)
        return api.Planned(
            name=file.name,
            digest=file.digest,
            store=store.label,
            size_bytes=file.size_bytes,
            refusal=refusal,
            message=message,
            holders=sorted(
                {one.site for one in file.instances if one.state is InstanceState.AVAILABLE and not one.doubted}
                - {self._site}
            ),
        )

    # ---- trash -------------------------------------------------------------------------------------------

    async def _trashed(self, request: web.Request) -> web.Response:
        limit = limit_of(request, 100, _PAGE)
        wanted = request.query.get("store")
        stores = await self._choice.of([wanted]) if wanted else list(self._stores.values())
        where, _, behind = request.query.get("after", "").partition(",")
        index, after = _cursor(where), _cursor(behind)
        found: list[api.Trashed] = []
        while index < len(stores) and len(found) < limit:
            page = await self._catalog.read(rows.after, stores[index].id, after, limit - len(found))
            found += [self._in_trash(one, stores[index]) for one in page]
            if page:
                after = page[-1].file_id
            else:
                index, after = index + 1, 0
        return answer(api.TrashPage(items=found, next=f"{index},{after}" if index < len(stores) else None))

    def _in_trash(self, one: Giving, store: Store) -> api.Trashed:
        since_s = one.since_s
        grace_s = self._evictor.grace_of(store.id)
        return api.Trashed(
            name=one.name,
            digest=one.digest,
            store=store.label,
            size_bytes=one.size_bytes,
            why=one.why,
            since="" if since_s is None else utc(since_s),
            until="" if since_s is None else utc(since_s + grace_s),
        )

    async def _restore(self, request: web.Request) -> web.Response:
        body = await body_of(request, _RESTORE)
        name = Name.parse(body.name)
        mine = [one for one in await self._catalog.read(rows.named, name) if one.away]
        if not mine:
            raise NotFound(f"{name!a} is not in trash", hint="`lbctl trash list` shows what is")
        for one in mine:
            store = self._stores.get(one.store)
            if store is not None and not await self._trash.put_back(store, [one]):
                raise NotPossible(
                    f"{name!a} cannot be put back into store {store.label!r} now",
                    hint="`lbctl incident list` says what stands at its name",
                )
        return answer([self._in_trash(one, self._stores[one.store]) for one in mine if one.store in self._stores])


def _why_not(one: Looked | Outcome) -> tuple[str | None, str]:
    """Why it is not given up, by name and in words; None where it is."""
    if one.unfit:
        return "unfit", "it is not good, or is being given up already"
    return (None, "") if one.refusal is None else (str(one.refusal), EXPLAINED[one.refusal])


def _cursor(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise ArgumentInvalid(f"after={text[:40]!a} is no place in a list", hint="give what `next` said")
    return int(text)
