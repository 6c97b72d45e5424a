"""``lbctl recover``: a catalog that was lost, or restored from a backup."""

from __future__ import annotations

import time

import click

from lbctl.app import App, Command, Format, examples

_LOOK_EVERY_S = 0.5
RECOVERING = 1


@click.command(cls=Command, epilog=examples("lbctl recover", "lbctl recover --wait", "lbctl recover --alone"))
@click.option("--alone", is_flag=True, help="No other site holds anything of this one: make all of it from the stores.")
@click.option("--wait", is_flag=True, help="Wait until it is over.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def recover(app: App, alone: bool, wait: bool, yes: bool) -> int:
    """Show the state of the recovery of this site's catalog, and what it waits for.

    A daemon whose catalog is lost, or older than its stores, recovers by itself: from what other sites hold, then from
    what is in its stores. Exit 1 while it recovers.
    """
    from lbctl.output import busy, emit, say

    client = app.client()
    if alone:
        _confirm(yes)
        found = client.recover_alone()
    else:
        found = client.recovery()
    if wait or alone:
        with busy(app, "recovering …"):
            while found.since is not None and (alone or not found.without_mesh):
                time.sleep(_LOOK_EVERY_S)
                found = client.recovery()
    if app.output is not Format.TABLE:
        emit(app, found)
    elif found.since is None:
        say(app, "the catalog is whole: nothing to recover")
    else:
        say(app, f"recovering since {found.since}")
        for line in found.reasons:
            say(app, f"  because {line}")
        for line in found.waits_for:
            say(app, f"  waits: {line}")
        if found.without_mesh:
            say(app, "  next: `lbctl site invite` at another site, then `lbctl site join TOKEN` here")
            say(app, "        or, where there is no other site: `lbctl recover --alone`")
    return RECOVERING if found.since is not None else 0


def _confirm(yes: bool) -> None:
    import sys

    from librarian_protocol.errors import NotPossible

    question = "is there no other site that knows this one? what others hold would be lost"
    if not yes and not (sys.stdin.isatty() and click.confirm(question)):
        raise NotPossible("it was not confirmed that this site is alone", hint="--yes")
