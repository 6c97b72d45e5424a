"""Builds the services of the journal: receiving others' journals and letters, and publishing this site's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from librarian_daemon.assembly.mesh import Mesh
from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.catalog.journal import mail
from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.journal.catch_up import CatchUp, RangeAnswerer
from librarian_daemon.journal.heads import Announcer, HeldBackHere, Listener
from librarian_daemon.journal.incarnation import Incarnations
from librarian_daemon.journal.letters import LetterService
from librarian_daemon.journal.projection import MailHandler, Projection
from librarian_daemon.journal.publisher import Publisher
from librarian_daemon.journal.receiver import Receiver
from librarian_daemon.journal.signing import ReSigner
from librarian_daemon.journal.twins import Twins
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.letters import TELL, TELL_AGAIN
from librarian_protocol.names import SiteName


class Inbound(msgspec.Struct, frozen=True, kw_only=True):
    """The receiving side. It is built before the mesh, which says whose journals are followed."""

    receiver: Receiver
    projection: Projection
    letter_service: LetterService
    #: The handlers of letters, by verb. The data plane adds its own.
    letters: dict[str, MailHandler]
    #: Set when a peer has entries that this site lacks.
    gap: Signal


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    inbound: Inbound
    incarnations: Incarnations
    announcer: Announcer
    listener: Listener
    catch_up: CatchUp
    re_signer: ReSigner
    publisher: Publisher
    #: Answers other sites' questions for journal ranges, for ever.
    answer_ranges: Callable[[], Awaitable[None]]

    def services(self) -> Services:
        """What runs."""
        return {
            "projection": self.inbound.projection.run,
            "heads": self.announcer.run,
            "listener": self.listener.run,
            "repairer": self.catch_up.run,
            "answering": self.answer_ranges,
            "publisher": self.publisher.run,
            "witness": self.incarnations.run,
            "signing": self.re_signer.run,
            "teller": self.inbound.letter_service.run,
        }


async def send_letter(ports: Ports, to: SiteName, verb: str, body: bytes) -> None:
    """Put a letter into the outbox."""
    await ports.catalog.write(mail.send, ports.rng.hex(32), to, verb, body)


def build_inbound(ports: Ports) -> Inbound:
    """What comes in."""
    letter_service = LetterService(ports.catalog, ports.incidents, ports.site, partial(ports.rng.hex, 32))
    letters: dict[str, MailHandler] = {TELL: letter_service.tell, TELL_AGAIN: letter_service.tell_again}
    gap = Signal()
    receiver = Receiver(ports.catalog, ports.incidents, ports.metrics, ports.site)
    projection = Projection(ports.catalog, ports.bus, ports.clock, ports.site, receiver, gap=gap, mail_handlers=letters)
    return Inbound(receiver=receiver, projection=projection, letter_service=letter_service, letters=letters, gap=gap)


def build_journal(
    ports: Ports, settings: SiteSettings, inbound: Inbound, mesh: Mesh, incarnations: Incarnations
) -> Journal:
    """``incarnations`` has begun one."""
    every_s = settings.bus.heads_every_s
    re_signer = ReSigner(ports.catalog, ports.site, ports.key)
    twins = Twins(ports.catalog, ports.incidents, ports.site, ports.key.public, incarnations.before)
    announcer = Announcer(
        catalog=ports.catalog,
        bus=ports.bus,
        clock=ports.clock,
        site=ports.site,
        key=ports.key,
        twins=twins,
        every_s=every_s,
        refusing=inbound.receiver.refusing,
    )
    listener = Listener(
        catalog=ports.catalog,
        bus=ports.bus,
        incidents=ports.incidents,
        metrics=ports.metrics,
        site=ports.site,
        membership=mesh.membership,
        presences=mesh.presences,
        twins=twins,
        gap=inbound.gap,
        held_back=HeldBackHere(ports.incidents, ports.site, re_signer.wake),
    )
    return Journal(
        inbound=inbound,
        incarnations=incarnations,
        announcer=announcer,
        listener=listener,
        catch_up=CatchUp(
            ports.catalog, ports.bus, ports.clock, ports.site, inbound.receiver, gap=inbound.gap, every_s=every_s
        ),
        re_signer=re_signer,
        publisher=Publisher(
            ports.catalog,
            ports.bus,
            ports.incidents,
            ports.clock,
            ports.site,
            ports.key,
            ports.metrics,
            mesh.membership.changed,
        ),
        answer_ranges=partial(ports.bus.answer, RangeAnswerer(ports.catalog)),
    )
