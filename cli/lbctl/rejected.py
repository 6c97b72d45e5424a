"""``lbctl rejected``: what drop directories refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from librarian_protocol import api

HEADINGS = ("ID", "REFUSED", "CAUSE", "NAME", "REASON")
PARTLY = 3


@click.group(cls=Group, epilog=examples("lbctl rejected list", "lbctl rejected retry --cause name-invalid"))
def rejected() -> None:
    """What drop directories refused: it is kept whole in `.rejected`, with the reason beside it."""


@rejected.command("list", epilog=examples("lbctl rejected list", "lbctl rejected list --cause name-taken --limit 0"))
@click.option("--cause", default="", metavar="CAUSE", help="Only what was refused for it, such as name-taken.")
@click.option("--drop", default="", metavar="PATH", help="Only in this drop directory.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=0), help="0: all.")
@click.pass_obj
def list_(app: App, cause: str, drop: str, limit: int) -> None:
    """List what was refused and is still there, oldest first."""
    from lbctl.output import listed

    found = app.client().refused(cause, drop, limit=limit + 1 if limit else 0)
    listed(app, found, limit, HEADINGS, _row, empty="nothing that was refused stands there")


def _row(refused: api.Refused) -> Sequence[str]:
    from lbctl.shown import ago

    return refused.id, ago(refused.at or None), refused.cause, f"{refused.drop}/{refused.name}", refused.message


def _choosing(command: Callable[..., int]) -> Callable[..., int]:
    """The options by which things are chosen."""
    for option in (
        click.option("--drop", default="", metavar="PATH", help="Only in this drop directory."),
        click.option("--all", "all_", is_flag=True, help="All that was refused."),
        click.option("--cause", default="", metavar="CAUSE", help="All that was refused for it."),
        click.argument("ids", nargs=-1, metavar="[ID...]"),
    ):
        command = option(command)
    return command


@rejected.command(
    "retry",
    epilog=examples("lbctl rejected retry 20261120T130107Z-1f2e3d4c", "lbctl rejected retry --cause not-possible"),
)
@_choosing
@click.pass_obj
def retry(app: App, ids: tuple[str, ...], cause: str, all_: bool, drop: str) -> int:
    """Drop refused things again, where they were dropped, after their cause is gone. Exit 3 if some could not be
    moved.
    """
    return _done(app, app.client().retry_refused(_choice(ids, cause, all_, drop)), "dropped again")


@rejected.command("return", epilog=examples("lbctl rejected return --all --to /data/returned"))
@_choosing
@click.option("--to", required=True, metavar="DIR", help="Where to: a directory of the same filesystem.")
@click.pass_obj
def return_(app: App, ids: tuple[str, ...], cause: str, all_: bool, drop: str, to: str) -> int:
    """Move refused things to a directory, under the paths by which they were dropped. They stay their owners'.

    Nothing is overwritten: what has no place there stays where it is. Exit 3 if some could not be moved.
    """
    return _done(app, app.client().return_refused(_choice(ids, cause, all_, drop, os.path.abspath(to))), "moved")


def _choice(ids: tuple[str, ...], cause: str, all_: bool, drop: str, to: str = "") -> api.RefusedChoice:
    from librarian_protocol import api

    if sum((bool(ids), bool(cause), all_)) != 1:
        raise click.UsageError("say which: ID..., --cause CAUSE or --all")
    return api.RefusedChoice(ids=list(ids), cause=cause, all=all_, drop=drop, to=to)


def _done(app: App, done: api.RefusedMoved, what: str) -> int:
    from lbctl.output import emit, note, say

    if app.output is not Format.TABLE:
        emit(app, done)
    else:
        say(app, f"{done.moved:,} {what}" + (f", {done.left:,} left where they are" if done.left else ""))
        for example in done.examples:
            note(f"left: {example}")
        if done.left > len(done.examples):
            note(f"left: {done.left - len(done.examples):,} more")
    return PARTLY if done.left else 0
