"""Every incident has a code that is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from librarian_protocol.incidents import CODES, Severity, about

DAEMON = Path(__file__).resolve().parents[3] / "daemon" / "librarian_daemon"
#: How incidents are opened, and problems made, in the daemon's text.
_OPENED = re.compile(r'(?:incidents?\.open\(|_problem\(|Problem\(\s*code=|MANY = )\s*"([a-z-]+)"')


def test_every_code_that_the_daemon_opens_is_explained() -> None:
    opened = {code for path in DAEMON.rglob("*.py") for code in _OPENED.findall(path.read_text())}
    assert len(opened) > 10, "the pattern finds them"
    assert opened <= CODES.keys()


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_explanation_says_what_it_means_and_what_to_do(code: str) -> None:
    found = about(code)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert found is CODES[code]
    assert found.title
    assert found.meaning.endswith(".")
    assert found.steps


def test_a_code_of_a_later_version_is_shown_all_the_same() -> None:
    found = about("from-the-future")
    assert found.severity is Severity.WARNING
    assert not found.ends_by_itself
