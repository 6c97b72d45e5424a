"""Giving up an instance: its row, who vouches, what counts. All interleavings are searched in tests/evictions."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import msgspec
import pytest
from tests.unit.protocol.samples import ARCHIVE, CAMPUS, DIGEST, NAME, OTHER_STORE, STORE, SUMMIT

from librarian_protocol.digests import Digest
from librarian_protocol.entries import Access, StoreRole
from librarian_protocol.errors import InvalidTransition
from librarian_protocol.eviction import row
from librarian_protocol.eviction.count import Attempt, Known, Place, counting, verdict
from librarian_protocol.eviction.refusal import BINDING, EXPLAINED, WHY_DECLINED, Declined, Refusal
from librarian_protocol.eviction.row import Action, Found, Row, Stage
from librarian_protocol.eviction.voucher import (
    Here,
    Looked,
    Question,
    Round,
    Vouch,
    answer,
    declined,
    may_empty,
    prover,
    refused,
)
from librarian_protocol.names import Name
from librarian_protocol.requirement import LEAST, Requirement

N1, N2, N3 = "11" * 16, "22" * 16, "33" * 16
PENDING = row.intend(Row(), N1)
DECIDED = row.decide(PENDING, N1)
TRASHED = row.trashed(DECIDED, N1, N2, 100.0)
GONE = row.close(TRASHED, N2)
SUSPECTED = Row(Stage.SUSPECTED)
EVERY = [Row(), SUSPECTED, PENDING, DECIDED, TRASHED, GONE]
HERE = Here(site=SUMMIT, store=STORE, role=StoreRole.BUFFER)
LOOKED = Looked(opens=True, intact=True, proof="p")


def question(round_: Round = Round.ROWS) -> Question:
    return Question(nonce=N1, round=round_, name=NAME, digest=DIGEST, site=ARCHIVE, store=OTHER_STORE)


# ---- the row -------------------------------------------------------------------------------------


def test_an_attempt_goes_from_available_to_gone_under_two_nonces() -> None:
    assert [one.stage for one in (PENDING, DECIDED, TRASHED, GONE)] == ["pending", "decided", "trashed", "gone"]
    assert [one.nonce for one in (PENDING, DECIDED, TRASHED, GONE)] == [N1, N1, N2, ""]
    assert [one.trash for one in (PENDING, DECIDED, TRASHED, GONE)] == ["", N1, N1, N1]


@pytest.mark.parametrize("given", EVERY)
def test_what_acts_for_another_attempt_changes_nothing(given: Row) -> None:
    assert row.decide(given, N3) == row.trashed(given, N3, N2, 0.0) == row.close(given, N3) == given
    assert row.timed_out(given, N3) == given


def test_bytes_that_were_not_decided_about_are_not_found_in_trash_nor_ended() -> None:
    assert row.decide(DECIDED, N1) == DECIDED
    assert row.decide(TRASHED, N2) == TRASHED
    for given in (PENDING, TRASHED):
        with pytest.raises(InvalidTransition):
            row.trashed(given, given.nonce, N3, 0.0)
    for given in (PENDING, DECIDED):
        with pytest.raises(InvalidTransition):
            row.close(given, given.nonce)


def test_the_table_in_the_docstring_is_what_the_functions_do() -> None:
    assert row.__doc__ is not None
    lines = [line for line in row.__doc__.splitlines() if line]
    edges = [number for number, line in enumerate(lines) if line.startswith("====")]
    starts = [match.start() for match in re.finditer("=+", lines[edges[0]])]
    spans = list(zip(starts, [*starts[1:], None], strict=True))
    table = [[line[a:b].strip() for a, b in spans] for line in lines[edges[0] + 1 : edges[2]] if "===" not in line]
    assert table == row_table()


def row_table() -> list[list[str]]:
    """By what each function does to a row of each stage, for the attempt that is open."""
    does: dict[str, list[Callable[[Row], Row]]] = {
        "intend": [lambda given: row.intend(given, N3)],
        "decide": [lambda given: row.decide(given, given.nonce or N3)],
        "trashed": [lambda given: row.trashed(given, given.nonce or N3, N2, 0.0)],
        "close": [lambda given: row.close(given, given.nonce or N3)],
        "timed_out": [lambda given: row.timed_out(given, given.nonce or N3)],
        "land": [row.land],
        "heal": [row.heal],
        "suspect": [row.suspect],
        "withdraw": [lambda given: row.withdraw(given, N3)],
        "put_back": [lambda given: row.put_back(given, intact=True), lambda given: row.put_back(given, intact=False)],
    }
    found = [["stage", *does]]
    for given in EVERY:
        cells: list[str] = []
        for ways in does.values():
            after: list[str] = []
            for way in ways:
                with contextlib.suppress(InvalidTransition):
                    done = way(given)
                    # To land once more, or to be suspected once more, is something; a late answer is nothing.
                    if done != given or way in (row.land, row.heal, row.suspect):
                        after.append(done.stage)
            cells.append(", ".join(after))
        found.append([given.stage, *cells])
    return found


def test_only_what_is_available_is_attempted() -> None:
    for given in EVERY[1:]:
        with pytest.raises(InvalidTransition, match=f"cannot intend an instance that is {given.stage}"):
            row.intend(given, N3)


def test_what_is_pending_times_out_and_what_is_decided_is_put_back() -> None:
    assert row.timed_out(PENDING, N1) == Row()
    assert row.timed_out(DECIDED, N1) == DECIDED
    for given in (DECIDED, TRASHED):
        assert row.put_back(given, intact=True) == Row()
        assert row.put_back(given, intact=False) == SUSPECTED
    for given in (Row(), SUSPECTED, PENDING, GONE):
        with pytest.raises(InvalidTransition, match="cannot put back"):
            row.put_back(given, intact=True)


@pytest.mark.parametrize("given", EVERY)
def test_good_bytes_at_the_name_void_what_was_open(given: Row) -> None:
    assert row.land(given) == Row()
    if given.stage is Stage.GONE:
        with pytest.raises(InvalidTransition):
            row.heal(given)
    else:
        assert row.heal(given) == Row()


def test_suspicion_voids_what_is_pending_and_does_not_meet_what_is_decided() -> None:
    for given in (Row(), SUSPECTED, PENDING):
        assert row.suspect(given) == SUSPECTED
    for given in (DECIDED, TRASHED, GONE):
        with pytest.raises(InvalidTransition):
            row.suspect(given)


def test_a_withdrawal_takes_over_what_was_open_and_leaves_bytes_where_they_are() -> None:
    assert row.withdraw(Row(), N3) == Row(Stage.DECIDED, N3, N3, withdrawn=True)
    assert row.withdraw(PENDING, N3) == row.withdraw(SUSPECTED, N3) == row.withdraw(Row(), N3)
    assert row.withdraw(DECIDED, N3) == Row(Stage.DECIDED, N3, N1, withdrawn=True)
    assert row.withdraw(TRASHED, N3) == Row(Stage.TRASHED, N3, N1, 100.0, withdrawn=True)
    assert row.close(row.withdraw(TRASHED, N3), N3) == Row(Stage.GONE, trash=N1)
    with pytest.raises(InvalidTransition):
        row.withdraw(GONE, N3)


def test_a_start_puts_back_what_stands_in_trash_whatever_the_row_says() -> None:
    for given in EVERY:
        assert row.at_start(given, Found()) is Action.NOTHING
        assert row.at_start(given, Found(trash=N3)) is Action.PUT_BACK
    assert row.at_start(GONE, Found(trash=N1)) is Action.UNLINK
    assert row.at_start(TRASHED, Found(trash=N1)) is Action.PUT_BACK


def test_a_start_ends_every_attempt() -> None:
    for given in EVERY:
        after = row.started(given, put_back=True, named=True, intact=True)
        assert (after.stage, after.nonce) == (Stage.AVAILABLE, "")
        assert row.started(given, put_back=True, named=True, intact=False) == SUSPECTED
    for given in (Row(), SUSPECTED, GONE):
        assert row.started(given, put_back=False, named=False, intact=False) == given
    assert row.started(PENDING, put_back=False, named=True, intact=False) == Row()
    for given in (DECIDED, TRASHED):
        assert row.started(given, put_back=False, named=True, intact=True).stage is Stage.AVAILABLE
        assert row.started(given, put_back=False, named=True, intact=False) == SUSPECTED
        assert row.started(given, put_back=False, named=False, intact=False) == SUSPECTED


def test_the_grace_counts_from_the_first_time_in_trash_over_starts() -> None:
    again = row.started(TRASHED, put_back=True, named=True, intact=True)
    anew = row.trashed(row.decide(row.intend(again, N3), N3), N3, N2, 160.0)
    assert anew.since_s == 100.0
    assert row.grace_left_s(anew, 90.0, 160.0) == 30.0
    assert row.grace_left_s(anew, 90.0, 500.0) == 0.0
    assert row.grace_left_s(PENDING, 90.0, 160.0) == 90.0
    put_back = row.put_back(TRASHED, intact=True)
    assert row.trashed(row.decide(row.intend(put_back, N3), N3), N3, N2, 160.0).since_s == 160.0


def test_a_clock_that_was_set_back_makes_it_the_whole_grace() -> None:
    assert row.grace_left_s(TRASHED, 90.0, 50.0) == 90.0


# ---- the voucher ---------------------------------------------------------------------------------


def test_a_store_vouches_for_what_is_available_and_opens() -> None:
    keep = Requirement(instances=3, domains=2)
    expected = Vouch(
        nonce=N1, name=NAME, digest=DIGEST, site=SUMMIT, store=STORE, role=StoreRole.BUFFER, keep=keep, proof=""
    )
    assert answer(question(), Row(), HERE, LOOKED, keep) == expected
    assert answer(question(Round.BYTES), Row(), HERE, LOOKED, keep) == msgspec.structs.replace(expected, proof="p")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (None, Declined.NOT_HELD),
        (GONE, Declined.NOT_HELD),
        (SUSPECTED, Declined.SUSPECTED),
        (PENDING, Declined.GIVEN_UP),
        (DECIDED, Declined.GIVEN_UP),
        (TRASHED, Declined.GIVEN_UP),
    ],
)
def test_no_other_row_vouches(given: Row | None, why: Declined) -> None:
    assert answer(question(), given, HERE, LOOKED, LEAST) is why


@pytest.mark.parametrize(
    ("fact", "value", "why"),
    [
        ("access", Access.CALLBACK, Declined.ACCESS),
        ("access", Access.WITNESS, Declined.ACCESS),
        ("quarantine", True, Declined.IN_QUARANTINE),
        ("held", True, Declined.HELD),
        ("conflict", True, Declined.IN_CONFLICT),
        ("withdrawn", True, Declined.WITHDRAWN),
        ("role", StoreRole.PROCESSING, Declined.ROLE),
        ("role", StoreRole.DRIVE, Declined.ROLE),
        ("frozen", True, Declined.FROZEN),
        ("active", False, Declined.INACTIVE),
        ("doubted", True, Declined.SUSPECTED),
    ],
)
def test_what_a_site_knows_keeps_its_store_from_vouching(fact: str, value: object, why: Declined) -> None:
    assert declined(Row(), msgspec.structs.replace(HERE, **{fact: value})) is why


@pytest.mark.parametrize("role", [StoreRole.SOURCE, StoreRole.BUFFER, StoreRole.ARCHIVE])
def test_the_other_roles_vouch(role: StoreRole) -> None:
    assert declined(Row(), msgspec.structs.replace(HERE, role=role)) is None


def test_a_name_that_does_not_open_and_bytes_that_are_bad_do_not_vouch() -> None:
    assert answer(question(), Row(), HERE, Looked(opens=False), LEAST) is Declined.NOT_THERE
    bad = Looked(opens=True, intact=False, proof="p")
    assert isinstance(answer(question(), Row(), HERE, bad, LEAST), Vouch)
    assert answer(question(Round.BYTES), Row(), HERE, bad, LEAST) is Declined.SUSPECTED


def test_a_proof_is_of_one_question_one_voucher_and_all_bytes() -> None:
    def proof(nonce: str, store: str, *chunks: bytes) -> str:
        hashing = prover(nonce, SUMMIT, store)
        for chunk in chunks:
            hashing.update(chunk)
        return hashing.hexdigest()

    assert proof(N1, STORE, b"first ", b"light") == proof(N1, STORE, b"first light")
    others = {proof(N2, STORE, b"first light"), proof(N1, OTHER_STORE, b"first light"), proof(N1, STORE, b"first")}
    assert proof(N1, STORE, b"first light") not in others


@pytest.mark.parametrize(
    ("fact", "why"),
    [
        ("quarantine", Refusal.IN_QUARANTINE),
        ("unknown_rules", Refusal.UNKNOWN_RULES),
        ("frozen", Refusal.FROZEN),
        ("held", Refusal.HELD),
        ("conflict", Refusal.IN_CONFLICT),
        ("leased", Refusal.LEASED),
        ("being_read", Refusal.BEING_READ),
        ("too_dear", Refusal.TOO_DEAR),
    ],
)
def test_what_a_site_knows_keeps_it_from_evicting(fact: str, why: Refusal) -> None:
    assert refused(HERE) is None
    assert refused(msgspec.structs.replace(HERE, **{fact: True})) is why


def test_an_archive_is_evicted_from_only_where_a_rule_allows_it() -> None:
    archive = msgspec.structs.replace(HERE, role=StoreRole.ARCHIVE)
    assert refused(archive) is Refusal.ROLE_FORBIDS
    assert refused(msgspec.structs.replace(archive, allow_archive=True)) is None


def test_the_trash_of_a_withdrawal_is_emptied_while_it_counts_and_nothing_keeps_it() -> None:
    withdrawn = msgspec.structs.replace(HERE, withdrawn=True)
    assert may_empty(withdrawn)
    assert not may_empty(HERE)
    for fact in ("quarantine", "unknown_rules", "held"):
        assert not may_empty(msgspec.structs.replace(withdrawn, **{fact: True}))


# ---- what counts ---------------------------------------------------------------------------------

PLACES: list[Place] = [(SUMMIT, STORE), (SUMMIT, OTHER_STORE), (CAMPUS, STORE), (CAMPUS, OTHER_STORE)]
MINE: Place = (ARCHIVE, STORE)
STORES: dict[Place, Known] = {
    place: Known(domain=f"domain of {place[0]}", role=StoreRole.BUFFER) for place in (MINE, *PLACES)
}
NEEDS = Requirement(instances=2, domains=2)


def attempt(keep: Requirement = NEEDS, round_: Round = Round.ROWS) -> Attempt:
    proofs = {place: f"proof of {place}" for place in PLACES}
    return Attempt(nonce=N1, round=round_, name=NAME, digest=DIGEST, place=MINE, keep=keep, proofs=proofs)


def vouch(place: Place, **facts: object) -> Vouch:
    made = Vouch(
        nonce=N1,
        name=NAME,
        digest=DIGEST,
        site=place[0],
        store=place[1],
        role=StoreRole.BUFFER,
        keep=LEAST,
        proof=f"proof of {place}",
    )
    return msgspec.structs.replace(made, **facts)


def known(place: Place, **facts: object) -> dict[Place, Known]:
    return {**STORES, place: msgspec.structs.replace(STORES[place], **facts)}


def test_two_stores_of_two_domains_are_enough_and_two_of_one_are_not() -> None:
    assert verdict(attempt(), [vouch(PLACES[0]), vouch(PLACES[2])], STORES) is None
    assert verdict(attempt(), [vouch(PLACES[0]), vouch(PLACES[1])], STORES) is Refusal.NOT_ENOUGH_INSTANCES
    any_domain = attempt(Requirement(instances=2, domains=1))
    assert verdict(any_domain, [vouch(PLACES[0]), vouch(PLACES[1])], STORES) is None


def test_a_sibling_store_counts_in_the_domain_of_what_is_given_up() -> None:
    sibling: Place = (ARCHIVE, OTHER_STORE)
    stores = {**STORES, sibling: STORES[MINE]}
    assert verdict(attempt(), [vouch(sibling), vouch(PLACES[0])], stores) is None
    assert verdict(attempt(), [vouch(sibling)], stores) is Refusal.NOT_ENOUGH_INSTANCES


def test_a_repeated_answer_counts_once_and_what_is_given_up_never() -> None:
    needs = attempt(Requirement(instances=2, domains=1))
    assert verdict(needs, [vouch(PLACES[0]), vouch(PLACES[0])], STORES) is Refusal.NOT_ENOUGH_INSTANCES
    assert verdict(attempt(LEAST), [vouch(MINE)], STORES) is Refusal.LAST_INSTANCE
    assert verdict(attempt(LEAST), [], STORES) is Refusal.LAST_INSTANCE


@pytest.mark.parametrize(
    "facts",
    [
        {"nonce": N2},
        {"name": Name.parse("other")},
        {"digest": Digest.blake3(b"other")},
        {"role": StoreRole.ARCHIVE},
        {"store": "ab" * 16},
    ],
)
def test_an_answer_to_another_question_or_of_a_store_that_is_not_known_so_does_not_count(
    facts: dict[str, object],
) -> None:
    assert counting(attempt(), [vouch(PLACES[0], **facts)], STORES) == []


@pytest.mark.parametrize(
    "facts",
    [
        {"access": Access.CALLBACK},
        {"revoked": True},
        {"active": False},
        {"suspected": True},
    ],
)
def test_an_answer_from_where_nothing_counts_does_not_count(facts: dict[str, object]) -> None:
    assert counting(attempt(), [vouch(PLACES[0])], known(PLACES[0], **facts)) == []


def test_a_store_whose_role_does_not_count_does_not_count_whatever_it_says() -> None:
    stores = known(PLACES[0], role=StoreRole.DRIVE)
    assert counting(attempt(), [vouch(PLACES[0]), vouch(PLACES[0], role=StoreRole.DRIVE)], stores) == []


def test_in_round_2_only_proofs_over_the_same_bytes_count() -> None:
    asked = attempt(round_=Round.BYTES)
    right = vouch(PLACES[0])
    for wrong in (vouch(PLACES[2], proof=""), vouch(PLACES[2], proof=right.proof), vouch((CAMPUS, "x"))):
        assert counting(asked, [right, wrong], STORES) == [right]
    assert verdict(asked, [right, vouch(PLACES[2])], STORES) is None
    unread = msgspec.structs.replace(asked, proofs={})
    assert counting(unread, [right, vouch(PLACES[2], proof="")], STORES) == []


def test_the_greatest_requirement_of_all_answers_wins_whether_they_count_or_not() -> None:
    three = Requirement(instances=3, domains=1)
    both = [vouch(PLACES[0]), vouch(PLACES[2], keep=three)]
    assert verdict(attempt(), both, STORES) is Refusal.NOT_ENOUGH_INSTANCES
    assert verdict(attempt(), [*both, vouch(PLACES[3])], STORES) is None
    uncounted = vouch(PLACES[3], keep=three, role=StoreRole.PROCESSING)
    assert verdict(attempt(), [*both[:1], vouch(PLACES[2]), uncounted], STORES) is Refusal.NOT_ENOUGH_INSTANCES


def test_an_archive_that_is_demanded_must_be_among_those_that_are_left() -> None:
    demanding = attempt(Requirement(instances=1, domains=1, role=StoreRole.ARCHIVE))
    assert verdict(demanding, [vouch(PLACES[0])], STORES) is Refusal.NEEDS_ARCHIVE
    archive = vouch(PLACES[0], role=StoreRole.ARCHIVE)
    assert verdict(demanding, [archive], known(PLACES[0], role=StoreRole.ARCHIVE)) is None


def test_a_hold_or_a_conflict_that_one_voucher_knows_of_binds_however_many_vouch() -> None:
    enough = [vouch(PLACES[0]), vouch(PLACES[2])]
    for decline, refusal in BINDING.items():
        assert verdict(attempt(), enough, STORES, {PLACES[3]: decline}) is refusal
    assert verdict(attempt(), enough, STORES, {PLACES[3]: Declined.GIVEN_UP}) is None


def test_what_is_missing_only_because_it_is_suspected_is_said_so() -> None:
    one = [vouch(PLACES[0])]
    assert verdict(attempt(), one, known(PLACES[2], suspected=True)) is Refusal.SUSPECTED_ELSEWHERE
    assert verdict(attempt(), one, STORES, {PLACES[2]: Declined.SUSPECTED}) is Refusal.SUSPECTED_ELSEWHERE
    assert verdict(attempt(), one, STORES, {(CAMPUS, "x"): Declined.SUSPECTED}) is Refusal.NOT_ENOUGH_INSTANCES
    assert verdict(attempt(), one, known(MINE, suspected=True)) is Refusal.NOT_ENOUGH_INSTANCES


def test_each_no_has_its_words() -> None:
    assert set(EXPLAINED) == set(Refusal)
    assert set(WHY_DECLINED) == set(Declined)
