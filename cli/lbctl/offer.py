"""``lbctl offer``: what other sites may fetch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Group, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api

HEADINGS = ("PEER", "ACCESS", "MAY HAVE")


@click.group(cls=Group, epilog=examples("lbctl offer list", "lbctl offer set campus 'derived/**'"))
def offer() -> None:
    """What other sites may fetch here."""


@offer.command("list", epilog=examples("lbctl offer list", "lbctl offer list -o json"))
@click.pass_obj
def list_(app: App) -> None:
    """List what each peer may fetch: with full access everything, unless globs were set."""
    _print(app, app.client().offers())


@offer.command("set", epilog=examples("lbctl offer set campus 'derived/**'", "lbctl offer set campus 'a/**' 'b/**'"))
@click.argument("peer")
@click.argument("globs", nargs=-1, required=True, metavar="GLOB...")
@click.pass_obj
def set_(app: App, peer: str, globs: tuple[str, ...]) -> None:
    """Let a peer fetch the files whose names match, and no others. It takes effect at once."""
    _print(app, app.client().set_offer(peer, list(globs)))


@offer.command("clear", epilog=examples("lbctl offer clear campus", "lbctl offer clear campus -o json"))
@click.argument("peer")
@click.pass_obj
def clear(app: App, peer: str) -> None:
    """Remove what was set for a peer: only its access decides again."""
    _print(app, app.client().set_offer(peer, []))


def _print(app: App, found: list[api.Offer]) -> None:
    from lbctl.output import rows

    rows(app, found, HEADINGS, _row, empty="no other sites")


def _row(offer: api.Offer) -> Sequence[str]:
    everything = "everything" if offer.access == "full" else "nothing"
    return offer.peer, offer.access, ", ".join(offer.globs) or everything
