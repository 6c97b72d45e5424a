"""Each rule of the machine, and the machine without it: the search must find a broken invariant, by name.

One decision is replaced, or one order of the caller's: nothing else. Where two rules guard the same thing, each alone
is not missed by the search; that is said (``why``), and both together are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from tests.evictions import steps
from tests.evictions.machine import Machine, Order

from librarian_protocol.entries import StoreRole
from librarian_protocol.eviction import count, row, voucher
from librarian_protocol.eviction.count import Attempt, Known, Place
from librarian_protocol.eviction.refusal import Declined, Refusal
from librarian_protocol.eviction.row import Action, Found, Row, Stage
from librarian_protocol.eviction.voucher import Here, Looked, Question, Round, Vouch
from librarian_protocol.keep_rules import LEAST, Requirement

MACHINE, ORDER = Machine(), Order()
UNTRUE_TRASH = "bytes stand in trash, and no row says so"
UNTRUE_AVAILABLE = "it is said to be available, and its name is empty"
TRAPPED = "from here nothing that happens by itself settles the file"
replace: Callable[..., Any] = msgspec.structs.replace


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """The machine without a rule."""

    rule: str
    #: Of ``meshes``; in the order in which they are tried.
    meshes: tuple[str, ...]
    #: What is broken then. "" where another rule guards the same.
    breaks: str
    machine: Machine = MACHINE
    order: Order = ORDER
    #: Where nothing is broken: why not.
    why: str = ""
    #: False where it looks at answers that the machine would never look at.
    forgets: bool = True


def _answering(change: Callable[[Question, Row, Here, Looked, Requirement], tuple[Any, ...]]) -> Machine:
    """A voucher that sees something else than what is there."""

    def answer(asked: Question, its: Row | None, here: Here, looked: Looked, keep: Requirement) -> Vouch | Declined:
        assert its is not None
        return voucher.answer(*change(asked, its, here, looked, keep))

    return MACHINE._replace(answer=answer)


def _row_as_available(*stages: Stage) -> Machine:
    return _answering(
        lambda asked, its, here, looked, keep: (
            asked,
            Row() if its.stage in stages else its,
            here,
            looked,
            keep,
        )
    )


def _here(**facts: object) -> Machine:
    return _answering(lambda asked, its, here, looked, keep: (asked, its, replace(here, **facts), looked, keep))


def _trash_vouches(asked: Question, its: Row, here: Here, looked: Looked, keep: Requirement) -> tuple[Any, ...]:
    """By its bytes in trash: what it would prove is right, they are there."""
    if its.stage not in (Stage.DECIDED, Stage.TRASHED):
        return asked, its, here, looked, keep
    proof = voucher.prover(asked.nonce, here.site, here.store).update(b"good").hexdigest()
    return asked, Row(), here, Looked(opens=True, intact=True, proof=proof), keep


def _counting(
    change: Callable[
        [Attempt, Collection[Vouch], Mapping[Place, Known]], tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]
    ],
    machine: Machine = MACHINE,
) -> Machine:
    def verdict(asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]) -> Refusal | None:
        return count.verdict(*change(asked, vouches, stores))

    return machine._replace(verdict=verdict)


def _sites_for_domains(
    asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
    return asked, vouches, {place: replace(known, domain=place[0]) for place, known in stores.items()}


def _for_the_batch(
    asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
    return asked, [replace(vouch, name=asked.name) for vouch in vouches], stores


def _without_proof(
    asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
    return replace(asked, round=Round.ROWS), vouches, stores


def _rows_in_round_2(asked: Question, its: Row, here: Here, looked: Looked, keep: Requirement) -> tuple[Any, ...]:
    return replace(asked, round=Round.ROWS), its, here, looked, keep


def _archive_for_buffer(
    asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
    lowered = [replace(vouch, keep=replace(vouch.keep, role=None)) for vouch in vouches]
    return replace(asked, keep=replace(asked.keep, role=None)), lowered, stores


def _processing_counts(machine: Machine) -> Machine:
    def change(
        asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
    ) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
        seen = [replace(vouch, role=StoreRole.BUFFER) for vouch in vouches]
        return asked, seen, {place: replace(known, role=StoreRole.BUFFER) for place, known in stores.items()}

    return _counting(change, machine)


def _any_nonce(
    asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
    return asked, [replace(vouch, nonce=asked.nonce) for vouch in vouches], stores


def _each_answer(asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]) -> Refusal | None:
    counted = [vouch for vouch in vouches if count.counting(asked, [vouch], stores)]
    return None if len(counted) >= asked.keep.instances else Refusal.NOT_ENOUGH_INSTANCES


def _the_last_too(asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]) -> Refusal | None:
    found = count.verdict(asked, vouches, stores)
    return None if found is Refusal.LAST_INSTANCE else found


def _still(given: Row, nonce: str) -> bool:
    return True


def _trashed_unasked(given: Row, nonce: str, fresh: str, now_s: float) -> Row:
    return msgspec.structs.replace(given, stage=Stage.TRASHED, nonce=fresh, trash=given.trash or nonce)


def _closed_unasked(given: Row, nonce: str) -> Row:
    return Row(Stage.GONE, trash=given.trash)


def _one_nonce(given: Row, nonce: str, fresh: str, now_s: float) -> Row:
    after = row.trashed(given, nonce, fresh, now_s)
    return msgspec.structs.replace(after, nonce=nonce) if after.stage is Stage.TRASHED else after


def _resumes(given: Row, put_back: bool, named: bool, intact: bool) -> Row:
    if given.stage in (Stage.DECIDED, Stage.TRASHED):
        return given
    return row.started(given, put_back=put_back, named=named, intact=intact)


def _stays(given: Row, found: Found) -> Action:
    return Action.NOTHING if given.stage in (Stage.DECIDED, Stage.TRASHED) else row.at_start(given, found)


def _pending_resumes(given: Row, put_back: bool, named: bool, intact: bool) -> Row:
    if given.stage is Stage.PENDING:
        return given
    return row.started(given, put_back=put_back, named=named, intact=intact)


def _only_what_rows_say(given: Row, found: Found) -> Action:
    if given.stage not in (Stage.DECIDED, Stage.TRASHED, Stage.GONE):
        return Action.NOTHING
    return row.at_start(given, found)


def _whatever_is_gone(given: Row, found: Found) -> Action:
    if found.trash and given.stage is Stage.GONE:
        return Action.UNLINK
    return row.at_start(given, found)


def _healed_with_nonce(given: Row) -> Row:
    return Row(nonce=given.nonce)


def _refused(**facts: object) -> Machine:
    def refused(here: Here) -> Refusal | None:
        return voucher.refused(replace(here, **facts))

    return MACHINE._replace(refused=refused)


def _empties(**facts: object) -> Machine:
    def may_empty(here: Here) -> bool:
        return voucher.may_empty(replace(here, **facts))

    return MACHINE._replace(may_empty=may_empty)


def _unhashed(given: Row, intact: bool) -> Row:
    return row.put_back(given, intact=True)


VARIANTS = [
    Variant(
        rule="what is pending does not vouch",
        meshes=("pair",),
        breaks=steps.NAMES,
        machine=_row_as_available(Stage.PENDING),
    ),
    Variant(
        rule="what is decided or in trash does not vouch",
        meshes=("pair",),
        breaks=steps.BYTES,
        machine=_answering(_trash_vouches),
    ),
    Variant(
        rule="the intent is committed before others are asked",
        meshes=("pair",),
        breaks=steps.NAMES,
        order=ORDER._replace(intent_before_sites=False),
    ),
    Variant(
        rule="a sibling store's row is read after the intent",
        meshes=("siblings",),
        breaks=steps.NAMES,
        order=ORDER._replace(intent_before_siblings=False),
    ),
    Variant(
        rule="each attempt has a fresh nonce",
        meshes=("pair",),
        breaks=steps.NAMES,
        order=ORDER._replace(fresh_nonce=False),
    ),
    Variant(
        rule="a rename and an unlink look at row and nonce under the lock",
        meshes=("pair",),
        breaks=steps.BYTES,
        machine=MACHINE._replace(is_of=_still, trashed=_trashed_unasked, close=_closed_unasked),
    ),
    Variant(
        rule="landing voids the nonce",
        meshes=("pair",),
        breaks=steps.NAMES,
        machine=MACHINE._replace(land=_healed_with_nonce),
    ),
    Variant(
        rule="healing voids the nonce",
        meshes=("rot",),
        breaks=steps.NAMES,
        machine=MACHINE._replace(heal=_healed_with_nonce),
    ),
    Variant(
        rule="round 2 reads the bytes",
        meshes=("rot",),
        breaks=steps.BYTES,
        machine=_counting(_without_proof, _answering(_rows_in_round_2)),
    ),
    Variant(
        rule="round 2 has a fresh nonce",
        meshes=("rot",),
        breaks=steps.BYTES,
        machine=_counting(_without_proof, MACHINE._replace(trashed=_one_nonce)),
    ),
    Variant(
        rule="the decision is committed before the rename",
        meshes=("pair",),
        breaks=UNTRUE_TRASH,
        order=ORDER._replace(decided_before_rename=False),
    ),
    Variant(
        rule="bytes are put back before the row says so",
        meshes=("pair",),
        breaks=UNTRUE_TRASH,
        order=ORDER._replace(back_before_commit=False),
    ),
    Variant(
        rule="what was put back is hashed",
        meshes=("rot",),
        breaks=steps.UNHASHED,
        machine=MACHINE._replace(put_back=_unhashed),
    ),
    Variant(
        rule="a start aborts what was pending",
        meshes=("rewound, unnoticed",),
        breaks=steps.NAMES,
        machine=MACHINE._replace(started=_pending_resumes),
    ),
    Variant(
        rule="a start puts back what was decided",
        meshes=("rewound, unnoticed",),
        breaks=steps.NAMES,
        machine=MACHINE._replace(started=_resumes, at_start=_stays),
    ),
    Variant(
        rule="a start puts back what the trash's list names, whatever the row says",
        meshes=("rewound, unnoticed",),
        breaks=UNTRUE_TRASH,
        machine=MACHINE._replace(at_start=_only_what_rows_say),
    ),
    Variant(
        rule="a start unlinks only in the directory that the row names",
        meshes=("rot, rewound",),
        breaks=steps.UNASKED,
        machine=MACHINE._replace(at_start=_whatever_is_gone),
    ),
    Variant(
        rule="domains are counted, not sites",
        meshes=("one domain",),
        breaks=steps.NAMES,
        machine=_counting(_sites_for_domains),
    ),
    Variant(
        rule="a voucher's requirement is carried in its answer",
        meshes=("rule unheard",),
        breaks=steps.NAMES,
        machine=_answering(lambda asked, its, here, looked, keep: (asked, its, here, looked, LEAST)),
    ),
    Variant(
        rule="the evictor's own requirement counts",
        meshes=("rule heard by the evictor",),
        breaks=steps.NAMES,
        machine=_counting(lambda asked, vouches, stores: (replace(asked, keep=LEAST), vouches, stores)),
    ),
    Variant(
        rule="each store counts once",
        meshes=("trio of any two",),
        breaks=steps.NAMES,
        machine=MACHINE._replace(verdict=_each_answer),
    ),
    Variant(
        rule="the last instance is not given up",
        meshes=("pair",),
        breaks=steps.NAMES,
        machine=MACHINE._replace(verdict=_the_last_too),
    ),
    Variant(
        rule="an answer counts for its own question",
        meshes=("pair",),
        breaks=steps.NAMES,
        machine=_counting(_any_nonce),
        forgets=False,
    ),
    Variant(
        rule="round 1 opens the name",
        meshes=("rewound, unnoticed",),
        breaks=steps.NAMES,
        machine=_answering(
            lambda asked, its, here, looked, keep: (asked, its, here, replace(looked, opens=True), keep)
        ),
    ),
    Variant(
        rule="what is suspected does not vouch",
        meshes=("rot",),
        breaks="",
        machine=_row_as_available(Stage.SUSPECTED),
        why="round 2 reads its bytes",
    ),
    Variant(
        rule="a voucher that reads bad bytes does not vouch",
        meshes=("rot",),
        breaks="",
        machine=_answering(
            lambda asked, its, here, looked, keep: (asked, its, here, replace(looked, intact=True), keep)
        ),
        why="the evictor compares its proof with one over its own bytes",
    ),
    Variant(
        rule="an evictor compares proofs",
        meshes=("rot",),
        breaks="",
        machine=_counting(_without_proof),
        why="an honest voucher that reads bad bytes does not vouch",
    ),
    Variant(
        rule="answers are counted for each file",
        meshes=("batch",),
        breaks=steps.NAMES,
        machine=_counting(_for_the_batch),
    ),
    Variant(
        rule="what was aborted does not join its batch again",
        meshes=("batch",),
        breaks=steps.NAMES,
        order=ORDER._replace(no_rejoin=False),
    ),
    Variant(rule="a voucher heeds a hold", meshes=("hold",), breaks=steps.HELD_VOUCH, machine=_here(held=False)),
    Variant(rule="an evictor heeds a hold", meshes=("hold",), breaks=steps.HELD, machine=_refused(held=False)),
    Variant(
        rule="a voucher heeds a conflict",
        meshes=("conflict",),
        breaks=steps.CONFLICT_VOUCH,
        machine=_here(conflict=False),
    ),
    Variant(
        rule="an evictor heeds a conflict",
        meshes=("conflict",),
        breaks=steps.CONFLICT,
        machine=_refused(conflict=False),
    ),
    Variant(
        rule="nobody vouches in quarantine",
        meshes=("hold, rewound",),
        breaks=steps.HELD_VOUCH,
        machine=_here(quarantine=False),
    ),
    Variant(
        rule="nobody evicts in quarantine",
        meshes=("hold, rewound",),
        breaks=steps.HELD,
        machine=_refused(quarantine=False),
    ),
    Variant(
        rule="quarantine ends after names were compared",
        meshes=("rewound, noticed",),
        breaks=UNTRUE_AVAILABLE,
        order=ORDER._replace(names_compared=False),
    ),
    Variant(
        rule="quarantine ends after the site's own entries are back",
        meshes=("hold, rewound",),
        breaks=steps.HELD,
        order=ORDER._replace(entries_back=False),
    ),
    Variant(
        rule="a processing store counts for nothing, at both ends",
        meshes=("processing",),
        breaks=steps.NAMES,
        machine=_processing_counts(_here(role=StoreRole.BUFFER)),
    ),
    Variant(
        rule="a store of a role that does not count does not vouch",
        meshes=("processing",),
        breaks="",
        machine=_here(role=StoreRole.BUFFER),
        why="the evictor knows the store's role, and believes no other one",
    ),
    Variant(
        rule="an evictor counts by the roles that it knows",
        meshes=("processing",),
        breaks="",
        machine=_processing_counts(MACHINE),
        why="an honest store of such a role does not vouch",
    ),
    Variant(
        rule="an archive is demanded",
        meshes=("archive",),
        breaks=steps.NAMES,
        machine=_counting(_archive_for_buffer),
    ),
    Variant(
        rule="a withdrawn file does not vouch",
        meshes=("withdrawal",),
        breaks="",
        machine=_here(withdrawn=False),
        why="its row does not vouch as soon as it is decided about; before that its bytes are there",
    ),
    Variant(
        rule="a withdrawal's trash is emptied only while the entry counts",
        meshes=("withdrawal",),
        breaks=steps.VOIDED,
        machine=_empties(withdrawn=True),
    ),
    Variant(
        rule="a withdrawal's trash is kept by a hold",
        meshes=("withdrawal, hold",),
        breaks=steps.HELD,
        machine=_empties(held=False),
    ),
    Variant(
        rule="a withdrawal's trash is not emptied in quarantine",
        meshes=("withdrawal, rewound",),
        breaks=steps.VOIDED,
        machine=_empties(quarantine=False),
    ),
    Variant(
        rule="what is pending times out",
        meshes=("pair",),
        breaks=TRAPPED,
        order=ORDER._replace(can_time_out=False),
    ),
    Variant(
        rule="what is decided can be put back",
        meshes=("hold",),
        breaks=TRAPPED,
        order=ORDER._replace(can_put_back=False),
    ),
]
