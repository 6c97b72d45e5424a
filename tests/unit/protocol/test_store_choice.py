"""Which store takes a file."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian_protocol.store_choice import Candidate, Chosen, Nowhere, Passed, choose


def store(id_: str, **values: Any) -> Candidate:
    """One with room for 100 bytes."""
    usual: dict[str, Any] = {"priority": 100, "total_bytes": 1000, "free_bytes": 100}
    usual |= {"active": True, "ingestable": True, **values}
    return Candidate(id=id_, label=id_, **usual)


UNABLE: list[tuple[dict[str, Any], Passed]] = [
    ({"active": False}, Passed.CLOSED),
    ({"ingestable": False}, Passed.CLOSED),
    ({"problem": "it is read-only"}, Passed.UNUSABLE),
    ({"problem": "it is not there", "total_bytes": 0, "free_bytes": 0}, Passed.UNUSABLE),
    ({"problem": "no inodes", "exhausted": True}, Passed.FULL),
    ({"free_bytes": 49}, Passed.FULL),
    ({"reserve_bytes": 51}, Passed.FULL),
    ({"promised_bytes": 51}, Passed.FULL),
    ({"total_bytes": 49, "free_bytes": 49}, Passed.TOO_SMALL),
    ({"total_bytes": 60, "reserve_bytes": 11, "free_bytes": 60}, Passed.TOO_SMALL),
]


@pytest.mark.parametrize(("values", "why"), UNABLE)
def test_a_store_that_cannot_take_it_is_passed_for_a_reason(values: dict[str, Any], why: Passed) -> None:
    assert choose(50, [store("a", **values)]) == Nowhere(why=why, store="a")
    assert choose(50, [store("a", **values), store("b")]) == Chosen(store="b")


def test_what_fits_exactly_is_taken() -> None:
    assert choose(50, [store("a", free_bytes=100, reserve_bytes=20, promised_bytes=30)]) == Chosen(store="a")
    assert choose(0, [store("a", total_bytes=0, free_bytes=0)]) == Chosen(store="a"), (
        "a store that cannot tell its size"
    )


@pytest.mark.parametrize(
    ("values", "holds_bytes"),
    [({"reserve_bytes": 10}, 990), ({"reserve_bytes": 1001}, 0), ({"active": False}, 0), ({"ingestable": False}, 0)],
)
def test_the_largest_file_that_a_store_can_hold_leaves_its_reserve(values: dict[str, Any], holds_bytes: int) -> None:
    found = store("a", **values)
    assert found.holds_bytes == holds_bytes
    assert found.passed(holds_bytes + 1) in {Passed.TOO_SMALL, Passed.CLOSED}


def test_the_least_priority_is_taken_then_the_most_room() -> None:
    assert choose(1, [store("a"), store("b", priority=99, free_bytes=2)]) == Chosen(store="b")
    assert choose(1, [store("a"), store("b", free_bytes=101)]) == Chosen(store="b")
    assert choose(1, [store("a", promised_bytes=50), store("b", free_bytes=60)]) == Chosen(store="b")
    assert choose(1, [store("a"), store("b")]) == Chosen(store="a"), "of equal ones the first"


def test_what_was_begun_goes_on_where_it_is_among_equals() -> None:
    candidates = [store("a", free_bytes=99), store("b")]
    assert choose(1, candidates, begun="a") == Chosen(store="a")
    assert choose(1, [*candidates, store("c", priority=1)], begun="a") == Chosen(store="c")
    assert choose(100, candidates, begun="a") == Chosen(store="b")


def test_what_is_staged_may_need_less_than_its_size() -> None:
    full = store("a", free_bytes=30, reserve_bytes=10)
    assert choose(50, [full], begun="a") == Nowhere(why=Passed.FULL, store="a")
    assert choose(50, [full], begun="a", staged=True) == Chosen(store="a")
    assert choose(50, [full, store("b")], begun="a", staged=True) == Chosen(store="b"), "another one takes all of it"
    closed = store("b", active=False)
    assert choose(50, [full, closed], begun="b", staged=True) == Nowhere(why=Passed.FULL, store="a")
    beyond = msgspec.structs.replace(full, reserve_bytes=31)
    assert choose(50, [beyond], begun="a", staged=True) == Nowhere(why=Passed.FULL, store="a")
    exhausted = msgspec.structs.replace(full, problem="no inodes", exhausted=True)
    assert choose(50, [exhausted], begun="a", staged=True) == Nowhere(why=Passed.FULL, store="a")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"problem": "it is read-only"}, Passed.UNUSABLE),
        ({"free_bytes": 0}, Passed.FULL),
        ({"active": False}, None),
        ({"ingestable": False}, None),
        ({"total_bytes": 49, "free_bytes": 49}, None),
    ],
)
def test_only_a_fault_of_a_preferred_store_is_a_fail_over(values: dict[str, Any], told: Passed | None) -> None:
    """What a person decided, and what says nothing about the store, is none."""
    chosen = choose(50, [store("a", priority=1, **values), store("b")])
    assert chosen == Chosen(store="b", instead_of=(("a", told),) if told else ())
    assert choose(50, [store("a", **values), store("b")]) == Chosen(store="b"), "its priority is not lower"


def test_the_reason_is_the_one_that_most_likely_ends_by_itself() -> None:
    """In this order; too small only if all are."""
    order = [Passed.FULL, Passed.UNUSABLE, Passed.CLOSED, Passed.TOO_SMALL]
    unable = {why: store(why.value, **values) for values, why in UNABLE}
    for at, why in enumerate(order):
        candidates = [unable[other] for other in reversed(order[at:])]
        assert choose(50, candidates) == Nowhere(why=why, store=why.value)


CANDIDATES = st.builds(
    store,
    st.sampled_from("abcdef"),
    active=st.booleans(),
    ingestable=st.booleans(),
    priority=st.integers(0, 3),
    problem=st.sampled_from(["", "", "trouble"]),
    exhausted=st.booleans(),
    free_bytes=st.integers(0, 100),
    reserve_bytes=st.integers(0, 50),
    promised_bytes=st.integers(0, 50),
)


@given(st.integers(0, 120), st.lists(CANDIDATES, min_size=1, max_size=6, unique_by=lambda candidate: candidate.id))
def test_a_chosen_store_takes_it_and_never_goes_beyond_its_reserve(size: int, candidates: list[Candidate]) -> None:
    found = choose(size, candidates)
    if isinstance(found, Nowhere):
        assert all(candidate.passed(size) is not None for candidate in candidates)
        return
    (best,) = [candidate for candidate in candidates if candidate.id == found.store]
    assert best.passed(size) is None
    assert best.free_bytes - best.promised_bytes - size >= best.reserve_bytes
    for other in candidates:
        if other.passed(size) is None:
            assert (other.priority, -other.room_bytes) >= (best.priority, -best.room_bytes)
    after = msgspec.structs.replace(best, promised_bytes=best.promised_bytes + size)
    assert after.room_bytes == best.room_bytes - size
