"""``lbctl incident``: incidents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from librarian_client import Client
    from librarian_protocol import api

#: Incidents asked for at once.
PAGE = 1000
STATES = ("open", "acknowledged", "resolved")
HEADINGS = (">ID", "STATE", "SEVERITY", "CODE", "ABOUT", ">TIMES", "SINCE", "MESSAGE")


@click.group(cls=Group, epilog=examples("lbctl incident list", 'lbctl incident ack 12 --note "disk is on its way"'))
def incident() -> None:
    """Incidents: what an operator must know."""


@incident.command("list", epilog=examples("lbctl incident list", "lbctl incident list --all --code intake-refused"))
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--all", "all_", is_flag=True, help="Those that are over, too.")
@click.option("--code", metavar="CODE", help="Only those of this code.")
@click.option("--after", type=int, metavar="ID", help="Begin behind this one.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=0), help="0: all.")
@click.pass_obj
def list_(app: App, state: str | None, all_: bool, code: str | None, after: int | None, limit: int) -> None:
    """List incidents that are not over, newest first."""
    from lbctl.output import note, pages

    last: list[int] = []
    over = bool(all_ or state)
    found = _pages(app.client(), state, code, after, limit, last, over=over)
    pages(app, found, HEADINGS, _row, empty="no incidents")
    if last:
        note(f"more follow: --after {last[0]}, or --limit 0 for all")


def _pages(
    client: Client, state: str | None, code: str | None, after: int | None, limit: int, last: list[int], *, over: bool
) -> Iterator[Sequence[api.Incident]]:
    """Pages of at most ``limit`` incidents together; ``last`` gets the id behind which more follow."""
    left = limit
    while True:
        page = client.incidents(state, code, after=after, limit=PAGE)
        shown = [incident for incident in page.incidents if over or incident.state != "resolved"]
        if limit and len(shown) > left:
            shown = shown[:left]
            last.append(shown[-1].id)
        if shown:
            yield shown
        left -= len(shown)
        if page.next is None or last:
            return
        after = page.next


def _row(incident: api.Incident) -> Sequence[str]:
    from lbctl.shown import ago

    return (
        str(incident.id),
        incident.state,
        incident.severity,
        incident.code,
        incident.subject,
        f"{incident.count:,}x",
        ago(incident.opened_at),
        incident.message,
    )


@incident.command("show", epilog=examples("lbctl incident show 12", "lbctl incident show 12 -o json"))
@click.argument("id", type=int)
@click.pass_obj
def show(app: App, id: int) -> None:  # noqa: A002 - the word of the API
    """Show one incident: what it means, and what to do."""
    _tell(app, app.client().incident(id))


@incident.command(
    "ack",
    epilog=examples(
        "lbctl incident ack 12",
        'lbctl incident ack 12 13 --note "the disk is replaced tomorrow"',
        "lbctl incident ack --code intake-refused",
    ),
)
@click.argument("ids", type=int, nargs=-1, metavar="[ID...]")
@click.option("--code", metavar="CODE", help="All that are open of this code.")
@click.option("--all", "all_", is_flag=True, help="All that are open.")
@click.option("--note", default="", metavar="TEXT", help="What is to be remembered about it.")
@click.pass_obj
def ack(app: App, ids: tuple[int, ...], code: str | None, all_: bool, note: str) -> None:
    """Acknowledge incidents: they no longer make `lbctl status` fail.

    An incident that does not end by itself is then over; if it happens again, that is a new incident.
    """
    from librarian_protocol import api

    if sum((bool(ids), bool(code), all_)) != 1:
        raise click.UsageError("say which: ID..., --code CODE or --all")
    client = app.client()
    if code or all_:
        _tell_many(app, api.Acknowledged(incidents=client.acknowledge_many(code, note)))
    for incident in ids:
        _tell(app, client.acknowledge(incident, note))


def _tell_many(app: App, done: api.Acknowledged) -> None:
    from lbctl.output import emit
    from lbctl.shown import count

    if app.output is Format.TABLE:
        print(f"{count(done.incidents, 'incident')} acknowledged")
    else:
        emit(app, done)


def _tell(app: App, incident: api.Incident) -> None:
    from lbctl.output import emit, say
    from lbctl.shown import ago, moment

    if app.output is not Format.TABLE:
        emit(app, incident)
        return
    say(app, f"incident {incident.id}   {incident.code}   {incident.subject}   {incident.severity}, {incident.state}")
    say(app, f"  {incident.title}: {incident.message}")
    times = f"{incident.count:,}x, last {ago(incident.last_at)}" if incident.count > 1 else "once"
    say(app, f"  since {moment(incident.opened_at)}, {times}")
    if incident.acknowledged_at:
        say(app, f"  acknowledged {moment(incident.acknowledged_at)}{': ' if incident.note else ''}{incident.note}")
    if incident.resolved_at:
        say(app, f"  over since {moment(incident.resolved_at)}")
    say(app, f"  {incident.meaning}")
    if incident.hint:
        say(app, f"  hint: {incident.hint}")
    for number, step in enumerate(incident.steps, 1):
        say(app, f"  {number}. {step}")
