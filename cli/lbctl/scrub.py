"""``lbctl scrub``: reading what is stored again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Group, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api

#: It asks the daemon so often how far it is, seconds.
_ASK_EVERY_S = 0.5
HEADINGS = ("STORE", ">PASS", "STATE", ">READ", ">OF", ">COVERED", ">BAD", "OLDEST", "WILL MISS", "")


@click.group(cls=Group, epilog=examples("lbctl scrub status", "lbctl scrub run --store main"))
def scrub() -> None:
    """Reading every stored byte again, to find what has changed."""


@scrub.command("status", epilog=examples("lbctl scrub status", "lbctl scrub status -o json"))
@click.pass_obj
def status(app: App) -> None:
    """Show how far each store is, and whether everything will be read in time."""
    from lbctl.output import rows

    rows(app, app.client().scrubs(), HEADINGS, row, empty="no stores")


@scrub.command("run", epilog=examples("lbctl scrub run", "lbctl scrub run --store main --no-wait"))
@click.option("--store", "store_", metavar="ID", help="Only this store: its id or label.")
@click.option("--no-wait", is_flag=True, help="Return at once; the daemon goes on.")
@click.pass_obj
def run(app: App, store_: str | None, *, no_wait: bool) -> int:
    """Read the stores again now, at the configured rate, whatever the hours.

    If a pass goes on already, it is that one: what it has read is not read again. It waits for the end; when it is
    interrupted, the daemon goes on. Exit 6 if something bad was found.
    """
    from lbctl.output import busy, rows
    from librarian_protocol.errors import ChecksumMismatch

    client = app.client()
    asked = {found.store: found.number for found in client.run_scrub(store_)}
    with busy(app, "reading every byte …"):
        while True:
            found = [status for status in client.scrubs() if status.store in asked]
            reading = [status for status in found if status.number == asked[status.store] and status.ended_at is None]
            if no_wait or not reading:
                break
            time.sleep(_ASK_EVERY_S)
    rows(app, found, HEADINGS, row)
    return ChecksumMismatch.exit_code if any(status.bad for status in found) else 0


def row(found: api.ScrubStatus) -> Sequence[str]:
    """A store as a line of a table under ``HEADINGS``."""
    from lbctl.shown import ago, duration, size

    return (
        found.label,
        f"{found.number:,}" if found.number else "-",
        found.state,
        f"{found.files:,} ({size(found.bytes)})",
        size(found.held_bytes),
        f"{found.covered:.0%}",
        f"{found.bad:,}",
        ago(found.oldest_at) if found.oldest_at else "-",
        f"by {duration(found.miss_s)}" if found.miss_s else "no",
        f"FROZEN: {found.frozen}" if found.frozen else "",
    )
