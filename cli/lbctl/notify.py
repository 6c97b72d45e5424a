"""``lbctl notify``: who is told of incidents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Group, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api

HEADINGS = ("CHANNEL", "SERVICE", "LEVEL", "OVER", ">AT MOST EVERY", "PROBLEM")
EMPTY = "no channels: add [[notify]] to site.toml"


@click.group(cls=Group, epilog=examples("lbctl notify list", "lbctl notify test oncall"))
def notify() -> None:
    """Who is told of incidents, by which channels."""


@notify.command("list", epilog=examples("lbctl notify list", "lbctl notify list -o json"))
@click.pass_obj
def list_(app: App) -> None:
    """List the channels of site.toml, and what was wrong with each the last time."""
    from lbctl.output import rows

    rows(app, app.client().channels(), HEADINGS, _row, empty=EMPTY)


@notify.command("test", epilog=examples("lbctl notify test", "lbctl notify test oncall"))
@click.argument("label", default="")
@click.pass_obj
def test(app: App, label: str) -> int:
    """Send a test message by one channel, or by all. Exit 1 if one failed."""
    from lbctl.output import rows

    tried = app.client().test_channels(label)
    rows(app, tried, HEADINGS, _row, empty=EMPTY)
    return 1 if any(one.problem for one in tried) else 0


def _row(one: api.Channel) -> Sequence[str]:
    from lbctl.shown import duration

    return (
        one.label,
        one.service,
        one.level,
        "told" if one.over else "not told",
        duration(one.every_s),
        one.problem or "-",
    )
