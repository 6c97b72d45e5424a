"""What a name means where several digests stand under it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.samples import INCARNATION, SUMMIT

from librarian_protocol.digests import Digest
from librarian_protocol.entries import EntryId
from librarian_protocol.name_resolution import CLEAR, CONFLICT, Meaning, Resolution, meaning

A, B, C = (Digest.blake3(text) for text in (b"a", b"b", b"c"))


def entry(number: int) -> EntryId:
    """An entry's id."""
    return EntryId(site=SUMMIT, incarnation=INCARNATION, seq=number)


def decided(number: int, keep: Digest, over: Sequence[Digest], supersedes: Sequence[int] = ()) -> Resolution:
    """A decision."""
    return Resolution(
        id=entry(number), keep=keep, over=tuple(over), supersedes=tuple(entry(earlier) for earlier in supersedes)
    )


def kept(digest: Digest) -> Meaning:
    """It was decided."""
    return Meaning(conflict=False, kept=digest)


def test_one_digest_is_no_conflict_whatever_was_decided() -> None:
    assert meaning([A], []) == CLEAR
    assert meaning([A], [decided(1, B, [A])]) == CLEAR


def test_two_digests_are_a_conflict_until_somebody_decides() -> None:
    assert meaning([A, B], []) == CONFLICT
    assert meaning([A, B], [decided(1, A, [B])]) == kept(A)


def test_two_that_decide_the_same_agree_and_two_that_differ_bring_it_back() -> None:
    assert meaning([A, B], [decided(1, A, [B]), decided(2, A, [B])]) == kept(A)
    assert meaning([A, B], [decided(1, A, [B]), decided(2, B, [A])]) == CONFLICT


def test_a_later_decision_that_knew_of_both_ends_it() -> None:
    apart = [decided(1, A, [B]), decided(2, B, [A])]
    assert meaning([A, B], [*apart, decided(3, B, [A], supersedes=[1, 2])]) == kept(B)
    assert meaning([A, B], [*apart, decided(3, B, [A], supersedes=[1])]) == kept(B)
    assert meaning([A, B], [*apart, decided(3, A, [B], supersedes=[1])]) == CONFLICT


def test_a_digest_that_no_decision_knew_is_a_new_conflict() -> None:
    assert meaning([A, B, C], [decided(1, A, [B])]) == CONFLICT
    assert meaning([A, B, C], [decided(1, A, [B]), decided(2, A, [C])]) == kept(A)


def test_a_decision_for_what_is_not_there_any_more_decides_nothing() -> None:
    assert meaning([A, B], [decided(1, C, [A, B])]) == CONFLICT


@given(st.permutations([decided(1, A, [B]), decided(2, B, [A]), decided(3, B, [A, C], supersedes=[1, 2])]))
def test_the_order_in_which_decisions_are_known_does_not_matter(known: list[Resolution]) -> None:
    assert meaning({A, B, C}, known) == kept(B)
