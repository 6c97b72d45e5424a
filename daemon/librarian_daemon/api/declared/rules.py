"""The control API's routes about rules of the mesh: list, declare, withdraw."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from aiohttp import web

from librarian_daemon.catalog import rule_rows
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.mesh.administration import check_administrator
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.json_http import answer, body_of, text_of
from librarian_protocol import api, rules, wire
from librarian_protocol.entries import EntryId, HoldWithdrawn, KeepDeclared, KeepWithdrawn
from librarian_protocol.errors import NotFound, NotPossible
from librarian_protocol.names import SiteName
from librarian_protocol.rules import Hold, Keep

_KEEP = wire.decoder(api.KeepAdd)
_HOLD = wire.decoder(api.HoldAdd)


class RuleControl:
    """Those of all sites are listed; a site that may admit declares its own, and withdraws those of all."""

    def __init__(self, catalog: Catalog, clock: Clock, site: SiteName) -> None:
        self._catalog = catalog
        self._clock = clock
        self._site = site
        self._log = structlog.get_logger("control")

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        keeps, holds = f"{api.PREFIX}/keeps", f"{api.PREFIX}/holds"
        return [
            web.get(keeps, self._keeps),
            web.post(keeps, self._keep),
            web.delete(keeps, self._end_keep),
            web.get(holds, self._holds),
            web.post(holds, self._hold),
            web.delete(holds, self._end_hold),
        ]

    async def _keeps(self, request: web.Request) -> web.Response:
        return answer([_keep(rule) for rule in await self._catalog.read(rule_rows.keeps)])

    async def _holds(self, request: web.Request) -> web.Response:
        return answer([self._shown(rule) for rule in await self._catalog.read(rule_rows.holds)])

    async def _keep(self, request: web.Request) -> web.Response:
        body = await body_of(request, _KEEP)
        declared = rules.keep_of(
            match=body.match, instances=body.instances, domains=body.domains, role=body.role, reason=body.reason
        )

        def work(tx: Tx) -> Keep:
            _check_right(tx)
            known = rule_rows.keeps(tx.connection)
            _check_new([rule for rule in known if _asks(rule) == _asks(declared)], "keep")
            tx.append(declared)
            return _only_new(known, rule_rows.keeps(tx.connection))

        rule = await self._catalog.write(work)
        self._log.warning("keep_declared", rule=rules.text_of(rule.id), match=rule.match, instances=rule.instances)
        return answer(_keep(rule))

    async def _hold(self, request: web.Request) -> web.Response:
        body = await body_of(request, _HOLD)
        until = None if body.until is None else rules.until_of(body.until)
        declared = rules.hold_of(match=body.match, until=until, reason=body.reason, now_s=self._clock.unix_s())

        def work(tx: Tx) -> Hold:
            _check_right(tx)
            known = rule_rows.holds(tx.connection)
            alike = [rule for rule in known if (rule.match, rule.until) == (declared.match, declared.until)]
            _check_new(alike, "hold")
            tx.append(declared)
            return _only_new(known, rule_rows.holds(tx.connection))

        rule = await self._catalog.write(work)
        self._log.warning("hold_declared", rule=rules.text_of(rule.id), match=rule.match, until=rule.until)
        return answer(self._shown(rule))

    async def _end_keep(self, request: web.Request) -> web.Response:
        entry, reason = _asked(request)

        def work(tx: Tx) -> Keep:
            _check_right(tx)
            rule = _meant(rule_rows.keeps(tx.connection), entry, "keep")
            tx.append(KeepWithdrawn(supersedes=[entry], reason=reason))
            return rule

        rule = await self._catalog.write(work)
        self._log.warning("keep_withdrawn", rule=rules.text_of(entry), match=rule.match, reason=reason)
        return answer(_keep(rule))

    async def _end_hold(self, request: web.Request) -> web.Response:
        entry, reason = _asked(request)

        def work(tx: Tx) -> Hold:
            _check_right(tx)
            rule = _meant(rule_rows.holds(tx.connection), entry, "hold")
            tx.append(HoldWithdrawn(supersedes=[entry], reason=reason))
            return rule

        rule = await self._catalog.write(work)
        self._log.warning("hold_withdrawn", rule=rules.text_of(entry), match=rule.match, reason=reason)
        return answer(self._shown(rule))

    def _shown(self, rule: Hold) -> api.HoldRule:
        return api.HoldRule(
            id=rules.text_of(rule.id),
            site=rule.id.site,
            match=rule.match,
            until=None if rule.until is None else rules.moment(rule.until),
            over=rules.is_over(rule, self._clock.unix_s()),
            reason=rule.reason,
            at=rule.at,
        )


def _check_right(tx: Tx) -> None:
    check_administrator(tx, "declare or withdraw rules of the mesh", "do it")


def _asks(rule: Keep | KeepDeclared) -> tuple[str, int, int, str | None]:
    return rule.match, rule.instances, rule.domains, rule.role


def _asked(request: web.Request) -> tuple[EntryId, str]:
    """Which rule is to end, and why."""
    return rules.id_of(text_of(request, "id")), rules.said_of(request.query.get("reason", ""))


def _check_new(alike: Sequence[Keep | Hold], noun: str) -> None:
    if alike:
        raise NotPossible(f"{rules.text_of(alike[0].id)} says the same already", hint=f"`lbctl {noun} list`")


def _only_new(before: Sequence[rules.Rule], after: Sequence[rules.Rule]) -> rules.Rule:
    """The rule that was just declared: its number is known only now."""
    known = {rule.id for rule in before}
    (new,) = (rule for rule in after if rule.id not in known)
    return new


def _meant(known: Sequence[rules.Rule], entry: EntryId, noun: str) -> rules.Rule:
    for rule in known:
        if rule.id == entry:
            return rule
    raise NotFound(
        f"{rules.text_of(entry)} is not the id of a {noun} rule that counts",
        hint=f"`lbctl {noun} list` shows their ids",
    )


def _keep(rule: Keep) -> api.KeepRule:
    return api.KeepRule(
        id=rules.text_of(rule.id),
        site=rule.id.site,
        match=rule.match,
        instances=rule.instances,
        domains=rule.domains,
        role=rule.role,
        reason=rule.reason,
        at=rule.at,
    )
