"""The voucher: whether a store answers for its own instance, when another one wants to give up its own. Pure.

It is asked by mail, and answers for exactly the files it vouches for. Row and knowledge are read in one transaction,
after the question came: a question is only sent after the intent is durable, so what is read then is of after it. A
store of the evictor's own site is asked like any other, and its row is read after the intent, too.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec
from blake3 import blake3

from librarian_protocol.digests import Digest
from librarian_protocol.entries import Access, StoreRole
from librarian_protocol.eviction.refusal import Declined, Refusal
from librarian_protocol.eviction.row import Row, Stage
from librarian_protocol.names import Name, SiteName
from librarian_protocol.requirement import Requirement

#: Roles whose instances count. Bytes in a processing store or on a drive may leave at any time.
COUNTING = frozenset({StoreRole.SOURCE, StoreRole.BUFFER, StoreRole.ARCHIVE})
_PROOF = "librarian/eviction-proof/1\n"


class Round(IntEnum):
    """What a question asks for."""

    #: A row that is available, and a name that opens with the right size.
    ROWS = 1
    #: All of that, and every byte read.
    BYTES = 2


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """About one file of a batch, from a store that wants to give up its instance."""

    nonce: str
    round: Round
    name: Name
    digest: Digest
    #: Who asks, and for which store.
    site: SiteName
    store: str


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """What a site knows of itself and of the file, for one of its stores; both of who asks and of who is asked."""

    site: SiteName
    store: str
    role: StoreRole
    #: This site's own, in the roster.
    access: Access = Access.FULL
    active: bool = True
    frozen: bool = False
    #: The catalog was restored or lost, and is not whole again.
    quarantine: bool = False
    #: A kind of entry is held, from a site that may set rules, that this software does not know.
    unknown_rules: bool = False
    held: bool = False
    conflict: bool = False
    withdrawn: bool = False
    #: A reader's complaint about this instance is not answered yet.
    doubted: bool = False
    being_read: bool = False
    leased: bool = False
    #: It is an archive, and a rule of this site allows to evict from it.
    allow_archive: bool = False
    #: Others would have to read more in a batch than is allowed.
    too_dear: bool = False


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at the name, after the question came."""

    #: It opens, and has the right size.
    opens: bool
    #: Every byte was read, and they have the file's digest.
    intact: bool = False
    #: :func:`prover` over the same bytes.
    proof: str = ""


class Vouch(msgspec.Struct, frozen=True, kw_only=True):
    """A store answers for its instance."""

    nonce: str
    name: Name
    digest: Digest
    site: SiteName
    store: str
    role: StoreRole
    #: What the voucher has heard that must be left of the file (``requirement.carried``).
    keep: Requirement
    #: H(nonce, site, store, bytes), of round 2.
    proof: str = ""


def prover(nonce: str, site: SiteName, store: str) -> blake3:
    """Takes all bytes of the file (of a book: of its members, in the manifest's order); its hex digest is the proof.

    Nobody can have it from another question, or from another voucher. Who asks computes it over its own bytes in trash.
    """
    return blake3(f"{_PROOF}{nonce}\n{site}\n{store}\n".encode())


def declined(row: Row | None, here: Here) -> Declined | None:
    """Why the store does not vouch, before its bytes are looked at; None: it may."""
    if here.access is not Access.FULL:
        return Declined.ACCESS
    if here.quarantine:
        return Declined.IN_QUARANTINE
    if here.held:
        return Declined.HELD
    if here.conflict:
        return Declined.IN_CONFLICT
    if here.withdrawn:
        return Declined.WITHDRAWN
    if here.role not in COUNTING:
        return Declined.ROLE
    if here.frozen:
        return Declined.FROZEN
    if not here.active:
        return Declined.INACTIVE
    if row is None or row.stage is Stage.GONE:
        return Declined.NOT_HELD
    if row.stage is Stage.SUSPECTED or here.doubted:
        return Declined.SUSPECTED
    if row.stage is not Stage.AVAILABLE:
        return Declined.GIVEN_UP
    return None


def answer(question: Question, row: Row | None, here: Here, looked: Looked, keep: Requirement) -> Vouch | Declined:
    """What the store answers. ``row`` and ``here`` are of one transaction, after the question came."""
    if why := declined(row, here):
        return why
    if not looked.opens:
        return Declined.NOT_THERE
    if question.round is Round.BYTES and not looked.intact:
        return Declined.SUSPECTED
    return Vouch(
        nonce=question.nonce,
        name=question.name,
        digest=question.digest,
        site=here.site,
        store=here.store,
        role=here.role,
        keep=keep,
        proof=looked.proof if question.round is Round.BYTES else "",
    )


def refused(here: Here) -> Refusal | None:
    """Why this store does not give up its instance, whoever vouches; None: it may ask.

    Asked before the intent, before the decision, and before the end. What comes up in between ends the attempt.
    """
    if here.quarantine:
        return Refusal.IN_QUARANTINE
    if here.unknown_rules:
        return Refusal.UNKNOWN_RULES
    if here.frozen:
        return Refusal.FROZEN
    if here.held:
        return Refusal.HELD
    if here.conflict:
        return Refusal.IN_CONFLICT
    if here.role is StoreRole.ARCHIVE and not here.allow_archive:
        return Refusal.ROLE_FORBIDS
    if here.leased:
        return Refusal.LEASED
    if here.being_read:
        return Refusal.BEING_READ
    if here.too_dear:
        return Refusal.TOO_DEAR
    return None


def may_empty(here: Here) -> bool:
    """Whether a withdrawn file's bytes may be unlinked when their time in trash is over, without vouches.

    ``withdrawn``: the administrator's entry still counts.
    """
    return here.withdrawn and not here.quarantine and not here.unknown_rules and not here.held
