"""``lbctl notify``: notification channels."""

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
    """Channels by which people are notified of incidents."""


@notify.command("list", epilog=examples("lbctl notify list", "lbctl notify list -o json"))
@click.pass_obj
def list_(app: App) -> None:
    """List the channels of site.toml, with the problem of each one's last attempt."""
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
    return 1 if any(result.problem for result in tried) else 0


def _row(channel: api.Channel) -> Sequence[str]:
    from lbctl.shown import duration

    return (
        channel.label,
        channel.service,
        channel.level,
        "told" if channel.over else "not told",
        duration(channel.every_s),
        channel.problem or "-",
    )
