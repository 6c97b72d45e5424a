"""``lbctl site``: the mesh, and how a site comes to be in it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_client import Client
    from librarian_protocol import api

JOIN_FILE = "join.token"
#: Seconds between looks at how a join stands.
POLL_S = 0.5

HEADINGS = ("SITE", "ACCESS", "DOMAIN", "FINGERPRINT", "ADMITTED BY", "ADAPTERS", "SOFTWARE", "LAST HEARD")


@click.group(cls=Group, epilog=examples("lbctl site list", "lbctl site invite", "lbctl site join lb1.eyJ…"))
def site() -> None:
    """Sites of the mesh."""


@site.command("list", epilog=examples("lbctl site list", "lbctl site list -o json"))
@click.pass_obj
def list_(app: App) -> None:
    """List the roster. Compare fingerprints with the sites' people."""
    from lbctl.output import rows

    rows(app, app.client().sites(), HEADINGS, _row, empty="no sites")


def _row(one: api.Site) -> Sequence[str]:
    from lbctl.shown import ago

    # The first of a mesh is admitted by nobody else; a site that is not in the roster has no access.
    admitted = one.admitted_by or ("itself" if one.access else "not yet")
    adapters = ", ".join(one.adapters) or "-"
    heard = "here" if one.here else ago(one.last_heard)
    access, domain, software = one.access or "-", one.domain or "-", one.software or "-"
    return one.site, access, domain, one.fingerprint, admitted, adapters, software, heard


@site.command(
    "invite",
    epilog=examples("lbctl site invite", "lbctl site invite --expires-s 600 > token", "lbctl site invite -o json"),
)
@click.option("--expires-s", type=click.IntRange(min=1), metavar="SECONDS", help="How long it is good.")
@click.pass_obj
def invite(app: App, expires_s: int | None) -> None:
    """Print an invite token, alone, on stdout. It is a secret, and good once."""
    from lbctl.output import emit, note
    from lbctl.shown import moment

    made = app.client().invite(expires_s)
    if app.output is not Format.TABLE:
        emit(app, made)
        return
    note(f"invited by {made.inviter}, fingerprint {made.fingerprint}; good once, until {moment(made.expires_at)}")
    note("at the new site: lbctl site join TOKEN")
    print(made.token)


@site.command(
    "join",
    epilog=examples("lbctl site join lb1.eyJ…", "lbctl site join - < token", "lbctl site join lb1.eyJ… --no-wait"),
)
@click.argument("token")
@click.option("--no-wait", is_flag=True, help="Do not wait until the inviter has answered.")
@click.option("--timeout-s", default=60.0, show_default=True, metavar="SECONDS", help="How long to wait.")
@click.pass_obj
def join(app: App, token: str, no_wait: bool, timeout_s: float) -> int:
    """Join the mesh of a token; '-' reads it from stdin.

    It works before the daemon's first start too: the daemon finds the token. Exit 5 if the inviter has not
    answered in time (the daemon goes on asking), 12 if it refused.
    """
    from lbctl.output import busy, note
    from librarian_protocol import tokens
    from librarian_protocol.errors import DaemonUnreachable, LibrarianError, TokenInvalid

    text = (sys.stdin.read() if token == "-" else token).strip()
    found = tokens.decode(text)
    if found.expires <= time.time():
        raise TokenInvalid("the invite token has expired", hint=f"ask {found.inviter} for another")
    location = app.location()
    keep(location.state, text)
    client = app.client()
    try:
        state = client.join(text)
    except DaemonUnreachable:
        note(f"the token is kept in {location.state / JOIN_FILE}: lbd will use it at its start")
        note(f"next: lbd --config {location.config}")
        return 0
    except LibrarianError:
        # The daemon will not have it, and shall not meet it again at its next start.
        (location.state / JOIN_FILE).unlink(missing_ok=True)
        raise
    if not no_wait:
        with busy(app, f"asking {found.inviter} …"):
            state = _settled(client, state, timeout_s)
    return _tell(app, state, waited=not no_wait)


def keep(state: Path, token: str) -> None:
    """Put the token where the daemon finds it, whole or not at all, for its user only."""
    temporary = state / f".{JOIN_FILE}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(state / JOIN_FILE)


def _settled(client: Client, state: api.JoinState, timeout_s: float) -> api.JoinState:
    end = time.monotonic() + timeout_s
    while state.state == "asking" and time.monotonic() < end:
        time.sleep(POLL_S)
        state = standing(client, state)
    return state


def standing(client: Client, asked: api.JoinState) -> api.JoinState:
    """How a join stands that was asked for; the daemon forgets of it when the roster has the site."""
    import msgspec

    state = client.join_state()
    if state is None and any(one.here and one.admitted_by for one in client.sites()):
        return msgspec.structs.replace(asked, state="joined", detail="")
    return state or asked


def _tell(app: App, state: api.JoinState, *, waited: bool) -> int:
    from lbctl.output import emit, say
    from librarian_protocol.errors import BusUnavailable, TokenInvalid

    if app.output is not Format.TABLE:
        emit(app, state)
    if state.state == "refused":
        raise TokenInvalid(
            f"{state.inviter} refused: {state.detail}", hint=f"`lbctl site invite` at {state.inviter} makes a new token"
        )
    if state.state == "joined":
        say(app, f"joined: admitted by {state.inviter}, fingerprint {state.fingerprint}")
        say(app, f"next: lbctl subscription add --from {state.inviter}")
        return 0
    say(app, f"asking {state.inviter}, fingerprint {state.fingerprint}: {state.detail or 'no answer yet'}")
    say(app, "the daemon goes on asking; lbctl status shows when it is answered")
    return BusUnavailable.exit_code if waited else 0
