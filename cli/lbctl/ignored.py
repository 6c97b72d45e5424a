"""``lbctl ignored``: what drop directories ignore."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Group, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api

HEADINGS = ("NAME", "IGNORED BY", ">SIZE", "CHANGED", "DROP DIRECTORY")


@click.group(cls=Group, epilog=examples("lbctl ignored list"))
def ignored() -> None:
    """What drop directories ignore: hidden files, and files that tools have not finished."""


@ignored.command("list", epilog=examples("lbctl ignored list", "lbctl ignored list --limit 0 -o jsonl"))
@click.option("--drop", default="", metavar="PATH", help="Only in this drop directory.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=0), help="0: all.")
@click.pass_obj
def list_(app: App, drop: str, limit: int) -> None:
    """List what is in drop directories and is never ingested, and by which glob of `ignore`. The directories are walked
    now.
    """
    from lbctl.output import listed

    listed(app, app.client().ignored(drop, limit=limit + 1 if limit else 0), limit, HEADINGS, _row, empty="nothing")


def _row(ignored: api.Ignored) -> Sequence[str]:
    from lbctl.shown import ago, size

    return ignored.name, ignored.glob, size(ignored.size_bytes), ago(ignored.changed_at), ignored.drop
