"""Builds what asks other sites how their instances stand, and what answers them."""

from __future__ import annotations

from functools import partial

import msgspec

from librarian_daemon.assembly.integrity import Integrity
from librarian_daemon.assembly.journal import Inbound, send_letter
from librarian_daemon.assembly.mesh import Mesh
from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.integrity.answering import Answering
from librarian_daemon.integrity.asking import Asking
from librarian_protocol.inquiries import VERIFIED, VERIFY


class Inquiries(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of it."""

    asking: Asking
    answering: Answering

    def services(self) -> Services:
        """What runs."""
        return {"verifying for others": self.answering.run}


def build_inquiries(ports: Ports, inbound: Inbound, mesh: Mesh, integrity: Integrity) -> Inquiries:
    """Its letters are added to ``inbound.letters``."""
    send = partial(send_letter, ports)
    asking = Asking(ports.catalog, ports.clock, ports.rng, ports.site, send)
    answering = Answering(
        catalog=ports.catalog,
        stores=ports.by_id,
        custodian=integrity.custodian,
        members=lambda: mesh.membership.members,
        clock=ports.clock,
        site=ports.site,
        send=send,
        mine=asking.hear,
    )
    inbound.letters[VERIFY] = answering.verify
    inbound.letters[VERIFIED] = asking.verified
    return Inquiries(asking=asking, answering=answering)
