"""What a site may say: of a kind that needs no permission, the single entries are not looked at."""

from __future__ import annotations

import itertools

import pytest
from tests.unit.protocol.samples import ENTRIES, SUMMIT, SUMMIT_KEY

from librarian_daemon.catalog.journal.permissions import is_allowed, not_allowed
from librarian_protocol.entries import KINDS, Access, kind_of
from librarian_protocol.roster import Member


def member(grants: list[str], may_admit: bool, access: str) -> Member:
    """A site of the mesh with these rights."""
    return Member(
        site=SUMMIT,
        key=SUMMIT_KEY.public,
        keys=[(None, SUMMIT_KEY.public)],
        access=access,
        domain="summit",
        grants=grants,
        bus=[],
        leaf=None,
        may_admit=may_admit,
        admitter=None,
        former=[],
        ends={},
        revoked=False,
        reason="",
    )


RIGHTS = itertools.product([["**"], ["raw/**"], ["x/*", "**"], []], [True, False], list(Access))


@pytest.mark.parametrize("who", [None, *itertools.starmap(member, RIGHTS)])
def test_what_is_allowed_as_a_kind_is_allowed_as_each_entry(who: Member | None) -> None:
    assert {kind_of(entry) for entry in ENTRIES} == set(KINDS)
    for entry in ENTRIES:
        if is_allowed(kind_of(entry), who):
            assert not not_allowed(entry, SUMMIT, who)


def test_a_site_with_all_grants_need_not_be_asked_for_each_file() -> None:
    assert is_allowed("file.ingested", member(["raw/**", "**"], False, Access.FULL))
    assert is_allowed("instance.registered", None)
    assert not is_allowed("file.ingested", member(["raw/**"], False, Access.FULL))
