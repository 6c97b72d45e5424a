"""docs/cli.md knows every command, option and exit code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from lbctl.failure import EXIT_CODES
from lbctl.main import root

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
#: They stand in a section of their own.
COMMON = {"--config", "-o", "--output", "--debug", "--no-color", "--help", "-h"}


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with all of its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def sections() -> dict[str, str]:
    """Sections of the page by the command they are of."""
    found: dict[str, str] = {}
    for part in PAGE.split("\n### ")[1:]:
        heading, _, body = part.partition("\n")
        words = [word for word in heading.strip("`").split() if word.islower()]
        found[" ".join(words)] = f"{heading}\n{body}"
    return found


def test_every_command_and_option_is_documented() -> None:
    found = sections()
    assert set(found) == {path for path, _ in commands(root, "lbctl")}
    for path, command in commands(root, "lbctl"):
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                for option in set(parameter.opts) - COMMON:
                    assert re.search(rf"`{re.escape(option)}[ `]", found[path]), (path, option)
            else:
                assert (parameter.metavar or str(parameter.name)).strip("[].").upper() in found[path], path


def test_the_common_options_are_documented() -> None:
    for option in COMMON:
        assert re.search(rf"`{option}[ `]", PAGE)


def test_every_exit_code_is_documented() -> None:
    told = re.findall(r"(?<![\d])(\d+) [a-z]", EXIT_CODES.replace("\n", " "))
    assert told == re.findall(r"(?m)^\| (\d+) \|", PAGE)
