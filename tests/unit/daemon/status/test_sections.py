"""Sections of views."""

from __future__ import annotations

import pytest

from librarian_daemon.status.sections import Sections
from librarian_protocol.errors import CatalogFault


async def _fails(error: Exception) -> str:
    raise error


async def _made() -> str:
    return "as it is"


@pytest.mark.parametrize("error", [CatalogFault("no such table"), ValueError("no such state"), OverflowError("2^64")])
async def test_a_section_that_fails_is_named_until_it_is_made_again(error: Exception) -> None:
    """What stands in its place is what the caller says; the others are not touched."""
    sections = Sections()
    assert await sections.made("counts", _fails(error), "nothing") == "nothing"
    assert await sections.made("peers", _made(), "nothing") == "as it is"
    assert list(sections.failing) == ["counts"]
    assert error.args[0] in sections.failing["counts"]
    assert await sections.made("counts", _made(), "nothing") == "as it is"
    assert sections.failing == {}


async def test_a_mistake_of_another_kind_ends_the_view() -> None:
    """It would be hidden for good."""
    with pytest.raises(TypeError):
        await Sections().made("counts", _fails(TypeError("a mistake")), "nothing")
