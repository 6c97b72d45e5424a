"""Asks every holder of files by letter how its instances stand. What is asked and answered is kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import inquiries
from librarian_daemon.catalog.integrity.inquiries import Registered
from librarian_daemon.catalog.journal.letters import Sealed
from librarian_daemon.integrity.answering import Answering, Send
from librarian_daemon.ports.time import Clock, Rng
from librarian_protocol import api, wire
from librarian_protocol.errors import ArgumentInvalid, NotFound, SegmentInvalid
from librarian_protocol.inquiries import MOST_FILES, VERIFY, Answer, AskedFile, Outcome, Question, Result, answer_of
from librarian_protocol.mail import Mail
from librarian_protocol.names import SiteName

#: Instances that one inquiry asks for.
MOST_INSTANCES = 10_000
#: Inquiries that are kept; the oldest is forgotten.
MOST_KEPT = 16
#: A site that has not answered is asked again after this time, as long as somebody wants to know. A letter may be lost.
ASK_AGAIN_S = 30.0


class _Inquiry(msgspec.Struct, kw_only=True):
    id: str
    registered: Sequence[Registered]
    #: What was asked of each site and is not answered: by part.
    open: dict[SiteName, dict[int, Question]]
    asked_s: dict[SiteName, float]
    #: By site, store, name and digest.
    results: dict[tuple[str, str | None, str, str], Result] = {}


class Asking:
    """Begins inquiries, hears answers (``verified``), and shows how they stand."""

    def __init__(self, catalog: Catalog, clock: Clock, rng: Rng, site: SiteName, send: Send) -> None:
        self._catalog = catalog
        self._clock = clock
        self._rng = rng
        self._site = site
        self._send = send
        self._kept: OrderedDict[str, _Inquiry] = OrderedDict()
        self._log = structlog.get_logger("asking")

    async def begin(self, match: str, answering: Answering, *, fresh: bool) -> str:
        """Ask the holders of all files whose names match, this site included. Returns the inquiry's id.

        Raises:
            NotFound: nobody holds such a file.
            ArgumentInvalid: they are too many.
        """
        found = await self._catalog.read(inquiries.registered, match, MOST_INSTANCES)
        if found is None:
            raise ArgumentInvalid(
                f"more than {MOST_INSTANCES:,} instances match {match!a}", hint="ask for fewer files at a time"
            )
        if not found:
            raise NotFound(f"no site holds a file that matches {match!a}", hint="`lbctl file list --match GLOB`")
        id_ = self._rng.hex(32)
        inquiry = _Inquiry(id=id_, registered=found, open={}, asked_s={})
        for site in sorted({instance.site for instance in found}):
            files = list(dict.fromkeys((one.name, one.digest) for one in found if one.site == site))
            inquiry.open[site] = {
                part: Question(
                    inquiry=id_,
                    part=part,
                    fresh=fresh,
                    files=[AskedFile(name=name, digest=digest) for name, digest in files[begin : begin + MOST_FILES]],
                )
                for part, begin in enumerate(range(0, len(files), MOST_FILES))
            }
        self._kept[id_] = inquiry
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        for site in list(inquiry.open):
            await self._ask(inquiry, site, answering)
        return id_

    async def _ask(self, inquiry: _Inquiry, site: SiteName, answering: Answering) -> None:
        inquiry.asked_s[site] = self._clock.boottime_s()
        for question in list(inquiry.open.get(site, {}).values()):
            if site == self._site:
                answering.ask(site, question)
            else:
                await self._send(site, VERIFY, wire.encode(question))

    async def verified(self, letter: Mail, _sealed: Sealed) -> None:
        """Mail handler. Repeatable. What was not asked of that site is ignored."""
        try:
            self.hear(letter.sender, answer_of(letter.body))
        except SegmentInvalid as exc:
            self._log.warning("letter_ignored", sparingly=True, peer=letter.sender, error=exc.message)

    def hear(self, site: SiteName, answer: Answer) -> None:
        """An answer has come."""
        inquiry = self._kept.get(answer.inquiry)
        if inquiry is None:
            return
        question = inquiry.open.get(site, {}).get(answer.part)
        if question is None:
            return
        asked = {(file.name, file.digest) for file in question.files}
        for result in answer.results:
            if (result.name, result.digest) in asked:
                inquiry.results[site, result.store, result.name, result.digest] = result
        inquiry.asked_s[site] = self._clock.boottime_s()
        if answer.done:
            del inquiry.open[site][answer.part]
            if not inquiry.open[site]:
                del inquiry.open[site]

    async def view(self, id_: str, answering: Answering, away: Mapping[SiteName, str]) -> api.EverywhereVerified:
        """How an inquiry stands; who has been asked long ago is asked again.

        Raises:
            NotFound: it is not known any more.
        """
        inquiry = self._kept.get(id_)
        if inquiry is None:
            raise NotFound("that inquiry is not known any more", hint="ask again: `lbctl file verify --everywhere`")
        for site, asked_s in list(inquiry.asked_s.items()):
            if site in inquiry.open and self._clock.boottime_s() - asked_s >= ASK_AGAIN_S:
                await self._ask(inquiry, site, answering)
        rows = [self._row(inquiry, instance) for instance in inquiry.registered]
        return api.EverywhereVerified(
            inquiry=id_,
            instances=rows,
            answered=sum(row.outcome != "waiting" for row in rows),
            waiting=sorted(inquiry.open),
            away={str(site): why for site, why in sorted(away.items()) if site in inquiry.open},
        )

    def _row(self, inquiry: _Inquiry, instance: Registered) -> api.InstanceVerified:
        site, file = instance.site, (str(instance.name), str(instance.digest))
        result = inquiry.results.get((site, instance.store, *file)) or inquiry.results.get((site, None, *file))
        row = api.InstanceVerified(
            site=site,
            store=instance.store,
            label=instance.label,
            name=instance.name,
            digest=instance.digest,
            size_bytes=instance.size_bytes,
            outcome="waiting",
        )
        if result is None:
            if site not in inquiry.open:
                row.outcome = Outcome.ABSENT.value
            return row
        row.outcome, row.message = result.outcome.value, result.message
        row.found_digest, row.found_size_bytes = result.found, result.size_bytes
        row.read_at, row.fresh = result.at or None, result.fresh
        return row
