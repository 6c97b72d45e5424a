"""What all commands share: the options that may stand anywhere on the line, and what they set."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from librarian_client import Client, Location

#: Looked for in this order where neither --config nor LBCTL_CONFIG is given.
CONFIG_PLACES = (Path("site.toml"), Path("/etc/librarian/site.toml"))


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class App:
    """The options of one run of lbctl."""

    def __init__(self) -> None:
        self.config: str | None = None
        self.output = Format.TABLE
        self.debug = False
        self.no_color = False

    @property
    def config_path(self) -> Path:
        """The ``site.toml`` that is meant, absolute.

        Raises:
            ConfigInvalid: none is given, and none is where it is looked for.
        """
        given = self.config or os.environ.get("LBCTL_CONFIG")
        if given:
            return Path(given).absolute()
        for place in CONFIG_PLACES:
            if place.is_file():
                return place.absolute()
        from librarian_protocol.errors import ConfigInvalid

        raise ConfigInvalid(
            "which site? No site.toml is given, nor in this directory, nor in /etc/librarian",
            hint="--config FILE, or LBCTL_CONFIG=FILE; `lbctl init DIR --site NAME` writes one",
        )

    def client(self) -> Client:
        """The site's daemon."""
        from lbctl.output import note
        from librarian_client import Client

        return Client.from_config(
            self.config_path, reads_only=lambda path: note(f"read-only: by {path}, for the control socket is not ours")
        )

    def location(self) -> Location:
        """Where the site keeps socket and state."""
        from librarian_client import locate

        return locate(self.config_path)


def _remember(change: Callable[[App, Any], None]) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            change(ctx.ensure_object(App), value)

    return callback


def _config(app: App, value: str) -> None:
    app.config = value


def _output(app: App, value: str) -> None:
    app.output = Format(value)


def _debug(app: App, value: bool) -> None:
    app.debug = value


def _no_color(app: App, value: bool) -> None:
    app.no_color = value


def _common_options() -> list[click.Parameter]:
    """Options of every command, so that they may stand before or after its name."""
    return [
        click.Option(
            ["--config"], metavar="FILE", expose_value=False, callback=_remember(_config),
            help="The site's site.toml [LBCTL_CONFIG].",
        ),
        click.Option(
            ["-o", "--output"], type=click.Choice([str(value) for value in Format]), expose_value=False,
            callback=_remember(_output), help="How results are printed; table by default.",
        ),
        click.Option(
            ["--debug"], is_flag=True, expose_value=False, callback=_remember(_debug),
            help="Show tracebacks.",
        ),
        click.Option(
            ["--no-color"], is_flag=True, expose_value=False, callback=_remember(_no_color),
            help="No colours [NO_COLOR].",
        ),
    ]  # fmt: skip


class Command(click.Command):
    """A command with the common options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_common_options())


class Group(click.Group):
    """A noun: its verbs are :class:`Command`."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_common_options())


def examples(*lines: str) -> str:
    """The end of a command's help. The mark keeps click from joining the lines."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
