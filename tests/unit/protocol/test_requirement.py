"""What must be kept: rules raise it, a site's own file alone may lower it, and a hold is heeded while it lasts."""

from __future__ import annotations

from librarian_protocol.entries import EntryId, StoreRole
from librarian_protocol.names import Name, SiteName
from librarian_protocol.requirement import DEFAULT, LEAST, Requirement, carried, greatest, is_held, required
from librarian_protocol.rules import MOST_INSTANCES, Hold, Keep

NAME = Name.parse("raw/2026/a.fits")
_ID = EntryId(site=SiteName.parse("summit"), incarnation="a0" * 8, seq=1)


def keep(match: str, instances: int, domains: int, role: str | None = None) -> Keep:
    return Keep(id=_ID, match=match, instances=instances, domains=domains, role=role, reason="", at="")


def hold(match: str, until: int | None = None) -> Hold:
    return Hold(id=_ID, match=match, until=until, reason="", at="")


def test_two_instances_in_two_domains_are_required_where_nothing_is_said() -> None:
    assert required(NAME, [], None) == DEFAULT == Requirement(instances=2, domains=2)


def test_a_rule_raises_field_by_field_and_never_lowers() -> None:
    rules = [
        keep("raw/**", 4, 1),
        keep("raw/2026/*", 1, 3),
        keep("**/*.fits", 1, 1, "archive"),
        keep("other/**", 9, 9),
    ]
    assert required(NAME, rules, None) == Requirement(instances=4, domains=3, role=StoreRole.ARCHIVE)
    assert required(NAME, [keep("**", 1, 1)], None) == DEFAULT


def test_a_sites_own_file_may_lower_the_default_and_not_a_rule() -> None:
    assert required(NAME, [], LEAST) == LEAST
    assert required(NAME, [keep("raw/**", 3, 2)], LEAST) == Requirement(instances=3, domains=2)


def test_an_answer_carries_what_was_said_and_no_default() -> None:
    rule = keep("raw/**", 3, 1)
    assert carried(NAME, [], None) == LEAST
    assert carried(NAME, [rule], None) == Requirement(instances=3, domains=1)
    assert carried(NAME, [rule], Requirement(instances=2, domains=4)) == Requirement(instances=3, domains=4)


def test_a_rule_about_a_role_of_a_later_version_is_never_fulfilled() -> None:
    assert required(NAME, [keep("raw/**", 1, 1, "vault")], LEAST).instances == MOST_INSTANCES
    assert required(NAME, [keep("other/**", 1, 1, "vault")], LEAST) == LEAST


def test_the_greatest_of_none_is_one_instance() -> None:
    assert greatest([]) == LEAST


def test_a_hold_matches_by_name_until_the_persons_wish_ends() -> None:
    holds = [hold("other/**"), hold("raw/**", 100)]
    assert is_held(NAME, holds, 99.9)
    assert not is_held(NAME, holds, 100.0)
    assert is_held(NAME, [hold("raw/**")], 1e12)
    assert not is_held(NAME, [], 0.0)
