"""Advice can be followed: the walk over hints, errors and pages finds nothing, and would find what is wrong."""

from __future__ import annotations

import pytest
from tests import advice


def test_every_command_and_page_that_is_named_exists() -> None:
    assert list(advice.problems()) == []


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("lbctl file withdraw NAME", "Missing option '--reason'"),
        ("lbctl file withdrawn NAME", "No such command"),
        ("lbctl transfer retry ID --now", "No such option"),
        ("lbctl doctor NAME", "unexpected extra argument"),
        ("lbctl 'file", "No closing quotation"),
    ],
)
def test_what_cannot_be_run_is_found(command: str, wrong: str) -> None:
    assert wrong in advice.refused(command)


@pytest.mark.parametrize(
    "command",
    [
        "lbctl",
        "lbctl file withdraw",
        "lbctl -o json transfer show 7",
        "lbctl transfer retry ID",
        "lbctl file list [--match GLOB]",
        "lbctl NOUN --help",
    ],
)
def test_what_can_be_run_or_is_a_mention_is_not(command: str) -> None:
    assert advice.refused(command) == ""


def test_commands_are_found_in_hints_and_in_examples() -> None:
    assert list(advice.commands("x.py:1", "do `lbctl doctor` there")) == ["lbctl doctor"]
    assert list(advice.commands("x.md", "```\n$ lbctl status > /dev/null\n```")) == ["lbctl status"]
    assert list(advice.commands("x.md", "### `lbctl site revoke NAME`\nsee `lbctl\n  doctor`")) == ["lbctl doctor"]
