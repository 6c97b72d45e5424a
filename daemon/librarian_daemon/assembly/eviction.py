"""Builds the services that give up instances: the voucher, the evictor, the retention rules."""

from __future__ import annotations

from functools import partial

import msgspec

from librarian_daemon.assembly.journal import Inbound
from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.catalog.journal.letters import Sealed
from librarian_daemon.config.settings import RetentionSettings, SiteSettings
from librarian_daemon.eviction.asker import Asker
from librarian_daemon.eviction.evictor import Evictor, Limits
from librarian_daemon.eviction.evidence import EvidenceKeeper
from librarian_daemon.eviction.inquiry import Inquiries
from librarian_daemon.eviction.retention import Retention
from librarian_daemon.eviction.trash import TrashKeeper
from librarian_daemon.eviction.voucher import VoucherService
from librarian_daemon.integrity.custodian import Custodian
from librarian_protocol.entries import FileWithdrawn, HoldDeclared, NameResolved
from librarian_protocol.eviction.letters import ANSWER, ASK, answer_of
from librarian_protocol.lengths import seconds_of
from librarian_protocol.mail import Mail
from librarian_protocol.requirement import Requirement
from librarian_protocol.retention import rule_of


class Eviction(msgspec.Struct, frozen=True, kw_only=True):
    """The services of giving up."""

    voucher: VoucherService
    evictor: Evictor
    trash: TrashKeeper
    retention: Retention

    def services(self) -> Services:
        """What runs."""
        return {
            "voucher": self.voucher.answer_rows,
            "prover": self.voucher.answer_bytes,
            "vouching": self.voucher.tell,
            "evictor": self.evictor.run,
            "retention": self.retention.run,
        }


def keep_of(settings: RetentionSettings) -> Requirement | None:
    """The site's own ``[retention] keep``; None where its file says nothing."""
    if settings.keep is None:
        return None
    return Requirement(instances=settings.keep.instances, domains=settings.keep.domains)


def build_eviction(
    ports: Ports, settings: SiteSettings, inbound: Inbound, custodian: Custodian, evidence: EvidenceKeeper
) -> Eviction:
    """The voucher and the evictor hear their letters from here on."""
    catalog, stores, own = ports.catalog, ports.by_id, settings.retention
    keep, grace_s = keep_of(own), seconds_of(own.trash)
    voucher = VoucherService(
        catalog, stores, ports.clock, ports.site, keep, partial(ports.rng.hex, 32), custodian.missing
    )
    inquiries = Inquiries()

    async def answered(letter: Mail, sealed: Sealed) -> None:
        inquiries.letter(letter.sender, answer_of(bytes(letter.body), letter.sender), sealed)

    inbound.letters[ASK] = voucher.ask
    inbound.letters[ANSWER] = answered
    trash = TrashKeeper(catalog, ports.incidents, ports.site)
    evictor = Evictor(
        catalog=catalog,
        stores=stores,
        clock=ports.clock,
        rng=ports.rng,
        site=ports.site,
        metrics=ports.metrics,
        asker=Asker(catalog=catalog, rng=ports.rng, site=ports.site, voucher=voucher, inquiries=inquiries, keep=keep),
        trash=trash,
        evidence=evidence,
        limits=Limits(keep=keep, grace_s=grace_s),
    )
    catalog.watch(evictor.wake, HoldDeclared, NameResolved, FileWithdrawn)
    retention = Retention(
        catalog=catalog,
        stores=stores,
        clock=ports.clock,
        site=ports.site,
        evictor=evictor,
        rules=[rule_of(**msgspec.structs.asdict(rule)) for rule in own.rule],
        every_s=own.every_s,
        grace_s=grace_s,
        least_grace_s=min(grace_s, seconds_of(own.trash_at_least)),
    )
    return Eviction(voucher=voucher, evictor=evictor, trash=trash, retention=retention)
