"""``lbctl site``: the mesh, and joining it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples
from lbctl.failure import usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_client import Client
    from librarian_protocol import api

JOIN_FILE = "join.token"
#: Seconds between looks at how a join stands.
POLL_S = 0.5

HEADINGS = ("SITE", "ACCESS", "DOMAIN", "GRANTS", "FINGERPRINT", "ADMITTED BY", "ADAPTERS", "SOFTWARE", "LAST HEARD")


@click.group(cls=Group, epilog=examples("lbctl site list", "lbctl site invite", "lbctl site join lb1.eyJ…"))
def site() -> None:
    """Sites of the mesh."""


@site.command("list", epilog=examples("lbctl site list", "lbctl site list -o json"))
@click.pass_obj
def list_(app: App) -> None:
    """List the roster. Compare fingerprints with the sites' people."""
    from lbctl.output import rows

    rows(app, app.client().sites(), HEADINGS, row, empty="no sites")


def row(site: api.Site) -> Sequence[str]:
    from lbctl.shown import ago

    # The first of a mesh is admitted by nobody else; a site that is not in the roster has no access.
    admitted = site.admitted_by or ("itself" if site.access else "not yet")
    adapters = ", ".join(site.adapters) or "-"
    heard = "here" if site.here else ago(site.last_heard)
    access = "REVOKED" if site.revoked is not None else site.access or "-"
    grants = ", ".join(site.grants) or "-"
    rights = f"{access}, admits" if site.may_admit else access
    return (
        site.site,
        rights,
        site.domain or "-",
        grants,
        site.fingerprint,
        admitted,
        adapters,
        site.software or "-",
        heard,
    )


ACCESS = click.Choice(["full", "callback", "witness"])


@site.command(
    "invite",
    epilog=examples(
        "lbctl site invite",
        "lbctl site invite --expires-s 600 > token",
        "lbctl site invite --access callback --domain campus --grant 'derived/**' --confirm",
    ),
)
@click.option("--expires-s", default=86400, type=click.IntRange(60), metavar="SECONDS", help="How long it is good.")
@click.option("--access", default="full", show_default=True, type=ACCESS, help="What the newcomer may read.")
@click.option("--domain", default="", metavar="LABEL", help="Its failure domain. [its name]")
@click.option("--grant", "grants", multiple=True, metavar="GLOB", help="What it may ingest; repeatable. [**]")
@click.option("--may-admit", is_flag=True, help="It may admit others, and decide conflicts.")
@click.option("--confirm", is_flag=True, help="It waits until `lbctl site confirm`.")
@click.pass_obj
def invite(
    app: App, expires_s: int, access: str, domain: str, grants: tuple[str, ...], may_admit: bool, confirm: bool
) -> None:
    """Print an invite token, alone, on stdout. It is a secret, and good once."""
    from lbctl.output import emit, note
    from lbctl.shown import moment
    from librarian_protocol import api

    made = app.client().invite(
        api.InviteTerms(
            expires_s=expires_s,
            access=access,
            domain=domain,
            grants=list(grants) or ["**"],
            may_admit=may_admit,
            confirm=confirm,
        )
    )
    if app.output is not Format.TABLE:
        emit(app, made)
        return
    note(f"invited by {made.inviter}, fingerprint {made.fingerprint}; good once, until {moment(made.expires_at)}")
    note("at the new site: lbctl site join TOKEN")
    if confirm:
        note("then here: lbctl site pending; compare the fingerprint; lbctl site confirm")
    print(made.token)


@site.command("pending", epilog=examples("lbctl site pending", "lbctl site pending -o json"))
@click.pass_obj
def pending(app: App) -> None:
    """List newcomers that wait until a person has compared their fingerprint."""
    from lbctl.output import rows

    headings = ("SITE", "FINGERPRINT")
    rows(app, app.client().pending(), headings, lambda joiner: (joiner.site, joiner.fingerprint), empty="nobody waits")


