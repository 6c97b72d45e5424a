"""``lbctl explain``: why a file is, or is not, at a site."""

from __future__ import annotations

import click

from lbctl.app import App, Command, Format, examples


@click.command(cls=Command, epilog=examples("lbctl explain night-0001", "lbctl explain night-0001 --at archive"))
@click.argument("name")
@click.option("--at", metavar="SITE", help="At another site, as far as this one knows. [this one]")
@click.pass_obj
def explain(app: App, name: str, at: str | None) -> None:
    """Say in plain words why a file is, or is not, at a site, and what to do."""
    from lbctl.output import emit, say

    found = app.client().explain(name, at)
    if app.output is not Format.TABLE:
        emit(app, found)
        return
    for explained in found:
        say(app, f"{explained.name}: {explained.summary}")
        for line in explained.lines:
            say(app, f"  {line}")
        say(app, f"  next: {explained.next}")
