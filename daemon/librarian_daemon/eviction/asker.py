"""Asks all stores that are said to have files, of this site and of others, and judges what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.evictions import attempts, facts
from librarian_daemon.catalog.evictions.attempts import Wish
from librarian_daemon.catalog.evictions.facts import FileFacts, Surroundings
from librarian_daemon.catalog.journal import mail
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.eviction.inquiry import File, Inquiries, Inquiry
from librarian_daemon.eviction.voucher import VoucherService
from librarian_daemon.ports.time import Rng
from librarian_protocol.entries import Access
from librarian_protocol.eviction import count
from librarian_protocol.eviction.count import Place
from librarian_protocol.eviction.letters import ASK, Ask, AskedFile, asks
from librarian_protocol.eviction.refusal import WHY_DECLINED, Refusal
from librarian_protocol.eviction.voucher import Round, Vouch
from librarian_protocol.names import SiteName
from librarian_protocol.requirement import Requirement
from librarian_protocol.wanted import InstanceState

#: An attempt goes on as long as a site that was asked is heard within this time.
PATIENCE_S = {Round.ROWS: 60.0, Round.BYTES: 120.0}
#: Once there are answers enough, the others are waited for so long: one of them may know of a hold.
MORE_S = 5.0


class Asker:
    """Asks for the evictor. What it has asked is in memory: no attempt outlives the daemon."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        rng: Rng,
        site: SiteName,
        voucher: VoucherService,
        inquiries: Inquiries,
        keep: Requirement | None,
    ) -> None:
        """``keep``: the site's own ``[retention] keep``."""
        self._catalog = catalog
        self._rng = rng
        self._site = site
        self._voucher = voucher
        self._inquiries = inquiries
        self._keep = keep

    async def ask(
        self, wish: Wish, nonce: str, round_: Round, files: Sequence[FileFacts], again: Inquiry | None = None
    ) -> tuple[Inquiry, Surroundings]:
        """Ask all stores that are said to have the files, and wait for answers. ``again``: those that were silent."""
        around = await self._catalog.read(facts.surroundings, self._site, self._keep)
        asked = _whom(around, files)
        inquiry = again or Inquiry(nonce, round_, asked)
        if again is not None:
            asked = {site: mine for site in again.asked if (mine := again.unanswered(site))}
        self._inquiries.begin(inquiry)
        try:
            await self._catalog.write(self._send, nonce, round_, wish.store, asked)
            question = Ask(nonce=nonce, round=round_, store=wish.store, files=_asked_files(files))
            async for said in self._voucher.said(self._site, question):
                inquiry.hear(self._site, said)
            await self._until_answered(wish, inquiry, around, files)
        finally:
            self._inquiries.end(inquiry)
        return inquiry, around

    def _send(self, tx: Tx, nonce: str, round_: Round, store: str, asked: Mapping[SiteName, Set[File]]) -> None:
        for site, files in asked.items():
            for body in asks(nonce, round_, store, [AskedFile(name=n, digest=d) for n, d in sorted(files)]):
                mail.send(tx, self._rng.hex(32), site, ASK, body)

    async def _until_answered(
        self, wish: Wish, inquiry: Inquiry, around: Surroundings, files: Sequence[FileFacts]
    ) -> None:
        open_ = list(files)
        while True:
            open_ = [file for file in open_ if inquiry.silent((file.name, file.digest))]
            if not open_:
                return
            enough = all(self.verdict(around, wish, inquiry, file) is None for file in open_)
            if not await inquiry.wait(MORE_S if enough else PATIENCE_S[inquiry.round]):
                return

    def verdict(
        self,
        around: Surroundings,
        wish: Wish,
        inquiry: Inquiry,
        file: FileFacts,
        proved: Mapping[Place, str] | None = None,
    ) -> Refusal | None:
        """``proved``: of round 2, what the vouchers' proofs must be; without it only rows are counted."""
        attempt = attempts.attempt_of(around, wish, file, inquiry.nonce, proved)
        key = (file.name, file.digest)
        return count.verdict(
            attempt, inquiry.vouches.get(key, ()), around.known_of(file), inquiry.declines.get(key, {})
        )

    def counted(
        self,
        around: Surroundings,
        wish: Wish,
        inquiry: Inquiry,
        file: FileFacts,
        proved: Mapping[int, Mapping[Place, str]],
    ) -> list[Vouch]:
        attempt = attempts.attempt_of(around, wish, file, inquiry.nonce, proved[file.file_id])
        return count.counting(attempt, inquiry.vouches.get((file.name, file.digest), ()), around.known_of(file))


def _whom(around: Surroundings, files: Sequence[FileFacts]) -> dict[SiteName, set[File]]:
    """The other sites that are said to have the files, and may vouch."""
    asked: dict[SiteName, set[File]] = {}
    for file in files:
        for one in file.instances:
            known = around.stores.get((one.site, one.store))
            if (
                known is not None
                and one.site != around.site
                and one.state is InstanceState.AVAILABLE
                and known.access is Access.FULL
                and not known.revoked
            ):
                asked.setdefault(one.site, set()).add((file.name, file.digest))
    return asked


def _asked_files(files: Iterable[FileFacts]) -> list[AskedFile]:
    return [AskedFile(name=file.name, digest=file.digest) for file in files]


def words(inquiry: Inquiry, file: FileFacts, around: Surroundings) -> list[str]:
    """Who vouched, who did not and why, who did not answer."""
    key = (file.name, file.digest)
    said = [f"{vouch.site} vouches for its store {vouch.store[:8]}" for vouch in inquiry.vouches.get(key, ())]
    said += [
        f"{place[0]} does not vouch: {WHY_DECLINED[why]}"
        for place, why in inquiry.declines.get(key, {}).items()
        if place[0] != around.site
    ]
    return said + [f"{silent} did not answer" for silent in sorted(inquiry.silent(key))]