@site.command(
    "confirm",
    epilog=examples("lbctl site confirm campus 4100-4f18-8e4f-de77", "lbctl site confirm campus 4100-4f18-8e4f-de77"),
)
@click.argument("name")
@click.argument("fingerprint")
@click.pass_obj
def confirm(app: App, name: str, fingerprint: str) -> None:
    """Admit a newcomer whose people told you this fingerprint (`lbctl site list` there shows it)."""
    from lbctl.output import emit, say

    found = app.client().confirm(name, fingerprint)
    if app.output is not Format.TABLE:
        emit(app, found)
        return
    say(app, f"{found.site} is admitted when it asks again, within a second or two")


@site.command(
    "set",
    epilog=examples(
        "lbctl site set campus --grant 'derived/**' --grant 'notes/**'", "lbctl site set vault --may-admit"
    ),
)
@click.argument("name")
@click.option("--access", type=ACCESS, help="What it may read.")
@click.option("--domain", metavar="LABEL", help="Its failure domain.")
@click.option("--grant", "grants", multiple=True, metavar="GLOB", help="What it may ingest; repeatable.")
@click.option("--may-admit/--may-not-admit", default=None, help="Whether it may admit others, and decide conflicts.")
@click.pass_obj
def set_(
    app: App, name: str, access: str | None, domain: str | None, grants: tuple[str, ...], may_admit: bool | None
) -> None:
    """Change what a site may do; only at the site that admitted it. Options that are not given stay as they are."""
    from librarian_protocol import api

    change = api.SiteChange(site=name, access=access, domain=domain, grants=list(grants) or None, may_admit=may_admit)
    if not any(value is not None for value in (access, domain, change.grants, may_admit)):
        raise usage("say what is to be changed")
    _show(app, app.client().change_site(change))


@site.command(
    "revoke",
    epilog=examples(
        "lbctl site revoke campus --reason 'its disk was sold'",
        "lbctl site revoke campus --reason 'break-in on Monday' --cutoff 0f1e2d3c4b5a6978:1204",
    ),
)
@click.argument("name")
@click.option("--reason", required=True, metavar="TEXT", help="Why; everybody sees it.")
@click.option(
    "--cutoff",
    "cutoffs",
    multiple=True,
    metavar="INCARNATION:SEQ",
    help="The last entry of it that is believed; repeatable: of each branch. [all that counts here now]",
)
@click.pass_obj
def revoke(app: App, name: str, reason: str, cutoffs: tuple[str, ...]) -> None:
    """Remove a site from the mesh: it is not read, not answered and does not count; its live link is cut.

    Its journal counts up to the cut-offs; nothing else that its keys ever sign counts.
    """
    from librarian_protocol import api

    _show(app, app.client().revoke_site(api.SiteEnd(site=name, reason=reason, cutoffs=list(cutoffs))))


@site.command(
    "readmit",
    epilog=examples(
        "lbctl site readmit campus",
        "lbctl site readmit campus --key ed25519:… --cutoff 0f1e2d3c4b5a6978:1204",
    ),
)
@click.argument("name")
@click.option("--key", metavar="KEY", help="Its new public key: the present one ends.")
@click.option(
    "--cutoff",
    "cutoffs",
    multiple=True,
    metavar="INCARNATION:SEQ",
    help="The last entry that is believed under former keys; repeatable: of each branch. [all that counts here now]",
)
@click.pass_obj
def readmit(app: App, name: str, key: str | None, cutoffs: tuple[str, ...]) -> None:
    """Readmit a site that was revoked, that lost its key, or that equivocated.

    With another key its bus keys are void too: invite it, and it joins by the token. Without options, former keys that
    an earlier version forgot are named again.
    """
    from librarian_protocol import api

    _show(app, app.client().readmit_site(api.SiteEnd(site=name, key=key, cutoffs=list(cutoffs))))


