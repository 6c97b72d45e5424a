"""``lbctl store``: the places of this site that hold bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples

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


@store.command("mark", epilog=examples("lbctl store mark /data/main --store main"))
@click.argument("path", type=click.Path())
@click.option("--store", "store_", required=True, metavar="ID", help="Which store it is: its id or label.")
@click.pass_obj
def mark(app: App, path: str, store_: str) -> None:
    """Give a store its marker back, where .librarian/store was deleted.

    What stands in PATH is compared with the catalog first, by names and sizes; what does not look like that store is
    refused, and nothing is changed. The daemon must run; it takes the store up by itself.
    """
    import os

    from lbctl.output import rows, say

    found = app.client().mark_store(os.path.abspath(path), store_)
    rows(
        app,
        [found],
        ("STORE", "ID", ">LOOKED FOR", ">FOUND", ">MISSING", ">WRONG", "PATH"),
        lambda store: (
            store.label,
            store.id,
            f"{store.looked:,}",
            f"{store.found:,}",
            f"{store.missing:,}",
            f"{store.wrong:,}",
            store.path,
        ),
    )
    for example in found.examples:
        say(app, f"  {example}")
    say(app, "it had its marker already" if found.was_marked else "marked; the daemon takes it up by itself")


@store.command("retire", epilog=examples("lbctl store retire main --lost"))
@click.argument("store_", metavar="ID")
@click.option("--lost", is_flag=True, help="What counts as held there is gone, or given up.")
@click.pass_obj
def retire(app: App, store_: str, *, lost: bool) -> None:
    """Have a store count no more, at every site: its disk is lost, or it is empty and gone.

    ID is its id or label. Nothing is deleted. A store that is configured and there is refused; so is one that still
    counts as holding something, without --lost. What this site subscribes to is fetched again into its other stores.
    It cannot be undone: a store that comes back is another store.
    """
    from lbctl.output import rows, say

    done = app.client().retire_store(store_, lost=lost)
    rows(
        app,
        [done],
        ("STORE", "ID", ">INSTANCES", ">NOWHERE ELSE"),
        lambda store: (store.label, store.id, f"{store.instances:,}", f"{store.nowhere_else:,}"),
    )
    if done.nowhere_else:
        say(app, "`lbctl file list --instances 0` lists files that are nowhere any more")


@store.command("thaw", epilog=examples("lbctl store thaw main --reason 'the controller was replaced'"))
@click.argument("store_", metavar="ID")
@click.option("--reason", required=True, help="Why it can be trusted again.")
@click.pass_obj
def thaw(app: App, store_: str, reason: str) -> None:
    """Have a frozen store count again.

    ID is its id or label. A store is frozen where too many of its instances were found bad: it neither vouches for
    instances nor gives any up. Nothing thaws by itself. Look at the disk and the kernel's log first.
    """
    from lbctl.output import emit, say

    found = app.client().thaw_store(store_, reason)
    if app.output is not Format.TABLE:
        emit(app, found)
        return
    for status in found:
        say(app, f"store {status.label} counts again; bad instances in it are counted anew")


HEADINGS = ("STORE", "ROLE", "STATE", ">INSTANCES", ">HOLDS", ">FREE", "PATH")


def row(store: api.StoreStatus) -> Sequence[str]:
    """A store as a line of a table under ``HEADINGS``."""
    from lbctl.shown import size

    free = f"{size(store.free_bytes)} of {size(store.total_bytes)}"
    return store.label, store.role, store.state, f"{store.instances:,}", size(store.size_bytes), free, store.path
