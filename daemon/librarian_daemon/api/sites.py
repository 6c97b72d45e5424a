"""The control API's routes about sites: the roster, inviting, joining, and statements about a site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import letters, standings
from librarian_daemon.catalog.mesh import offers
from librarian_daemon.catalog.mesh.invites import Terms
from librarian_daemon.mesh.inviter import Inviter
from librarian_daemon.mesh.joiner import Joiner
from librarian_daemon.mesh.membership import Membership
from librarian_daemon.runtime.json_http import answer, body_of
from librarian_protocol import api, globs, wire
from librarian_protocol.entries import Access, SiteAdmitted, SiteRevoked
from librarian_protocol.errors import ArgumentInvalid, NotFound
from librarian_protocol.keys import is_public_key
from librarian_protocol.names import SiteName

LONGEST_S = 30 * 86_400
_TERMS = wire.decoder(api.InviteTerms)
_JOIN = wire.decoder(api.Join)
_OFFER = wire.decoder(api.Offer)
_CHANGE = wire.decoder(api.SiteChange)
_END = wire.decoder(api.SiteEnd)
_CONFIRM = wire.decoder(api.PendingJoin)
_ADMITTED = wire.decoder(SiteAdmitted)
_REVOKED = wire.decoder(SiteRevoked)
_STATEMENT = wire.decoder(api.Statement)


class SiteControl:
    """The routes."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        membership: Membership,
        inviter: Inviter,
        joiner: Joiner,
        roster: Callable[[], Awaitable[list[api.Site]]],
        bus_config: Callable[[], str],
    ) -> None:
        self._catalog = catalog
        self._membership = membership
        self._inviter = inviter
        self._joiner = joiner
        self._roster = roster
        self._bus_config = bus_config

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        prefix = api.PREFIX
        return [
            web.get(f"{prefix}/sites", self._sites),
            web.post(f"{prefix}/invite", self._invite),
            web.get(f"{prefix}/pending", self._pending),
            web.post(f"{prefix}/confirm", self._confirm),
            web.post(f"{prefix}/join", self._join),
            web.get(f"{prefix}/join", self._join_state),
            web.post(f"{prefix}/site", self._change),
            web.get(f"{prefix}/site/tips", self._tips),
            web.post(f"{prefix}/site/revoke", self._revoke),
            web.post(f"{prefix}/site/readmit", self._readmit),
            web.post(f"{prefix}/statement", self._statement),
            web.get(f"{prefix}/bus/config", self._config),
            web.get(f"{prefix}/offers", self._offers),
            web.post(f"{prefix}/offers", self._offer),
        ]

    async def _sites(self, request: web.Request) -> web.Response:
        return answer(await self._roster())

    async def _invite(self, request: web.Request) -> web.Response:
        body = await body_of(request, _TERMS)
        if body.access not in list(Access):
            raise ArgumentInvalid(f"access {body.access!r} is not one of {', '.join(Access)}")
        if not 60 <= body.expires_s <= LONGEST_S:
            raise ArgumentInvalid(f"expires_s={body.expires_s} is not between 60 and {LONGEST_S}")
        terms = Terms(
            access=Access(body.access),
            domain=body.domain,
            grants=body.grants,
            may_admit=body.may_admit,
            confirm=body.confirm,
        )
        return answer(await self._inviter.invite(body.expires_s, terms))

    async def _pending(self, request: web.Request) -> web.Response:
        return answer(self._inviter.pending())

    async def _confirm(self, request: web.Request) -> web.Response:
        body = await body_of(request, _CONFIRM)
        return answer(self._inviter.confirm(SiteName.parse(body.site), body.fingerprint))

    async def _join(self, request: web.Request) -> web.Response:
        body = await body_of(request, _JOIN)
        return answer(await self._joiner.join(body.token))

    async def _join_state(self, request: web.Request) -> web.Response:
        state = await self._joiner.current_join()
        if state is None:
            raise NotFound("this site is not joining", hint="start with `lbctl site join TOKEN`")
        return answer(state)

    async def _change(self, request: web.Request) -> web.Response:
        body = await body_of(request, _CHANGE)
        site = SiteName.parse(body.site)
        await self._membership.change(site, body)
        return await self._site_answer(site)

    async def _tips(self, request: web.Request) -> web.Response:
        site = SiteName.parse(request.query.get("site", ""))
        found = await self._catalog.read(standings.tips, site)
        return answer([api.SiteTip(incarnation=tip.incarnation, seq=tip.seq, hash=tip.hash) for tip in found])

    async def _revoke(self, request: web.Request) -> web.Response:
        body = await body_of(request, _END)
        site = SiteName.parse(body.site)
        if not body.reason:
            raise ArgumentInvalid("a revocation needs a reason")
        await self._membership.revoke(site, body.reason[:1024], _cutoffs(body))
        return await self._site_answer(site)

    async def _readmit(self, request: web.Request) -> web.Response:
        body = await body_of(request, _END)
        site = SiteName.parse(body.site)
        if body.key is not None and not is_public_key(body.key):
            raise ArgumentInvalid(f"{body.key[:80]!a} is not a public key: ed25519:<64 hex digits>")
        await self._membership.readmit(site, body.key, _cutoffs(body))
        return await self._site_answer(site)

    async def _statement(self, request: web.Request) -> web.Response:
        body = await body_of(request, _STATEMENT)
        entry: SiteAdmitted | SiteRevoked
        try:
            match body.kind:
                case "site.admitted":
                    entry = _ADMITTED.decode(body.entry)
                case "site.revoked":
                    entry = _REVOKED.decode(body.entry)
                case _:
                    raise ArgumentInvalid(f"a statement is site.admitted or site.revoked, not {body.kind[:80]!a}")
        except wire.NOT_DECODABLE as exc:
            raise ArgumentInvalid(f"the statement does not decode: {wire.why(exc)}") from exc
        await self._membership.publish(entry)
        return await self._site_answer(entry.site)

    async def _config(self, request: web.Request) -> web.Response:
        text = self._bus_config()
        if not text:
            raise NotFound("this site has no bus server of its own", hint="`lbctl status` shows which one it uses")
        return web.Response(text=text)

    async def _offers(self, request: web.Request) -> web.Response:
        chosen = await self._catalog.read(offers.every)
        peers = [peer for peer in await self._roster() if not peer.here and peer.access]
        return answer(
            [api.Offer(peer=peer.site, access=peer.access, globs=chosen.get(SiteName(peer.site), [])) for peer in peers]
        )

    async def _offer(self, request: web.Request) -> web.Response:
        body = await body_of(request, _OFFER)
        peer = SiteName.parse(body.peer)
        for glob in body.globs:
            globs.check(glob)
        if peer not in {member.site for member in await self._roster()}:
            raise NotFound(f"site {peer!r} is not in the roster", hint="`lbctl site list`")
        await self._catalog.write(offers.put, peer, body.globs)
        await self._catalog.write(letters.tell_again, peer)
        return await self._offers(request)

    async def _site_answer(self, site: SiteName) -> web.Response:
        return answer([member for member in await self._roster() if member.site == site])


def _cutoffs(body: api.SiteEnd) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for text in [*([body.cutoff] if body.cutoff is not None else []), *body.cutoffs]:
        incarnation, colon, seq = text.partition(":")
        if not colon or not seq.isdecimal() or not seq.isascii() or len(seq) > 19:
            raise ArgumentInvalid(f"a cut-off is INCARNATION:SEQ, not {text[:80]!a}")
        found.append((incarnation, int(seq)))
    return found
