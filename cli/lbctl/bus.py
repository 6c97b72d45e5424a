"""``lbctl bus``: this site's own bus server."""

from __future__ import annotations

import sys

import click

from lbctl.app import App, Group, examples


@click.group(cls=Group, epilog=examples("lbctl bus config", "lbctl bus config | less"))
def bus() -> None:
    """This site's own bus server."""


@bus.command("config", epilog=examples("lbctl bus config", "lbctl bus config > nats.conf"))
@click.pass_obj
def config(app: App) -> None:
    """Print its configuration, as the daemon makes it from the roster; secrets are left out."""
    for piece in app.client().bus_config():
        sys.stdout.write(piece.decode())
