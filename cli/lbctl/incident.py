"""``lbctl incident``: what happened that somebody must know of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api

STATES = ("open", "acknowledged", "resolved")
HEADINGS = (">ID", "STATE", "SEVERITY", "CODE", "ABOUT", ">TIMES", "SINCE", "MESSAGE")


@click.group(cls=Group, epilog=examples("lbctl incident list", 'lbctl incident ack 12 --note "disk is on its way"'))
def incident() -> None:
    """What happened that somebody must know of."""


@incident.command("list", epilog=examples("lbctl incident list", "lbctl incident list --all --code intake-refused"))
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--all", "all_", is_flag=True, help="Those that are over, too.")
@click.option("--code", metavar="CODE", help="Only those of this code.")
@click.option("--after", type=int, metavar="ID", help="Begin behind this one.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1, max=1000))
@click.pass_obj
def list_(app: App, state: str | None, all_: bool, code: str | None, after: int | None, limit: int) -> None:
    """List incidents that are not over, newest first."""
    from lbctl.output import note, rows

    page = app.client().incidents(state, code, after=after, limit=limit)
    shown = [one for one in page.incidents if all_ or state or one.state != "resolved"]
    rows(app, shown, HEADINGS, _row, empty="no incidents")
    if page.next is not None:
        note(f"more follow: --after {page.next}")


def _row(one: api.Incident) -> Sequence[str]:
    from lbctl.shown import ago

    return (
        str(one.id),
        one.state,
        one.severity,
        one.code,
        one.subject,
        f"{one.count:,}x",
        ago(one.opened_at),
        one.message,
    )


@incident.command("show", epilog=examples("lbctl incident show 12", "lbctl incident show 12 -o json"))
@click.argument("id", type=int)
@click.pass_obj
def show(app: App, id: int) -> None:  # noqa: A002 - the word of the API
    """Show one incident: what it means, and what to do."""
    _tell(app, app.client().incident(id))


@incident.command(
    "ack", epilog=examples("lbctl incident ack 12", 'lbctl incident ack 12 13 --note "the disk is replaced tomorrow"')
)
@click.argument("ids", type=int, nargs=-1, required=True, metavar="ID...")
@click.option("--note", default="", metavar="TEXT", help="What is to be remembered about it.")
@click.pass_obj
def ack(app: App, ids: tuple[int, ...], note: str) -> None:
    """Say that a person has seen it: it no longer makes `lbctl status` fail.

    What has no end of its own is over with that; if it happens again, that is a new incident.
    """
    client = app.client()
    for one in ids:
        _tell(app, client.acknowledge(one, note))


def _tell(app: App, one: api.Incident) -> None:
    from lbctl.output import emit, say
    from lbctl.shown import ago, moment

    if app.output is not Format.TABLE:
        emit(app, one)
        return
    say(app, f"incident {one.id}   {one.code}   {one.subject}   {one.severity}, {one.state}")
    say(app, f"  {one.title}: {one.message}")
    times = f"{one.count:,}x, last {ago(one.last_at)}" if one.count > 1 else "once"
    say(app, f"  since {moment(one.opened_at)}, {times}")
    if one.acknowledged_at:
        say(app, f"  acknowledged {moment(one.acknowledged_at)}{': ' if one.note else ''}{one.note}")
    if one.resolved_at:
        say(app, f"  over since {moment(one.resolved_at)}")
    say(app, f"  {one.meaning}")
    if one.hint:
        say(app, f"  hint: {one.hint}")
    for number, step in enumerate(one.steps, 1):
        say(app, f"  {number}. {step}")
