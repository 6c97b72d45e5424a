"""What a peer may be given."""

from __future__ import annotations

import pytest

from librarian_protocol.offers import is_offered, refusal


@pytest.mark.parametrize(
    ("access", "chosen", "name", "may"),
    [
        ("full", [], "any/thing", True),
        ("full", ["a/**"], "a/b", True),
        ("full", ["a/**"], "b", False),
        ("callback", [], "a", False),
        ("callback", ["a/**", "b"], "b", True),
        ("callback", ["a/**"], "b", False),
        ("witness", ["**"], "a", False),
    ],
)
def test_globs_bound_what_access_allows(access: str, chosen: list[str], name: str, may: bool) -> None:
    assert is_offered(access, chosen, name) is may


def test_a_witness_is_told_why() -> None:
    assert "witness" in refusal("witness")
    assert refusal("full") == refusal("callback") == ""
