"""``lbctl pause`` and ``lbctl resume``: maintenance."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Command, Format, examples

if TYPE_CHECKING:
    from librarian_protocol import api


@click.command(
    cls=Command,
    epilog=examples(
        'lbctl pause intake --for 2h --reason "the store gets new disks"',
        'lbctl pause peer:summit --for 1d12h --reason "their link is full"',
    ),
)
@click.argument("what", metavar="WHAT")
@click.option(
    "--for", "length", required=True, metavar="TIME", help="Until it ends by itself: 45m, 2h, 3d; 30d at most."
)
@click.option("--reason", required=True, metavar="TEXT", help="What others are told.")
@click.pass_obj
def pause(app: App, what: str, length: str, reason: str) -> None:
    """Pause intake, transfers or one peer for a while; repeat it to change it. It ends by itself, or by `resume`.

    intake: nothing is taken in from drop directories. transfers: nothing is brought into this site's stores; what is on
    the wire stops, and goes on later from what came. peer:SITE: nothing is fetched from that site or given to it.
    """
    from librarian_protocol import api, pausing

    asked = api.PauseSet(what=pausing.what_of(what), for_s=pausing.length_s(length), reason=reason, by=_who())
    tell(app, app.client().pause(asked), "paused")


@click.command(cls=Command, epilog=examples("lbctl resume intake", "lbctl resume peer:summit"))
@click.argument("what", metavar="WHAT")
@click.pass_obj
def resume(app: App, what: str) -> None:
    """End a pause before its time."""
    tell(app, app.client().resume(what), "resumed; it was paused")


def _who() -> str:
    """Who asks: with sudo, whoever called it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        return f"uid {os.getuid()}"


def tell(app: App, pause: api.Pause, done: str) -> None:
    """Print one pause, with what was done to it."""
    from lbctl.output import emit, say

    if app.output is Format.TABLE:
        say(app, f"{pause.what} {done} {words(pause)}")
    else:
        emit(app, pause)


def words(pause: api.Pause) -> str:
    """``until …, for 2h00m more, by anna: new disks``."""
    from lbctl.shown import duration, moment

    left = f", for {duration(pause.left_s)} more" if pause.left_s else ""
    return f"until {moment(pause.until)}{left}, by {pause.by}: {pause.reason}"
