"""What is done with a segment that arrived."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.protocol.samples import AT, EMPTY_JOURNAL, ingested

from librarian_protocol.segment_verdict import MAX_HELD, Place, Verdict, judge
from librarian_protocol.segments import NO_HASH, Cut, Position, Segment, cut

A, B = "a" * 16, "b" * 16
HASH, OTHER_HASH = "1" * 64, "2" * 64


def _segment(*, epoch: int = 2, incarnation: str = A, first_seq: int = 6, prev: str = HASH) -> Segment:
    return msgspec.structs.replace(
        next(cut(EMPTY_JOURNAL, [ingested()], AT)).segment,
        epoch=epoch,
        incarnation=incarnation,
        first_seq=first_seq,
        prev=prev,
    )


def _place(*, epoch: int = 2, incarnation: str = A, last_seq: int = 5, applied: bool = True) -> Place:
    return Place(hash=HASH, epoch=epoch, incarnation=incarnation, last_seq=last_seq, applied=applied)


FIRST = _segment(first_seq=1, prev=NO_HASH)


@pytest.mark.parametrize(
    ("segment", "at_place", "predecessor", "void", "verdict"),
    [
        (_segment(), None, _place(), False, "apply"),
        (FIRST, None, None, False, "apply"),
        (_segment(epoch=3, incarnation=B), None, _place(), False, "apply"),
        (_segment(epoch=9, incarnation=B), None, _place(), False, "apply"),
        (_segment(epoch=2 + (1 << 32), incarnation=B), None, _place(), False, "apply"),
        (_segment(epoch=3 + (1 << 32), incarnation=B), None, _place(), False, "broken"),
        (_segment(epoch=(1 << 63) - 1, incarnation=B), None, _place(), False, "broken"),
        (_segment(epoch=1 << 32, first_seq=1, prev=NO_HASH), None, None, False, "apply"),
        (_segment(epoch=1 + (1 << 32), first_seq=1, prev=NO_HASH), None, None, False, "broken"),
        (_segment(), OTHER_HASH, _place(), False, "ignore"),
        (_segment(), OTHER_HASH, None, False, "ignore"),
        (_segment(), OTHER_HASH, _place(), True, "ignore"),
        (_segment(), HASH, _place(), False, "equivocation"),
        (_segment(), HASH, None, True, "equivocation"),
        (FIRST, HASH, None, False, "equivocation"),
        (_segment(), None, _place(), True, "hold"),
        (FIRST, None, None, True, "hold"),
        (_segment(), None, None, False, "hold"),
        (_segment(), None, _place(applied=False), False, "hold"),
        (_segment(epoch=3, incarnation=B), None, _place(applied=False), False, "hold"),
        (_segment(), None, _place(last_seq=4), False, "broken"),
        (_segment(), None, _place(last_seq=6), False, "broken"),
        (_segment(), None, _place(epoch=1), False, "broken"),
        (_segment(), None, _place(epoch=3), False, "broken"),
        (_segment(incarnation=B), None, _place(), False, "broken"),
        (_segment(incarnation=B), None, _place(epoch=3), False, "broken"),
        (_segment(), None, _place(last_seq=4, applied=False), False, "broken"),
        (_segment(), None, _place(epoch=1, applied=False), False, "broken"),
    ],
)
def test_the_verdict_by_what_is_held(
    segment: Segment, at_place: str | None, predecessor: Place | None, void: bool, verdict: str
) -> None:
    """Duplicates first, then proof of lying, then what is void, then gaps, then a broken chain."""
    assert judge(segment, OTHER_HASH, at_place=at_place, predecessor=predecessor, void=void) == verdict


@pytest.mark.parametrize("at_place", [None, HASH, OTHER_HASH])
def test_what_lies_beyond_the_cutoff_proves_nothing(at_place: str | None) -> None:
    """Else whoever stole the former key could void what the site says under its new one."""
    assert judge(FIRST, OTHER_HASH, at_place=at_place, predecessor=None, void=True, beyond=True) == "ended"


def test_the_verdicts_and_the_limit_are_these() -> None:
    """docs/events.md explains each."""
    assert [str(verdict) for verdict in Verdict] == [
        "apply",
        "ignore",
        "hold",
        "equivocation",
        "broken",
        "ended",
        "aside",
    ]
    assert MAX_HELD == 1000


# ---- a receiver in a few lines, to show that the rules commute -------------------------------------


class _Receiver:
    """Keeps what arrives, and applies whatever the verdicts allow."""

    def __init__(self) -> None:
        self.by_hash: dict[str, Cut] = {}
        self.at: dict[tuple[str, int], str] = {}
        self.applied: set[str] = set()
        self.proofs: set[str] = set()
        self.void_from: dict[str, int] = {}

    def _judge(self, done: Cut, at_place: str | None) -> Verdict:
        segment = done.segment
        before = self.by_hash.get(segment.prev)
        predecessor = (
            before
            if before is None
            else Place(
                hash=before.hash,
                epoch=before.segment.epoch,
                incarnation=before.segment.incarnation,
                last_seq=before.segment.last_seq,
                applied=before.hash in self.applied,
            )
        )
        void = segment.first_seq >= self.void_from.get(segment.incarnation, segment.first_seq + 1)
        return judge(segment, done.hash, at_place=at_place, predecessor=predecessor, void=void)

    def arrive(self, done: Cut) -> None:
        segment = done.segment
        place = (segment.incarnation, segment.first_seq)
        verdict = self._judge(done, self.at.get(place))
        if verdict is Verdict.EQUIVOCATION:
            self.proofs |= {done.hash, self.at[place]}
            known = self.void_from.get(segment.incarnation, segment.first_seq)
            self.void_from[segment.incarnation] = min(known, segment.first_seq)
        elif verdict in (Verdict.APPLY, Verdict.HOLD):
            self.by_hash[done.hash] = done
            self.at[place] = done.hash
        if verdict is Verdict.APPLY:
            self.applied.add(done.hash)
            self._apply_held()

    def _apply_held(self) -> None:
        again = True
        while again:
            again = False
            for held in self.by_hash.values():
                if held.hash not in self.applied and self._judge(held, None) is Verdict.APPLY:
                    self.applied.add(held.hash)
                    again = True

    def state(self) -> set[str]:
        """What counts: applied, and neither void nor built on what is void."""
        return {hash_ for hash_ in self.applied if self._is_sound(self.by_hash[hash_])}

    def _is_sound(self, done: Cut) -> bool:
        segment = done.segment
        if segment.first_seq >= self.void_from.get(segment.incarnation, segment.first_seq + 1):
            return False
        return segment.prev == NO_HASH or self._is_sound(self.by_hash[segment.prev])


def _append(position: Position, name: str, count: int = 1) -> tuple[Position, Cut]:
    (done,) = cut(position, [ingested(f"{name}{number}") for number in range(count)], AT)
    return msgspec.structs.replace(position, seq=done.segment.last_seq, hash=done.hash), done


def _rewound(position: Position, *, epoch: int) -> Position:
    return msgspec.structs.replace(position, epoch=epoch, incarnation=f"{epoch:016x}")


def _journal(*, lying: bool) -> list[Cut]:
    """Two incarnations, a restore from a backup with both branches kept, and perhaps an equivocation."""
    after_a, first = _append(EMPTY_JOURNAL, "a", 2)
    after_b, second = _append(after_a, "b")
    after_c, third = _append(_rewound(after_b, epoch=2), "c")
    _, lost = _append(_rewound(after_a, epoch=3), "d", 3)
    _, fourth = _append(after_c, "e")
    found = [first, second, third, lost, fourth]
    if lying:
        _, lie = _append(after_a, "lie")
        found.append(lie)
    return found


HONEST, LYING = _journal(lying=False), _journal(lying=True)


def test_an_honest_journal_with_branches_is_applied_whole_in_any_order() -> None:
    """Loss, delay and repair cost time only: all 120 orders end alike."""
    for order in itertools.permutations(HONEST):
        receiver = _Receiver()
        for done in order:
            receiver.arrive(done)
        assert receiver.state() == {done.hash for done in HONEST}
        assert receiver.proofs == set()


@settings(max_examples=300)
@given(st.permutations(LYING * 2))
def test_a_lie_is_found_and_voids_the_same_in_any_order(order: list[Cut]) -> None:
    """From the lie on nothing of that incarnation counts, nor what builds on it; the restored branch does."""
    receiver = _Receiver()
    for done in order:
        receiver.arrive(done)
    first, second, _, restored, _, lie = LYING
    assert receiver.proofs == {second.hash, lie.hash}
    assert receiver.state() == {first.hash, restored.hash}


@given(st.permutations(HONEST), st.integers(min_value=0, max_value=4))
def test_nothing_is_applied_before_what_it_builds_on(order: list[Cut], missing: int) -> None:
    """With one segment lost, exactly what does not build on it is applied."""
    receiver = _Receiver()
    for done in order:
        if done is not HONEST[missing]:
            receiver.arrive(done)
    first, second, third, restored, fourth = (done.hash for done in HONEST)
    applied = {
        0: set[str](),
        1: {first, restored},
        2: {first, second, restored},
        3: {first, second, third, fourth},
        4: {first, second, third, restored},
    }
    assert receiver.applied == applied[missing]
