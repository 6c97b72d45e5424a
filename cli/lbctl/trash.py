"""``lbctl trash``: what was given up, and can be put back."""

from __future__ import annotations

import click

from lbctl.app import App, Group, examples


@click.group(cls=Group, epilog=examples("lbctl trash list", "lbctl trash restore raw/a.fits"))
def trash() -> None:
    """What this site has given up and not yet deleted. It can be put back, and is served meanwhile."""


HEADINGS = ("NAME", "STORE", ">SIZE", "WHY", "SINCE", "NOT BEFORE")


@trash.command("list", epilog=examples("lbctl trash list", "lbctl trash list --store buffer -o json"))
@click.option("--store", metavar="LABEL", help="Of this store only.")
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Files; 0 for all.")
@click.pass_obj
def list_(app: App, store: str | None, limit: int) -> None:
    """List what stands in trash, and when it is deleted at the earliest."""
    from lbctl.output import listed
    from lbctl.shown import ago, moment, size

    listed(
        app,
        (item for page in app.client().trash(store) for item in page),
        limit,
        HEADINGS,
        lambda item: (
            item.name,
            item.store,
            size(item.size_bytes),
            item.why,
            ago(item.since) if item.since else "on its way",
            moment(item.until) if item.until else "",
        ),
        empty="nothing is in trash",
    )


@trash.command("restore", epilog=examples("lbctl trash restore raw/a.fits"))
@click.argument("name")
@click.pass_obj
def restore(app: App, name: str) -> None:
    """Put a file back to its name, and read it. A rule may give it up again: `lbctl hold add` keeps it."""
    from lbctl.output import busy, rows
    from lbctl.shown import size
    from librarian_protocol.names import Name

    with busy(app, f"putting {name} back …"):
        found = app.client().restore(Name.parse(name))
    rows(
        app, found, ("NAME", "STORE", ">SIZE", ""), lambda one: (one.name, one.store, size(one.size_bytes), "put back")
    )