@site.command("tips", epilog=examples("lbctl site tips campus", "lbctl site tips campus -o json"))
@click.argument("name")
@click.pass_obj
def tips(app: App, name: str) -> None:
    """List the tips of a site's journal that count here: the values for `--cutoff`, with the hash for an admin
    statement.
    """
    from lbctl.output import rows

    headings = ("INCARNATION:SEQ", "HASH")
    rows(
        app,
        app.client().site_tips(name),
        headings,
        lambda tip: (f"{tip.incarnation}:{tip.seq}", tip.hash),
        empty="nothing of its journal counts here",
    )


@site.command("rekey", epilog=examples("lbctl site rekey", "lbctl site rekey && systemctl restart lbd"))
@click.pass_obj
def rekey(app: App) -> None:
    """Make a new key for this site. The daemon changes to it at its next start, and tells the others."""
    import secrets

    from lbctl.init import write_key
    from lbctl.output import note, say
    from librarian_protocol.errors import NotPossible
    from librarian_protocol.keys import SiteKey, fingerprint

    path = app.location().state / "keys" / "site.key.next"
    if path.exists():
        raise NotPossible(f"{path} waits already", hint="restart the daemon: it goes over to it")
    seed = secrets.token_bytes(32)
    write_key(path, seed)
    say(app, f"new key {fingerprint(SiteKey(seed).public)} in {path}")
    note("next: restart the daemon; it signs the change with the old key, then goes on with the new one")


def _show(app: App, found: Sequence[api.Site]) -> None:
    from lbctl.output import note, rows

    rows(app, list(found), HEADINGS, row, empty="no sites")
    if app.output is not Format.TABLE:
        return
    for site in found:
        for line in ended(site):
            note(line)


def ended(site: api.Site) -> list[str]:
    """What counts of a site of which a key ended, in words."""
    if site.revoked is None and not site.tips and not site.entries_beyond:
        return []
    upto = ", ".join(site.tips) or ("nothing" if site.entries_beyond else "all that it said")
    lines = [f"believed under keys that ended, with what it is built on: {upto}"]
    if site.entries_beyond:
        lines.append(
            f"held here and not believed: {site.entries_beyond} entries in {site.segments_beyond} segments;"
            f" `lbctl events tail --site {site.site} --after 0 --no-follow` lists all"
        )
    return lines


@site.command(
    "join",
    epilog=examples("lbctl site join lb1.eyJ…", "lbctl site join - < token", "lbctl site join lb1.eyJ… --no-wait"),
)
@click.argument("token")
@click.option("--fingerprint", metavar="FINGERPRINT", help="What the inviter's people told you; refuse another.")
@click.option("--yes", is_flag=True, help="Do not ask whether the fingerprint is right.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the inviter has answered.")
@click.option("--timeout-s", default=60.0, show_default=True, metavar="SECONDS", help="How long to wait.")
@click.pass_obj
def join(app: App, token: str, fingerprint: str | None, yes: bool, no_wait: bool, timeout_s: float) -> int:
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
    _check_inviter(found.inviter, found.key, fingerprint, yes=yes or token == "-")
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


def _check_inviter(inviter: str, key: str, wanted: str | None, *, yes: bool) -> None:
    """Have the inviter's fingerprint confirmed, by the option or by whoever sits there."""
    from lbctl.output import note
    from librarian_protocol.errors import NotPossible
    from librarian_protocol.keys import fingerprint

    shown = fingerprint(key)
    if wanted is not None and wanted != shown:
        raise NotPossible(
            f"the token is of {inviter}, fingerprint {shown}, not {wanted}", hint="was it altered? ask for another"
        )
    note(f"inviter: {inviter}, fingerprint {shown}")
    if wanted is None and not yes and sys.stdin.isatty() and not click.confirm("is that what its people told you?"):
        raise NotPossible("the fingerprint was not confirmed", hint="`lbctl site list` at the inviter shows it")


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
    if state is None and any(site.here and site.admitted_by for site in client.sites()):
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
    say(app, f"this site's fingerprint, for its people: {state.own_fingerprint}")
    say(app, "the daemon goes on asking; lbctl status shows when it is answered")
    return BusUnavailable.exit_code if waited else 0
