"""Telling callback sites by letter what concerns them, and hearing that at a callback site (docs/adr/0019)."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import letters, mail
from librarian_daemon.catalog.journal.letters import Sealed
from librarian_daemon.catalog.mesh.roster import known_members, roster
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.entries import Access, SiteAdmitted, SiteRevoked
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.letters import TELL_AGAIN
from librarian_protocol.mail import Mail
from librarian_protocol.names import SiteName

_LOOK_EVERY_S = 5.0
#: While something is missing, the request is repeated after this many letters, since a request may be lost.
_ASK_EVERY = 100
INCIDENT = "letters-missing"


class LetterService:
    """Service :meth:`run` at the sender, and the handlers of received letters."""

    def __init__(self, catalog: Catalog, incidents: Incidents, site: SiteName, new_id: Callable[[], str]) -> None:
        self._catalog = catalog
        self._incidents = incidents
        self._site = site
        self._new_id = new_id
        #: Set when a site may have become one that is told by letter, or ceased to be one.
        self._members_changed = Signal()
        catalog.watch(self._members_changed, SiteAdmitted, SiteRevoked)
        self._log = structlog.get_logger("telling")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            members = await self._catalog.read(roster)
            told = [peer for peer, member in members.items() if member.access == Access.CALLBACK and peer != self._site]
            if not told:
                await self._members_changed.wait(_LOOK_EVERY_S)
                continue
            again = False
            for peer in told:
                again |= await self._catalog.write(letters.tell, peer, self._new_id)
            if not again:
                await self._catalog.recorded.wait(_LOOK_EVERY_S)

    async def tell(self, letter: Mail, sealed: Sealed) -> None:
        """Handle a letter that tells what concerns this site. Repeatable.

        Raises:
            SegmentInvalid: the letter makes no sense, or this site reads journals.
        """

        def work(tx: Tx) -> bool | None:
            mine = known_members(tx.connection).get(self._site)
            if mine is not None and mine.access != Access.CALLBACK:
                # The sender's journal says all of it; a letter could say what no journal says.
                raise SegmentInvalid(f"{letter.sender} tells by letter, and this site reads journals")
            heard = letters.hear(tx, letter, sealed)
            if heard is None:
                return None
            before, now = heard
            if not now.whole and (before.whole or not now.number % _ASK_EVERY):
                mail.send(tx, self._new_id(), letter.sender, TELL_AGAIN, b"{}")
            return now.whole

        whole = await self._catalog.write(work)
        if whole:
            await self._incidents.resolve(INCIDENT, letter.sender)
        elif whole is not None:
            await self._incidents.open(
                INCIDENT,
                letter.sender,
                f"letters of {letter.sender} were lost on the way",
                "nothing to do: it is asked to tell everything again",
            )

    async def tell_again(self, letter: Mail, _sealed: Sealed) -> None:
        """Handle the request of a callback site that lost something. Repeatable."""

        def work(tx: Tx) -> None:
            member = roster(tx.connection).get(letter.sender)
            if member is not None and member.access == Access.CALLBACK:
                letters.tell_again(tx, letter.sender)

        await self._catalog.write(work)
        self._log.warning("told_again", sparingly=True, peer=letter.sender)
