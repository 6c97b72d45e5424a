"""``lbctl adapter``: actions of adapters that need a person."""

from __future__ import annotations

import click

from lbctl.app import App, Group, examples

#: Adapters with a login, and the program that does it, in a process of its own.
LOGINS = {"globus": "librarian_adapters.globus.login"}


@click.group(cls=Group, epilog=examples("lbctl adapter login globus"))
def adapter() -> None:
    """Actions of adapters that need a person."""


@adapter.command("login", epilog=examples("lbctl adapter login globus"))
@click.argument("name", type=click.Choice(sorted(LOGINS)))
@click.pass_obj
def login(app: App, name: str) -> int:
    """Log in to the service that an adapter uses: it shows where to go, and asks for the code from there."""
    import subprocess
    import sys

    return subprocess.run([sys.executable, "-m", LOGINS[name], str(app.config_path)], check=False).returncode
