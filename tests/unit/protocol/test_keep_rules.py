"""What must be kept: rules raise it, a site's own file alone may lower it, and a hold is heeded while it lasts."""

from __future__ import annotations

from librarian_protocol.entries import StoreRole
from librarian_protocol.keep_rules import (
    DEFAULT,
    LEAST,
    HoldRule,
    KeepRule,
    Requirement,
    carried,
    greatest,
    is_held,
    required,
)
from librarian_protocol.names import Name

NAME = Name.parse("raw/2026/a.fits")
ARCHIVED = Requirement(instances=1, domains=1, role=StoreRole.ARCHIVE)


def test_two_instances_in_two_domains_are_required_where_nothing_is_said() -> None:
    assert required(NAME, [], None) == DEFAULT == Requirement(instances=2, domains=2)


def test_a_rule_raises_field_by_field_and_never_lowers() -> None:
    rules = [
        KeepRule(match="raw/**", keep=Requirement(instances=4, domains=1)),
        KeepRule(match="raw/2026/*", keep=Requirement(instances=1, domains=3)),
        KeepRule(match="**/*.fits", keep=ARCHIVED),
        KeepRule(match="other/**", keep=Requirement(instances=9, domains=9)),
    ]
    assert required(NAME, rules, None) == Requirement(instances=4, domains=3, role=StoreRole.ARCHIVE)
    assert required(NAME, [KeepRule(match="**", keep=LEAST)], None) == DEFAULT


def test_a_sites_own_file_may_lower_the_default_and_not_a_rule() -> None:
    assert required(NAME, [], LEAST) == LEAST
    assert required(NAME, [KeepRule(match="raw/**", keep=Requirement(instances=3, domains=2))], LEAST) == Requirement(
        instances=3, domains=2
    )


def test_an_answer_carries_what_was_said_and_no_default() -> None:
    rule = KeepRule(match="raw/**", keep=Requirement(instances=3, domains=1))
    assert carried(NAME, [], None) == LEAST
    assert carried(NAME, [rule], None) == Requirement(instances=3, domains=1)
    assert carried(NAME, [rule], Requirement(instances=2, domains=4)) == Requirement(instances=3, domains=4)


def test_the_greatest_of_none_is_one_instance() -> None:
    assert greatest([]) == LEAST


def test_a_hold_matches_by_name_until_the_persons_wish_ends() -> None:
    holds = [HoldRule(match="other/**"), HoldRule(match="raw/**", until_s=100.0)]
    assert is_held(NAME, holds, 99.9)
    assert not is_held(NAME, holds, 100.0)
    assert is_held(NAME, [HoldRule(match="raw/**")], 1e12)
    assert not is_held(NAME, [], 0.0)
