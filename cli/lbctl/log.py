"""``lbctl log``: what the daemon logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples

if TYPE_CHECKING:
    from librarian_protocol import api

LEVELS = ("debug", "info", "warning", "error")


@click.group(cls=Group, epilog=examples("lbctl log level", "lbctl log level debug"))
def log() -> None:
    """What the daemon logs."""


@log.command("level", epilog=examples("lbctl log level", "lbctl log level debug"))
@click.argument("level", required=False, type=click.Choice(LEVELS))
@click.pass_obj
def level(app: App, level: api.Level | None) -> None:
    """Show the level, or change it at once. The next start takes it from site.toml again."""
    from lbctl.output import emit, say
    from librarian_protocol import api

    client = app.client()
    if level is not None:
        client.set_log_level(level)
    found = api.LogLevel(level=client.log_level())
    if app.output is Format.TABLE:
        say(app, found.level)
    else:
        emit(app, found)
