"""Bad decisions, to be put in place of the machine's own: each leaves one rule out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from tests.evictions.machine import Machine

from librarian_protocol.entries import StoreRole
from librarian_protocol.eviction import count, row, voucher
from librarian_protocol.eviction.count import Attempt, Known, Place
from librarian_protocol.eviction.refusal import Declined, Refusal
from librarian_protocol.eviction.row import Action, Found, Row, Stage
from librarian_protocol.eviction.voucher import Here, Looked, Question, Round, Vouch
from librarian_protocol.requirement import Requirement

MACHINE = Machine()
replace: Callable[..., Any] = msgspec.structs.replace


def answering(change: Callable[[Question, Row, Here, Looked, Requirement], tuple[Any, ...]]) -> Machine:
    """A voucher that sees something else than what is there."""

    def answer(asked: Question, its: Row | None, here: Here, looked: Looked, keep: Requirement) -> Vouch | Declined:
        assert its is not None
        return voucher.answer(*change(asked, its, here, looked, keep))

    return MACHINE._replace(answer=answer)


def row_as_available(*stages: Stage) -> Machine:
    return answering(
        lambda asked, its, here, looked, keep: (
            asked,
            Row() if its.stage in stages else its,
            here,
            looked,
            keep,
        )
    )


def here(**facts: object) -> Machine:
    return answering(lambda asked, its, here, looked, keep: (asked, its, replace(here, **facts), looked, keep))


def trash_vouches(asked: Question, its: Row, here: Here, looked: Looked, keep: Requirement) -> tuple[Any, ...]:
    """By its bytes in trash: what it would prove is right, they are there."""
    if its.stage not in (Stage.DECIDED, Stage.TRASHED):
        return asked, its, here, looked, keep
    proof = voucher.prover(asked.nonce, here.site, here.store).update(b"good").hexdigest()
    return asked, Row(), here, Looked(opens=True, intact=True, proof=proof), keep


def counting(
    change: Callable[
        [Attempt, Collection[Vouch], Mapping[Place, Known]], tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]
    ],
    machine: Machine = MACHINE,
) -> Machine:
    def verdict(asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]) -> Refusal | None:
        return count.verdict(*change(asked, vouches, stores))

    return machine._replace(verdict=verdict)


def sites_for_domains(
    asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
    return asked, vouches, {place: replace(known, domain=place[0]) for place, known in stores.items()}


def for_the_batch(
    asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
    return asked, [replace(vouch, name=asked.name) for vouch in vouches], stores


def without_proof(
    asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
    return replace(asked, round=Round.ROWS), vouches, stores


def rows_in_round_2(asked: Question, its: Row, here: Here, looked: Looked, keep: Requirement) -> tuple[Any, ...]:
    return replace(asked, round=Round.ROWS), its, here, looked, keep


def archive_for_buffer(
    asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
    lowered = [replace(vouch, keep=replace(vouch.keep, role=None)) for vouch in vouches]
    return replace(asked, keep=replace(asked.keep, role=None)), lowered, stores


def processing_counts(machine: Machine) -> Machine:
    def change(
        asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
    ) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
        seen = [replace(vouch, role=StoreRole.BUFFER) for vouch in vouches]
        return asked, seen, {place: replace(known, role=StoreRole.BUFFER) for place, known in stores.items()}

    return counting(change, machine)


def any_nonce(
    asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]
) -> tuple[Attempt, Collection[Vouch], Mapping[Place, Known]]:
    return asked, [replace(vouch, nonce=asked.nonce) for vouch in vouches], stores


def each_answer(asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]) -> Refusal | None:
    counted = [vouch for vouch in vouches if count.counting(asked, [vouch], stores)]
    return None if len(counted) >= asked.keep.instances else Refusal.NOT_ENOUGH_INSTANCES


def the_last_too(asked: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]) -> Refusal | None:
    found = count.verdict(asked, vouches, stores)
    return None if found is Refusal.LAST_INSTANCE else found


def still(given: Row, nonce: str) -> bool:
    return True


def trashed_unasked(given: Row, nonce: str, fresh: str, now_s: float) -> Row:
    return msgspec.structs.replace(given, stage=Stage.TRASHED, nonce=fresh, trash=given.trash or nonce)


def closed_unasked(given: Row, nonce: str) -> Row:
    return Row(Stage.GONE, trash=given.trash)


def one_nonce(given: Row, nonce: str, fresh: str, now_s: float) -> Row:
    after = row.trashed(given, nonce, fresh, now_s)
    return msgspec.structs.replace(after, nonce=nonce) if after.stage is Stage.TRASHED else after


def resumes(given: Row, put_back: bool, named: bool, intact: bool) -> Row:
    if given.stage in (Stage.DECIDED, Stage.TRASHED):
        return given
    return row.started(given, put_back=put_back, named=named, intact=intact)


def stays(given: Row, found: Found) -> Action:
    return Action.NOTHING if given.stage in (Stage.DECIDED, Stage.TRASHED) else row.at_start(given, found)


def pending_resumes(given: Row, put_back: bool, named: bool, intact: bool) -> Row:
    if given.stage is Stage.PENDING:
        return given
    return row.started(given, put_back=put_back, named=named, intact=intact)


def only_what_rows_say(given: Row, found: Found) -> Action:
    if given.stage not in (Stage.DECIDED, Stage.TRASHED, Stage.GONE):
        return Action.NOTHING
    return row.at_start(given, found)


def whatever_is_gone(given: Row, found: Found) -> Action:
    if found.trash and given.stage is Stage.GONE:
        return Action.UNLINK
    return row.at_start(given, found)


def healed_with_nonce(given: Row) -> Row:
    return Row(nonce=given.nonce)


def refused(**facts: object) -> Machine:
    def refused(here: Here) -> Refusal | None:
        return voucher.refused(replace(here, **facts))

    return MACHINE._replace(refused=refused)


def empties(**facts: object) -> Machine:
    def may_empty(here: Here) -> bool:
        return voucher.may_empty(replace(here, **facts))

    return MACHINE._replace(may_empty=may_empty)


def unhashed(given: Row, intact: bool) -> Row:
    return row.put_back(given, intact=True)
