"""Which rules of the mesh count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.samples import ARCHIVE, INCARNATION, SUMMIT

from librarian_protocol.entries import EntryId
from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.names import Name
from librarian_protocol.rules import Hold, Keep, id_of, in_force, is_over, matching, text_of


def entry(number: int) -> EntryId:
    """An entry's id."""
    return EntryId(site=SUMMIT if number % 2 else ARCHIVE, incarnation=INCARNATION, seq=number)


def keep(number: int, match: str = "**") -> Keep:
    """A rule."""
    return Keep(id=entry(number), match=match, instances=2, domains=1, role=None, reason="", at="")


def hold(until: int | None) -> Hold:
    """A hold."""
    return Hold(id=entry(1), match="**", until=until, reason="", at="")


def test_a_rule_counts_until_it_is_withdrawn_whoever_declared_it() -> None:
    rules = [keep(1), keep(2), keep(3)]
    assert in_force(rules, set()) == [keep(2), keep(1), keep(3)]
    assert in_force(rules, {entry(2), entry(3)}) == [keep(1)]


def test_a_withdrawal_of_a_rule_that_is_not_known_yet_ends_it_when_it_comes() -> None:
    assert in_force([keep(1)], {entry(9)}) == [keep(1)]
    assert in_force([keep(1), keep(9)], {entry(9)}) == [keep(1)]


@given(st.permutations([keep(number) for number in range(1, 7)]), st.sets(st.integers(1, 9)))
def test_the_order_in_which_rules_are_known_does_not_matter(known: list[Keep], ended: set[int]) -> None:
    left = in_force(known, {entry(number) for number in ended})
    assert [rule.id.seq for rule in left] == [number for number in (2, 4, 6, 1, 3, 5) if number not in ended]


def test_a_rule_is_about_the_names_that_its_glob_matches() -> None:
    rules = [keep(1, "raw/**"), keep(2, "calib/*")]
    assert matching(rules, Name.parse("raw/2026/a")) == [keep(1, "raw/**")]
    assert matching(rules, Name.parse("calib/2026/a")) == []


def test_a_hold_is_over_from_its_moment_on_or_never() -> None:
    assert [is_over(hold(100), now_s) for now_s in (99.9, 100.0, 101.0)] == [False, True, True]
    assert not is_over(hold(None), 1e12)


def test_an_id_comes_back_from_its_text() -> None:
    assert text_of(entry(12)) == f"archive/{INCARNATION}/12"
    assert id_of(text_of(entry(12))) == entry(12)


@pytest.mark.parametrize(
    "text",
    ["", "12", "archive/12", "archive/0f1e/12", "Archive/0f1e2d3c4b5a6978/12", "a/0f1e2d3c4b5a6978/-1",
     "a/0f1e2d3c4b5a6978/1/2", "a/0f1e2d3c4b5a6978/\u0661", "a/0f1e2d3c4b5a6978/" + "9" * 40],
)  # fmt: skip
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ArgumentInvalid, match="is not the id of an entry"):
        id_of(text)
