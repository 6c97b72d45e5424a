"""``lbctl store``: the places of this site that hold bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Group, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api


@click.group(cls=Group, epilog=examples("lbctl store list", "lbctl store list -o json"))
def store() -> None:
    """Places of this site that hold bytes."""


@store.command("list", epilog=examples("lbctl store list", "lbctl store list -o jsonl"))
@click.pass_obj
def list_(app: App) -> None:
    """List the stores: state, how much they hold, what is free."""
    from lbctl.output import rows

    rows(app, app.client().stores(), HEADINGS, row, empty="no stores")


HEADINGS = ("STORE", "ROLE", "STATE", ">INSTANCES", ">HOLDS", ">FREE", "PATH")


def row(one: api.StoreStatus) -> Sequence[str]:
    """A store as a line of a table under ``HEADINGS``."""
    from lbctl.shown import size

    free = f"{size(one.free_bytes)} of {size(one.total_bytes)}"
    return one.label, one.role, one.state, f"{one.instances:,}", size(one.size_bytes), free, one.path
