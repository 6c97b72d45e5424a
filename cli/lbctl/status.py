"""``lbctl status``: is everything all right?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Command, Format, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api

#: Order in which states of transfers are told; those that need a person last.
STATES = ("wanted", "reserved", "fetching", "landed", "stored", "cancelled", "waiting", "parked")
#: How many waiting things of a drop directory are named.
NAMED = 5


@click.command(cls=Command, epilog=examples("lbctl status", "lbctl status -w", "lbctl status -o json"))
@click.option("-w", "--watch", is_flag=True, help="Again and again, until interrupted.")
@click.option("--every-s", default=2.0, show_default=True, metavar="SECONDS", help="With --watch: how often.")
@click.pass_obj
def status(app: App, watch: bool, every_s: float) -> int:
    """Show peers, stores, intake, transfers and what is wrong. Exit 1 if something is."""
    from lbctl.failure import tell
    from librarian_protocol.errors import DaemonUnreachable

    client = app.client()
    if not watch:
        return _print(app, client.status())
    while True:
        if app.output is Format.TABLE:
            click.clear()  # does nothing where stdout is no terminal
        try:
            _print(app, client.status())
        except DaemonUnreachable as exc:
            tell(app, exc)
        time.sleep(every_s)


def _print(app: App, found: api.Status) -> int:
    from lbctl.output import emit

    if app.output is Format.TABLE:
        _tell(app, found)
    else:
        emit(app, found)
    return 0 if found.healthy else 1


def _tell(app: App, found: api.Status) -> None:
    from lbctl import store
    from lbctl.output import say, table
    from lbctl.shown import ago

    say(app, f"{found.site}   mesh {found.mesh[:8] or '-'}   lbd {found.software}   started {ago(found.started_at)}")
    say(app, _bus(found.bus))
    journal = found.journal
    say(app, f"journal: {journal.seq:,} entries, epoch {journal.epoch}; {_unsent(journal.outbox)}")
    if found.page:
        say(app, f"page: {found.page}")
    if found.peers:
        print()
        table(app, PEERS, [_peer(one) for one in found.peers])
    if found.stores:
        print()
        table(app, store.HEADINGS, [store.row(one) for one in found.stores])
    if found.intake:
        print()
        table(
            app,
            ("DROP DIRECTORY", "UNIT", "STATE", ">ACCEPTED", ">REFUSED", ">WAITING", ""),
            [_intake(one) for one in found.intake],
        )
        for one in found.intake:
            for item in one.waiting_items[:NAMED]:
                say(app, f"  waits: {item.name}: {item.reason}")
            if len(one.waiting_items) > NAMED:
                say(app, f"  waits: {len(one.waiting_items) - NAMED} more in {one.path}")
    print()
    say(app, f"transfers: {_transfers(found.transfers)}")
    for problem in found.problems:
        _problem(app, problem)
    say(app, _summary(found))


def _bus(bus: api.BusStatus) -> str:
    state = "connected" if bus.connected else "NOT CONNECTED"
    version = f"nats-server {bus.server_version}" if bus.server_version else ""
    return "bus: " + ", ".join(word for word in (state, bus.mode, bus.url, version, bus.detail) if word)


def _unsent(outbox: int) -> str:
    from lbctl.shown import count

    return f"{count(outbox, 'segment')} not sent yet" if outbox else "all sent"


PEERS = ("PEER", "STATE", "LINK", "ACCESS", "LAST HEARD", ">APPLIED", ">OWED", ">LAG", ">RATE", ">CATCH-UP")


def _peer(one: api.PeerStatus) -> Sequence[str]:
    from lbctl.shown import ago, count, duration, size

    state = f"STALLED: {one.stalled}" if one.stalled else "ok"
    link = one.link if one.link != "down" else f"DOWN {ago(one.link_since).removesuffix(' ago')}: {one.link_detail}"
    owed = f"{count(one.owed_files, 'file')} ({size(one.owed_bytes)})" if one.owed_files else "-"
    return (
        one.site,
        state,
        link,
        one.access,
        ago(one.last_heard),
        f"{one.seq:,}",
        owed,
        duration(one.lag_s) if one.owed_files else "-",
        f"{size(one.rate_bytes_s)}/s" if one.rate_bytes_s else "-",
        "-" if one.catch_up_s is None else duration(one.catch_up_s),
    )


def _intake(one: api.IntakeStatus) -> Sequence[str]:
    numbers = f"{one.accepted:,}", f"{one.refused:,}", f"{one.waiting:,}"
    return one.path, one.unit, one.state, *numbers, one.detail


def _transfers(by_state: dict[str, int]) -> str:
    known = [state for state in STATES if by_state.get(state)]
    known += sorted(state for state in by_state if state not in STATES and by_state[state])
    return ", ".join(f"{by_state[state]:,} {state}" for state in known) or "none"


def _problem(app: App, problem: api.Problem) -> None:
    from lbctl.output import say
    from lbctl.shown import ago

    times = f" ({problem.count}x)" if problem.count > 1 else ""
    since = f", since {ago(problem.since)}" if problem.since else ""
    subject = f" {problem.subject}" if problem.subject else ""
    mark = "-" if problem.acknowledged else "!"
    number = "" if problem.id is None else f" [{problem.id}{', acknowledged' if problem.acknowledged else ''}]"
    say(app, f"  {mark} {problem.code}{subject}: {problem.message}{times}{since}{number}")
    if problem.hint:
        say(app, f"      hint: {problem.hint}")


def _summary(found: api.Status) -> str:
    from lbctl.shown import count, old

    counts = found.counts
    problems = count(len(found.problems), "problem") if found.problems else "no problems"
    said = [
        f"{problems}{'' if found.healthy else ', NOT HEALTHY'}. {count(counts.files, 'file')}",
        f"{counts.instances_here:,} instances here, {counts.instances_elsewhere:,} elsewhere",
        count(counts.conflicts, "conflict"),
        f"{counts.suspected:,} suspected, {counts.doubted:,} doubted",
    ]
    counted = old(found.counted_at)
    return "; ".join(said) + f"{counted and f'; counted {counted}'}."
