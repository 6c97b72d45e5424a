"""Retention rules of one site: what is old enough, and how much a full store gives up."""

from __future__ import annotations

import pytest

from librarian_protocol.errors import ArgumentInvalid
from librarian_protocol.names import Name
from librarian_protocol.retention import (
    Rule,
    is_fuller,
    is_old_enough,
    percent_of,
    rule_of,
    stored_at_s,
    to_free_bytes,
)

AT = "2026-01-02T00:00:00.000000Z"
AT_S = 1767312000.0


def made(**given: object) -> Rule:
    wanted = {
        "store": "buffer",
        "match": "**",
        "after": "",
        "fuller_than": "",
        "down_to": "",
        "needs_role": "",
        "allow_archive": False,
    }
    return rule_of(**(wanted | given))  # type: ignore[arg-type]  # as the file has them


def test_a_rule_is_read_as_it_is_written() -> None:
    assert made(match="raw/**", after="28d", fuller_than="85%", down_to="70%", needs_role="archive") == Rule(
        store="buffer", match="raw/**", after_s=28 * 86400, fuller_than=85, down_to=70, needs_role="archive"
    )
    assert made(fuller_than="85%").down_to == 85
    assert made(after="1h", allow_archive=True) == Rule(store="buffer", after_s=3600, allow_archive=True)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "gives up everything at once"),
        ({"after": "soon"}, "no length of time"),
        ({"after": "1d", "down_to": "70%"}, "does not fit"),
        ({"fuller_than": "70%", "down_to": "85%"}, "does not fit"),
        ({"fuller_than": "101%"}, "no percentage"),
        ({"fuller_than": "0.8"}, "no percentage"),
        ({"after": "1d", "needs_role": "buffer"}, "cannot be asked for"),
        ({"after": "1d", "match": "a["}, "a\\["),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(given: dict[str, object], why: str) -> None:
    with pytest.raises(ArgumentInvalid, match=why):
        made(**given)


def test_a_rule_is_about_what_matches_and_is_old_enough() -> None:
    rule = made(match="raw/**", after="1d")
    assert is_old_enough(rule, Name("raw/a"), AT, AT_S + 86400)
    assert not is_old_enough(rule, Name("raw/a"), AT, AT_S + 86399)
    assert not is_old_enough(rule, Name("derived/a"), AT, AT_S + 86400)
    assert is_old_enough(made(fuller_than="1%"), Name("raw/a"), AT, AT_S)


def test_what_has_no_time_has_no_age() -> None:
    assert stored_at_s("long ago") is None
    assert not is_old_enough(made(after="1d"), Name("raw/a"), "long ago", AT_S * 2)


def test_a_full_store_gives_up_down_to_the_lower_mark_and_what_is_in_trash_counts_as_freed() -> None:
    rule = made(fuller_than="85%", down_to="70%")

    def to_free(used: int, going: int = 0, *, begun: bool = False) -> int | None:
        return to_free_bytes(rule, total_bytes=1000, free_bytes=1000 - used, going_bytes=going, begun=begun)

    assert [to_free(used) for used in (700, 850, 851, 1000)] == [0, 0, 151, 300]
    assert [to_free(used, begun=True) for used in (700, 701, 850)] == [0, 1, 150]
    assert to_free(900, 200) == 0
    assert to_free(900, 100, begun=True) == 100
    assert to_free_bytes(made(after="1d"), total_bytes=1000, free_bytes=0, going_bytes=0, begun=False) is None


def test_the_time_in_trash_is_cut_only_while_a_store_is_fuller_than_a_rule_allows() -> None:
    rule = made(fuller_than="85%")
    assert is_fuller(rule, total_bytes=1000, free_bytes=149)
    assert not is_fuller(rule, total_bytes=1000, free_bytes=150)
    assert not is_fuller(made(after="1d"), total_bytes=1000, free_bytes=0)


def test_percentages_go_up_to_a_hundred() -> None:
    assert [percent_of(text) for text in ("0%", "100%")] == [0, 100]
