"""``lbctl transfer``: bringing files into the stores of this site."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples
from lbctl.failure import usage

if TYPE_CHECKING:
    from librarian_client import Client
    from librarian_protocol import api

PAGE = 1000
STATES = ("wanted", "reserved", "fetching", "landed", "stored", "waiting", "parked", "cancelled")


@click.group(cls=Group, epilog=examples("lbctl transfer list --state parked", "lbctl transfer retry --all"))
def transfer() -> None:
    """Transfers into the stores of this site."""


@transfer.command(
    "list",
    epilog=examples(
        "lbctl transfer list", "lbctl transfer list --state waiting", "lbctl transfer list --limit 0 -o jsonl"
    ),
)
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--after", type=int, metavar="ID", help="Begin behind this one.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=0), help="0: all.")
@click.pass_obj
def list_(app: App, state: str | None, after: int | None, limit: int) -> None:
    """List transfers, newest first."""
    from lbctl.output import note, pages

    last: list[int] = []
    pages(app, _pages(app.client(), state, after, limit, last), HEADINGS, _row, empty="no transfers")
    if last:
        note(f"more follow: --after {last[0]}, or --limit 0 for all")


HEADINGS = (">ID", "NAME", ">SIZE", "FROM", "INTO", "STATE", ">TRIED", "NEXT")


def _row(one: api.FileTransfer) -> Sequence[str]:
    from lbctl.shown import size

    label = one.label or one.store[:8]
    return (
        str(one.id),
        one.name,
        size(one.size_bytes),
        one.source_site or "-",
        label,
        state_of(one),
        f"{one.attempts}x",
        next_try(one),
    )


def state_of(one: api.FileTransfer) -> str:
    """``waiting (timeout)``."""
    return f"{one.state} ({one.reason})" if one.reason else one.state


def next_try(one: api.FileTransfer) -> str:
    """``41s``, or ``-`` where no attempt is planned."""
    from lbctl.shown import duration

    return "-" if one.next_try_in_s is None else duration(one.next_try_in_s)


def _pages(
    client: Client, state: str | None, after: int | None, limit: int, last: list[int]
) -> Iterator[Sequence[api.FileTransfer]]:
    """Pages of at most ``limit`` transfers together; ``last`` gets the id behind which more follow."""
    left = limit
    while True:
        page = client.transfers(state, after=after, limit=min(PAGE, left) if limit else PAGE)
        yield page.transfers
        left -= len(page.transfers)
        if page.next is None:
            return
        after = page.next
        if limit and left <= 0:
            last.append(page.next)
            return


@transfer.command("show", epilog=examples("lbctl transfer show 12", "lbctl transfer show 12 -o json"))
@click.argument("id", type=int)
@click.pass_obj
def show(app: App, id: int) -> None:  # noqa: A002 - the word of the API
    """Show one transfer: what it waits for, and what to do."""
    from lbctl.output import emit, say
    from lbctl.shown import moment, size

    one = app.client().transfer(id)
    if app.output is not Format.TABLE:
        emit(app, one)
        return
    source = f"{one.source_site or 'no source yet'} -> {one.label or one.store}"
    say(app, f"transfer {one.id}   {one.name}   {one.unit}   {size(one.size_bytes)}   {source}")
    say(app, f"  {state_of(one)} since {moment(one.changed_at)}")
    if one.moved_bytes:
        say(app, f"  {size(one.moved_bytes)} moved by {one.adapter or 'an adapter'}")
    if one.chosen:
        say(app, f"  by {one.chosen}")
    if one.attempts or one.next_try_in_s is not None:
        later = f", again in {next_try(one)}" if one.next_try_in_s is not None else ""
        say(app, f"  tried {one.attempts}x{later}")
    if one.message:
        say(app, f"  {one.message}")
    if one.hint:
        say(app, f"  hint: {one.hint}")


@transfer.command(
    "add",
    epilog=examples(
        "lbctl transfer add obs/2026/first-light.fits", "lbctl transfer add night-0001 --from summit --into fast"
    ),
)
@click.argument("name")
@click.option("--from", "from_site", metavar="SITE", help="Whom to ask first. [anyone who holds it]")
@click.option("--into", default="", metavar="STORE", help="Label or id of a store. [the first ingestable]")
@click.option("--digest", metavar="DIGEST", help="Which file, where several have the name.")
@click.pass_obj
def add(app: App, name: str, from_site: str | None, into: str, digest: str | None) -> None:
    """Fetch one file into a store of this site, once, whatever the subscriptions say."""
    from lbctl.output import rows
    from librarian_protocol import api

    asked = api.TransferAdd(name=name, digest=digest, from_site=from_site, into=into)
    rows(app, [app.client().add_transfer(asked)], HEADINGS, _row)


@transfer.command(
    "retry",
    epilog=examples(
        "lbctl transfer retry 12 13", "lbctl transfer retry --all", "lbctl transfer retry --all --reason timeout"
    ),
)
@click.argument("ids", type=int, nargs=-1, metavar="[ID]...")
@click.option("--all", "all_", is_flag=True, help="Every parked transfer.")
@click.option("--reason", metavar="REASON", help="With --all: only those parked for it.")
@click.pass_obj
def retry(app: App, ids: tuple[int, ...], all_: bool, reason: str | None) -> int:
    """Try transfers that wait or are parked now. Exit 3 if only some could be."""
    from lbctl.failure import tell
    from lbctl.output import rows
    from librarian_protocol.errors import DaemonUnreachable, LibrarianError

    if bool(ids) == all_:
        raise usage("name transfers by id, or --all")
    if reason and not all_:
        raise usage("--reason goes with --all")
    client = app.client()
    if all_:
        rows(app, client.retry_all(reason), HEADINGS, _row, empty="nothing is parked")
        return 0
    tried: list[api.FileTransfer] = []
    codes: list[int] = []
    for one in ids:
        try:
            tried += client.retry(one)
        except DaemonUnreachable:
            raise
        except LibrarianError as exc:
            codes.append(tell(app, exc))
    rows(app, tried, HEADINGS, _row, empty="nothing was retried")
    if codes:
        return 3 if tried else codes[0]
    return 0
