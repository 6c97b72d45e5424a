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


@store.command("show", epilog=examples("lbctl store show main", "lbctl store show main -o json"))
@click.argument("store_", metavar="STORE")
@click.pass_obj
def show(app: App, store_: str) -> None:
    """Show how a store is used, and where each value comes from.

    STORE is its id or label.
    """
    _show(app, app.client().show_store(store_))


@store.command(
    "set",
    epilog=examples(
        "lbctl store set main --inactive --reason 'the controller fails'",
        "lbctl store set fast --priority 10 --reserve 50GiB --reason 'for the night'",
    ),
)
@click.argument("store_", metavar="STORE")
@click.option("--active/--inactive", default=None, help="Whether anything may come into it. It is served in any case.")
@click.option(
    "--ingestable/--no-ingestable", default=None, help="Whether intake and subscriptions may bring new files."
)
@click.option(
    "--priority", type=click.IntRange(0, 1_000_000), metavar="N", help="The store with the lowest is used first."
)
@click.option("--reserve", metavar="SIZE", help="Free space that stays free: 50GiB, or 5%.")
@click.option("--reason", required=True, metavar="TEXT", help="Why: it is shown with the store.")
@click.pass_obj
def set_(
    app: App,
    store_: str,
    *,
    active: bool | None,
    ingestable: bool | None,
    priority: int | None,
    reserve: str | None,
    reason: str,
) -> None:
    """Set how a store is used, whatever site.toml says, at once and over restarts.

    STORE is its id or label. What is not given stays as it is. `lbctl store unset` goes back to site.toml.
    """
    from librarian_protocol import api

    wanted = api.StoreSet(
        store=store_, active=active, ingestable=ingestable, priority=priority, reserve=reserve, reason=reason
    )
    _show(app, app.client().set_store(wanted))


@store.command("unset", epilog=examples("lbctl store unset main"))
@click.argument("store_", metavar="STORE")
@click.pass_obj
def unset(app: App, store_: str) -> None:
    """Have what site.toml says of a store count again; of a store that is not in it, the defaults.

    STORE is its id or label.
    """
    _show(app, app.client().unset_store(store_))


@store.command("add", epilog=examples("lbctl store add /data/second --label second --role archive"))
@click.argument("path", type=click.Path())
@click.option("--label", required=True, metavar="LABEL", help="Its name at this site.")
@click.option("--role", required=True, metavar="ROLE", help="source, buffer, archive or processing: for ever.")
@click.pass_obj
def add(app: App, path: str, label: str, role: str) -> None:
    """Attach a store while the daemon runs, and at each start from now on.

    PATH is an empty directory, or a new one in a directory that exists. Drop directories of site.toml can only name
    stores of site.toml. Adapters other than http serve it after the next restart of the daemon.
    """
    import os

    from librarian_protocol.entries import StoreRole
    from librarian_protocol.errors import ArgumentInvalid

    roles = [known.value for known in StoreRole]
    if role not in roles:
        raise ArgumentInvalid(f"{role!a} is no role of a store", hint=f"one of: {', '.join(roles)}")
    _show(app, app.client().add_store(os.path.abspath(path), label, StoreRole(role)))


def _show(app: App, shown: api.StoreShown) -> None:
    """A store with its values; as JSON, all of it."""
    from lbctl.app import Format
    from lbctl.output import emit, rows, say

    if app.output is not Format.TABLE:
        emit(app, shown)
        return
    rows(
        app,
        shown.settings,
        ("KEY", "VALUE", "COMES FROM", "OTHERWISE"),
        lambda setting: (setting.key, setting.value, _ORIGINS[setting.origin], setting.configured),
    )
    where = "in site.toml" if shown.origin == "file" else "added by `lbctl store add`"
    say(app, f"{shown.label}: {shown.role}, {shown.path}, {where}; id {shown.id}")
    if shown.reason:
        say(app, f"set since {shown.at}: {shown.reason}")


_ORIGINS = {"set": "lbctl store set", "configured": "site.toml", "default": "default"}


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
    state = store.state + (", inactive" if not store.active else "" if store.ingestable else ", not ingestable")
    return store.label, store.role, state, f"{store.instances:,}", size(store.size_bytes), free, store.path
