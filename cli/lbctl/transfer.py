"""``lbctl transfer``: bringing files into the stores of this site."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples
from lbctl.failure import usage

if TYPE_CHECKING:
    from librarian_client import Client
    from librarian_protocol import api

PAGE = 1000
STATES = ("wanted", "reserved", "fetching", "landed", "stored", "waiting", "parked", "paused", "cancelled")


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


HEADINGS = (">ID", "NAME", ">SIZE", "FROM", "INTO", "STATE", ">PRIO", ">TRIED", "NEXT", "ETA")
#: States in which something is still to come by itself.
QUEUED = frozenset({"wanted", "reserved", "fetching"})
PRIORITY = click.IntRange(-100, 100)


def _row(transfer: api.FileTransfer) -> Sequence[str]:
    from lbctl.shown import size

    label = transfer.label or transfer.store[:8]
    return (
        str(transfer.id),
        transfer.name,
        size(transfer.size_bytes),
        transfer.source_site or "-",
        label,
        state_of(transfer),
        str(transfer.priority or "-"),
        f"{transfer.attempts}x",
        next_try(transfer),
        eta(transfer),
    )


def state_of(transfer: api.FileTransfer) -> str:
    """``waiting (timeout)``."""
    return f"{transfer.state} ({transfer.reason})" if transfer.reason else transfer.state


def next_try(transfer: api.FileTransfer) -> str:
    """``41s``, or ``-`` where no attempt is planned."""
    from lbctl.shown import duration

    return "-" if transfer.next_try_in_s is None else duration(transfer.next_try_in_s)


def eta(transfer: api.FileTransfer) -> str:
    """``4m10s``; ``unknown`` where nothing was measured; ``-`` where it is not queued."""
    from lbctl.shown import duration

    if transfer.state not in QUEUED:
        return "-"
    return "unknown" if transfer.eta_s is None else duration(transfer.eta_s)


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

    transfer = app.client().transfer(id)
    if app.output is not Format.TABLE:
        emit(app, transfer)
        return
    source = f"{transfer.source_site or 'not begun'} -> {transfer.label or transfer.store}"
    say(app, f"transfer {transfer.id}   {transfer.name}   {transfer.unit}   {size(transfer.size_bytes)}   {source}")
    say(app, f"  {state_of(transfer)} since {moment(transfer.changed_at)}")
    if transfer.waits_for:
        say(app, f"  waits for: {transfer.waits_for}")
    if transfer.moved_bytes:
        say(app, f"  {size(transfer.moved_bytes)} moved by {transfer.adapter or 'an adapter'}")
    if transfer.state in QUEUED:
        why = (
            ""
            if transfer.eta_s is not None
            else ": nothing came from its source in the last minute, or very much goes first"
        )
        say(app, f"  expected in: {eta(transfer)}{why}")
    if transfer.priority:
        say(app, f"  priority {transfer.priority}")
    if transfer.chosen:
        say(app, f"  by {transfer.chosen}")
    if transfer.attempts or transfer.next_try_in_s is not None:
        later = f", again in {next_try(transfer)}" if transfer.next_try_in_s is not None else ""
        say(app, f"  tried {transfer.attempts}x{later}")
    if transfer.message:
        say(app, f"  {transfer.message}")
    if transfer.hint:
        say(app, f"  hint: {transfer.hint}")


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
@click.option("--priority", type=PRIORITY, help="Higher goes first among what is wanted of its source. [0]")
@click.pass_obj
def add(app: App, name: str, from_site: str | None, into: str, digest: str | None, priority: int | None) -> None:
    """Fetch one file into a store of this site, once, whatever the subscriptions say."""
    from lbctl.output import rows
    from librarian_protocol import api

    asked = api.TransferAdd(name=name, digest=digest, from_site=from_site, into=into, priority=priority)
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
    from lbctl.output import rows

    if bool(ids) == all_:
        raise usage("name transfers by id, or --all")
    if reason and not all_:
        raise usage("--reason goes with --all")
    client = app.client()
    if all_:
        rows(app, client.retry_all(reason), HEADINGS, _row, empty="nothing is parked")
        return 0
    return _each(app, ids, client.retry, empty="nothing was retried")


def _each(app: App, ids: Sequence[int], ask: Callable[[int], list[api.FileTransfer]], *, empty: str) -> int:
    """Ask for each; 3 if only some could be."""
    from lbctl.failure import tell
    from lbctl.output import rows
    from librarian_protocol.errors import DaemonUnreachable, LibrarianError

    asked: list[api.FileTransfer] = []
    codes: list[int] = []
    for number in ids:
        try:
            asked += ask(number)
        except DaemonUnreachable:
            raise
        except LibrarianError as exc:
            codes.append(tell(app, exc))
    rows(app, asked, HEADINGS, _row, empty=empty)
    if codes:
        return 3 if asked else codes[0]
    return 0


def _asking(app: App, verb: str, ids: tuple[int, ...], all_: bool) -> int:
    from lbctl.output import rows

    if bool(ids) == all_:
        raise usage("name transfers by id, or --all")
    client = app.client()
    if all_:
        rows(app, client.ask_transfer(verb, None), HEADINGS, _row, empty=f"there is nothing to {verb}")
        return 0
    return _each(app, ids, partial(client.ask_transfer, verb), empty=f"there is nothing to {verb}")


@transfer.command("priority", epilog=examples("lbctl transfer priority 12 13 --to 50"))
@click.argument("ids", type=int, nargs=-1, required=True, metavar="ID...")
@click.option(
    "--to", "priority", type=PRIORITY, required=True, help="Higher goes first; the default of all others is 0."
)
@click.pass_obj
def priority_(app: App, ids: tuple[int, ...], priority: int) -> int:
    """Have transfers go before or after others of their source. Exit 3 if only some could be.

    What is on the wire is not stopped for them, and other sources keep their share of the slots.
    """
    client = app.client()
    return _each(app, ids, lambda number: client.prioritise(number, priority), empty="nothing was changed")


@transfer.command("cancel", epilog=examples("lbctl transfer cancel 12 13", "lbctl transfer cancel --all"))
@click.argument("ids", type=int, nargs=-1, metavar="[ID]...")
@click.option("--all", "all_", is_flag=True, help="Every transfer that is not over; at most 5,000 of each state.")
@click.pass_obj
def cancel(app: App, ids: tuple[int, ...], all_: bool) -> int:
    """Cancel transfers, whatever the subscriptions say, until a person resumes them. Exit 3 if only some could be.

    What is on the wire stops, and what came of it is removed from staging.
    """
    return _asking(app, "cancel", ids, all_)


@transfer.command("pause", epilog=examples("lbctl transfer pause 12 13", "lbctl transfer pause --all"))
@click.argument("ids", type=int, nargs=-1, metavar="[ID]...")
@click.option("--all", "all_", is_flag=True, help="Every transfer that goes on by itself; at most 5,000 of each state.")
@click.pass_obj
def pause(app: App, ids: tuple[int, ...], all_: bool) -> int:
    """Put transfers off until a person resumes them; what came of them is kept. Exit 3 if only some could be."""
    return _asking(app, "pause", ids, all_)


@transfer.command("resume", epilog=examples("lbctl transfer resume 12 13", "lbctl transfer resume --all"))
@click.argument("ids", type=int, nargs=-1, metavar="[ID]...")
@click.option("--all", "all_", is_flag=True, help="Every paused transfer; at most 5,000.")
@click.pass_obj
def resume(app: App, ids: tuple[int, ...], all_: bool) -> int:
    """Have transfers go on that were paused, or that a person cancelled. Exit 3 if only some could be."""
    return _asking(app, "resume", ids, all_)
