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
STATES = ("wanted", "reserved", "fetching", "landed", "stored", "cancelled", "paused", "waiting", "parked")
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
    from lbctl import pause, store
    from lbctl.output import say, table
    from lbctl.shown import ago

    say(app, f"{found.site}   mesh {found.mesh[:8] or '-'}   lbd {found.software}   started {ago(found.started_at)}")
    say(app, _bus(found.bus))
    journal = found.journal
    say(app, f"journal: {journal.seq:,} entries, epoch {journal.epoch}; {_unsent(journal.outbox)}")
    if found.page:
        say(app, f"page: {found.page}")
    for held in found.pauses:
        say(app, f"PAUSED: {held.what} {pause.words(held)}")
    if found.peers:
        print()
        table(app, PEERS, [_peer(peer) for peer in found.peers])
        for peer in found.peers:
            for wait in peer.recovering:
                say(app, f"  {peer.site} recovers its catalog, and waits: {wait}")
    if found.stores:
        print()
        table(app, store.HEADINGS, [store.row(row) for row in found.stores])
        for reading in found.scrubs:
            _scrub(app, reading)
    if found.intake:
        print()
        table(
            app,
            ("DROP DIRECTORY", "UNIT", "STATE", ">ACCEPTED", ">REFUSED", ">WAITING", ""),
            [_intake(drop) for drop in found.intake],
        )
        for drop in found.intake:
            for item in drop.waiting_items[:NAMED]:
                say(app, f"  waits: {item.name}: {item.reason}{f' ({item.detail})' if item.detail else ''}")
            if drop.waiting > len(drop.waiting_items[:NAMED]) and drop.waiting_items:
                say(app, f"  waits: {drop.waiting - len(drop.waiting_items[:NAMED]):,} more in {drop.path}")
            if drop.standing_refused:
                say(app, f"  refused: {drop.standing_refused:,} in {drop.path}/.rejected: lbctl rejected list")
            if drop.ignored:
                by_glob = ", ".join(f"{number:,} by {glob}" for glob, number in sorted(drop.ignored.items()))
                say(app, f"  ignored: {by_glob} in {drop.path}: lbctl ignored list")
    print()
    say(app, f"transfers: {_transfers(found.transfers)}")
    for problem in found.problems:
        _problem(app, problem)
    if found.problems_total > len(found.problems):
        say(app, f"  … {found.problems_total - len(found.problems):,} more: lbctl incident list --limit 0")
    say(app, _summary(found))


def _scrub(app: App, reading: api.ScrubStatus) -> None:
    """What a person must know of it."""
    from lbctl.output import say
    from lbctl.shown import duration

    if reading.frozen:
        say(app, f"  FROZEN: {reading.label}: {reading.frozen}: lbctl store thaw {reading.label} --reason TEXT")
    if reading.miss_s:
        say(app, f"  {reading.label} will not be read again in time, by {duration(reading.miss_s)}: lbctl scrub status")


def _bus(bus: api.BusStatus) -> str:
    state = "connected" if bus.connected else "NOT CONNECTED"
    version = f"nats-server {bus.server_version}" if bus.server_version else ""
    return "bus: " + ", ".join(word for word in (state, bus.mode, bus.url, version, bus.detail) if word)


def _unsent(outbox: int) -> str:
    from lbctl.shown import count

    return f"{count(outbox, 'segment')} not sent yet" if outbox else "all sent"


PEERS = ("PEER", "STATE", "LINK", "ACCESS", "LAST HEARD", ">APPLIED", ">OWED", ">LAG", ">RATE", ">CATCH-UP")


def _peer(peer: api.PeerStatus) -> Sequence[str]:
    from lbctl.shown import ago, count, duration, rate, size

    state = f"STALLED: {peer.stalled}" if peer.stalled else "recovers" if peer.recovering else "ok"
    link = peer.link if peer.link != "down" else f"DOWN {ago(peer.link_since).removesuffix(' ago')}: {peer.link_detail}"
    owed = f"{count(peer.owed_files, 'file')} ({size(peer.owed_bytes)})" if peer.owed_files else "-"
    return (
        peer.site,
        state,
        link,
        peer.access,
        ago(peer.last_heard),
        f"{peer.seq:,}",
        owed,
        duration(peer.lag_s) if peer.owed_files else "-",
        rate(peer.rate_bytes_s) if peer.rate_bytes_s else "-",
        "-" if peer.catch_up_s is None else duration(peer.catch_up_s),
    )


def _intake(drop: api.IntakeStatus) -> Sequence[str]:
    numbers = f"{drop.accepted:,}", f"{drop.refused:,}", f"{drop.waiting:,}"
    return drop.path, drop.unit, drop.state, *numbers, drop.detail


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
    number = max(found.problems_total, len(found.problems))
    problems = ("at least " if found.problems_more else "") + count(number, "problem") if number else "no problems"
    said = [
        f"{problems}{'' if found.healthy else ', NOT HEALTHY'}. {count(counts.files, 'file')}",
        f"{counts.instances_here:,} instances here, {counts.instances_elsewhere:,} elsewhere",
        count(counts.conflicts, "conflict"),
        f"{counts.suspected:,} suspected, {counts.doubted:,} doubted",
    ]
    counted = old(found.counted_at)
    return "; ".join(said) + f"{counted and f'; counted {counted}'}."
