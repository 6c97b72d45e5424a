"""Which rules of the mesh count."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.samples import ARCHIVE, INCARNATION, SUMMIT

from librarian_protocol.entries import EntryId, HoldDeclared, KeepDeclared
from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.names import Name
from librarian_protocol.rules import (
    Hold,
    Keep,
    hold_of,
    id_of,
    in_force,
    in_words,
    is_over,
    keep_of,
    matching,
    moment,
    text_of,
    until_of,
)


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


# ---- what a person declares ----


def declared(**changes: Any) -> KeepDeclared:
    """A rule as a person says it."""
    said: dict[str, Any] = {"match": "raw/**", "instances": 3, "domains": 2, "role": None, "reason": ""}
    return keep_of(**{**said, **changes})


def test_a_keep_rule_is_declared_as_it_was_said() -> None:
    assert declared() == KeepDeclared(match="raw/**", instances=3, domains=2)
    assert declared(role="archive", reason=" unique ") == KeepDeclared(
        match="raw/**", instances=3, domains=2, role="archive", reason="unique"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instances": 0, "domains": 0}, "0 instances in 0 failure domains"),
        ({"domains": 0}, "3 instances in 0"),
        ({"domains": 4}, "3 instances in 4 failure domains cannot"),
        ({"instances": 1001}, "1001 instances"),
        ({"role": "attic"}, "a store of role 'attic'"),
        ({"role": "buffer"}, "a store of role 'buffer'"),
        ({"match": "[a"}, "glob"),
        ({"reason": "x" * 1025}, "a reason of 1 to 1024"),
    ],
)
def test_a_rule_that_nobody_could_fulfil_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentInvalid, match=re.escape(message)):
        declared(**changes)


def test_a_hold_ends_later_and_has_a_reason() -> None:
    assert hold_of(match="**", until=101, reason="x", now_s=100.5) == HoldDeclared(match="**", until=101, reason="x")
    with pytest.raises(ArgumentInvalid, match="1970-01-01T00:01:41Z has passed"):
        hold_of(match="**", until=101, reason="x", now_s=101.0)
    with pytest.raises(ArgumentInvalid, match="a reason of 1"):
        hold_of(match="**", until=None, reason=" ", now_s=0.0)


def test_a_moment_is_read_as_it_is_written_and_in_utc() -> None:
    for text in ("2027-01-01", "2027-01-01T00:00:00", "2027-01-01T00:00:00Z", "2027-01-01T02:00:00+02:00"):
        assert moment(until_of(text)) == "2027-01-01T00:00:00Z"
    with pytest.raises(ArgumentInvalid, match="no moment"):
        until_of("tomorrow")
    assert moment(2**53 - 1) == "9007199254740991 s after 1970"


def test_a_rule_is_told_in_words() -> None:
    assert in_words(keep(1)) == "an eviction must leave 2 good instances in 1 failure domain"
    one = Keep(id=entry(1), match="**", instances=1, domains=1, role="archive", reason="", at="")
    assert in_words(one).endswith("leave 1 good instance in 1 failure domain, one of them in a store of role archive")
    assert in_words(hold(None)) == "nobody may evict it"
    assert in_words(hold(0)) == "nobody may evict it until 1970-01-01T00:00:00Z"
