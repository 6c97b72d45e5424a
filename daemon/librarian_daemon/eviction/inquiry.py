"""What an evictor has asked, and the answers that came: in memory, since no attempt outlives the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping

import msgspec

from librarian_daemon.catalog.journal.letters import Sealed
from librarian_protocol.digests import Digest
from librarian_protocol.eviction.count import Place
from librarian_protocol.eviction.letters import Answer, No, why_of
from librarian_protocol.eviction.refusal import Declined
from librarian_protocol.eviction.voucher import Round, Vouch
from librarian_protocol.names import Name, SiteName

#: A file of a batch.
File = tuple[Name, Digest]
#: Letters with answers that are taken from one site. It has no reason to send more.
MOST_LETTERS = 64


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One answer as it came, for the evidence."""

    site: SiteName
    payload: bytes
    signature: str


class Inquiry:
    """One question to some sites about a batch, under one nonce."""

    def __init__(self, nonce: str, round_: Round, asked: Mapping[SiteName, Collection[File]]) -> None:
        """``asked``: about which files each site was asked."""
        self.nonce = nonce
        self.round = round_
        self.asked = asked
        self.vouches: dict[File, list[Vouch]] = {}
        self.declines: dict[File, dict[Place, Declined]] = {}
        self.letters: list[Heard] = []
        self._answered: dict[File, set[SiteName]] = {}
        self._owed: dict[File, set[SiteName]] = {}
        for site, files in asked.items():
            for file in files:
                self._owed.setdefault(file, set()).add(site)
        self._heard = asyncio.Event()

    def hear(self, site: SiteName, said: Iterable[Vouch | No]) -> None:
        """Answers of one site; those about anything else than it was asked are passed by."""
        mine = self.asked.get(site, ())
        for one in said:
            file = (one.name, one.digest)
            if file not in mine and site in self.asked:
                continue
            if isinstance(one, Vouch):
                self.vouches.setdefault(file, []).append(one)
            elif (why := why_of(one)) is not None:
                self.declines.setdefault(file, {})[site, one.store] = why
            self._answered.setdefault(file, set()).add(site)
        self._heard.set()

    def letter(self, site: SiteName, answer: Answer, sealed: Sealed) -> None:
        """A letter came: with answers, or it says that the question is worked on."""
        if site not in self.asked or sum(one.site == site for one in self.letters) >= MOST_LETTERS:
            return
        said: list[Vouch | No] = [*answer.vouches, *answer.declined]
        if said:
            self.letters.append(Heard(site=site, payload=sealed.payload, signature=sealed.signature))
        self.hear(site, said)

    def silent(self, file: File) -> set[SiteName]:
        """Sites that have not answered about a file."""
        return self._owed.get(file, set()) - self._answered.get(file, set())

    def unanswered(self, site: SiteName) -> set[File]:
        """The files that a site was asked about and has not answered."""
        return {file for file in self.asked.get(site, ()) if site not in self._answered.get(file, ())}

    async def wait(self, patience_s: float) -> bool:
        """Until more is heard; False where nothing is for so long."""
        try:
            async with asyncio.timeout(patience_s):
                await self._heard.wait()
        except TimeoutError:
            return False
        self._heard.clear()
        return True


class Inquiries:
    """Those that go on, by nonce."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, Round], Inquiry] = {}

    def begin(self, inquiry: Inquiry) -> None:
        """Hear its answers from now on."""
        self._open[inquiry.nonce, inquiry.round] = inquiry

    def end(self, inquiry: Inquiry) -> None:
        """Hear no more."""
        self._open.pop((inquiry.nonce, inquiry.round), None)

    def letter(self, site: SiteName, answer: Answer, sealed: Sealed) -> bool:
        """A letter with answers came; whether anybody waits for it."""
        inquiry = self._open.get((answer.nonce, answer.round))
        if inquiry is None:
            return False
        inquiry.letter(site, answer, sealed)
        return True
