"""Two routes: an administrator withdraws a file, and an operator has wrong bytes replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from aiohttp import web

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import instances, withdrawals
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.mesh.administration import check_administrator
from librarian_daemon.catalog.status import queries
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import planning
from librarian_daemon.integrity.custodian import Custodian
from librarian_daemon.integrity.withdrawals import Withdrawals
from librarian_daemon.ports.store import Store
from librarian_daemon.runtime.json_http import answer, body_of
from librarian_daemon.status.status import Views
from librarian_protocol import api, wire
from librarian_protocol.digests import Digest
from librarian_protocol.errors import ArgumentInvalid, NotFound, StoreError
from librarian_protocol.names import Name, SiteName
from librarian_protocol.wanted import EXPLAINED, UnwantedReason

_WITHDRAW = wire.decoder(api.Withdraw)
_HEAL = wire.decoder(api.Heal)


class KeepControl:
    """The routes."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        views: Views,
        stores: Mapping[str, Store],
        custodian: Custodian,
        withdrawals: Withdrawals,
        site: SiteName,
        adapters: Sequence[str],
    ) -> None:
        self._catalog = catalog
        self._views = views
        self._stores = stores
        self._custodian = custodian
        self._withdrawals = withdrawals
        self._site = site
        self._adapters = adapters
        self._log = structlog.get_logger("files")

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.post(f"{api.PREFIX}/file/withdraw", self._withdraw),
            web.post(f"{api.PREFIX}/file/heal", self._heal),
        ]

    async def _withdraw(self, request: web.Request) -> web.Response:
        body = await body_of(request, _WITHDRAW)
        name = Name.parse(body.name)

        def work(tx: Tx) -> None:
            check_administrator(tx, "withdraw files", "withdraw it")
            withdrawals.withdraw(
                tx, name, [_chosen(queries.detail(tx.connection, name), name, body.digest)], body.reason
            )

        await self._catalog.write(work)
        self._log.warning("file_withdrawn", name=name, reason=body.reason)
        await self._withdrawals.carry_out()
        return answer(await self._views.transfers.name(name))

    async def _heal(self, request: web.Request) -> web.Response:
        body = await body_of(request, _HEAL)
        name = Name.parse(body.name)
        found = await self._catalog.read(instances.of_name, self._site, name)
        if body.digest is not None:
            found = [instance for instance in found if instance.digest == Digest.parse(body.digest)]
        if not found:
            known = await self._catalog.read(queries.detail, name)
            raise NotFound(
                f"no instance of {name!a} stands at site {self._site!r}",
                hint=f"`lbctl transfer add {name}` fetches it" if known else "`lbctl file list` lists what is known",
            )
        return answer([await self._heal_one(instance) for instance in found])

    async def _heal_one(self, holding: Holding) -> api.HealResult:
        check = await self._custodian.examine(holding, insist=True)
        store = self._stores.get(holding.store)
        result = api.HealResult(
            name=holding.name,
            digest=holding.digest,
            store=holding.store,
            label=store.label if store else "",
            state="right",
            message="every byte is right",
        )
        if check is None or store is None:
            result.state, result.message = "unknown", "its store is not mounted, or it does not stand at its name"
        elif check.error is not None:
            ways = await self._catalog.read(planning.find_sources, self._site, self._adapters, [holding.file_id])
            found = ways[holding.file_id]
            if not isinstance(found, UnwantedReason):
                result.state = "fetching"
                result.message = f"{check.error.message}; it is fetched again from {found[0].site}"
            elif isinstance(check.error, StoreError):
                result.state, result.message = "unknown", check.error.message
            else:
                result.state = "lost"
                result.message = (
                    f"{check.error.message}; {EXPLAINED[found]}; what stands there is kept: drop good bytes under the"
                    " name, and they take its place"
                )
        return result


def _chosen(found: queries.Detail | None, name: Name, digest: str | None) -> str:
    """The one file that is meant.

    Raises:
        NotFound: nothing is known of the name.
        ArgumentInvalid: several are meant, or none.
    """
    if found is None:
        raise NotFound(f"no file named {name!a} is known here", hint="`lbctl file list --match GLOB` looks for names")
    files = [file for file, _ in found.files]
    if digest is not None:
        wanted = digest.removeprefix("blake3:")
        chosen = [file for file in files if file.digest.removeprefix("blake3:").startswith(wanted)]
    else:
        chosen = [file for file in files if not file.withdrawn] or files
    if len(chosen) != 1:
        raise ArgumentInvalid(
            f"{len(chosen)} files of that name fit", hint="say which one with --digest; `lbctl file show` lists them"
        )
    return chosen[0].digest
