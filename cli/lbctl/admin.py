"""``lbctl admin``: what an administrator says with a key that is kept offline."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples
from lbctl.failure import usage

if TYPE_CHECKING:
    from librarian_protocol.entries import Cutoff
    from librarian_protocol.keys import SiteKey


@click.group(cls=Group, epilog=examples("lbctl admin keygen admin.key", "lbctl admin publish statement.json"))
def admin() -> None:
    """What an administrator says with a key that is kept offline."""


@admin.command("keygen", epilog=examples("lbctl admin keygen admin.key", "lbctl admin keygen /media/stick/admin.key"))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def keygen(app: App, file: Path) -> None:
    """Make the administrator's key; needs no daemon and no network."""
    from lbctl.init import write_key
    from lbctl.output import emit, note
    from librarian_protocol.errors import NotPossible
    from librarian_protocol.keys import SiteKey, fingerprint

    if file.exists():
        raise NotPossible(f"{file} is there already: nothing was changed", hint="choose another place")
    seed = secrets.token_bytes(32)
    write_key(file, seed)
    public = SiteKey(seed).public
    if app.output is not Format.TABLE:
        emit(app, {"public": public, "fingerprint": fingerprint(public)})
        return
    note(f"fingerprint {fingerprint(public)}; keep {file} offline. At the first site, in site.toml:")
    print(f'[mesh]\nadministrator = "{public}"')


@admin.command(
    "statement",
    epilog=examples(
        "lbctl admin statement --key admin.key --mesh 96e0… --number 1 --revoke --site campus --site-key ed25519:… "
        "--cutoff 0f1e2d3c4b5a6978:1204:9ac1… --reason 'break-in' > statement.json",
        "lbctl admin statement --key admin.key --mesh 96e0… --number 2 --admit --site campus --site-key ed25519:… "
        "--leaf U… --former ed25519:… --cutoff 0f1e2d3c4b5a6978:1204:9ac1… > statement.json",
    ),
)
@click.option("--key", "key_file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Its file.")
@click.option("--mesh", required=True, metavar="ID", help="The mesh, as `lbctl status -o json` shows it.")
@click.option("--number", required=True, type=click.IntRange(1), help="Greater than all before: the greatest counts.")
@click.option("--admit/--revoke", required=True, default=None, help="What is said.")
@click.option("--site", required=True, metavar="NAME", help="Of which site.")
@click.option("--site-key", required=True, metavar="KEY", help="Its public key from now on; when revoked, its last.")
@click.option("--former", multiple=True, metavar="KEY", help="A key that counts up to the cut-off; repeatable.")
@click.option(
    "--cutoff",
    "cutoffs",
    multiple=True,
    metavar="INCARNATION:SEQ:HASH",
    help="The last entry of a segment that is believed, and its hash; repeatable: of each branch.",
)
@click.option("--nothing", is_flag=True, help="With --revoke: nothing that it ever said is believed.")
@click.option("--access", default="full", show_default=True, type=click.Choice(["full", "callback", "witness"]))
@click.option("--domain", default="", metavar="LABEL", help="Its failure domain. [its name]")
@click.option("--grant", "grants", multiple=True, metavar="GLOB", help="What it may ingest; repeatable. [**]")
@click.option("--leaf", metavar="NKEY", help="The bus key of its own server, as its admission has it.")
@click.option("--bus", multiple=True, metavar="NKEY", help="Its bus keys at another's server; given twice.")
@click.option("--no-bus", is_flag=True, help="It has no bus key: it is cut off, or comes by an external bus.")
@click.option("--may-admit", is_flag=True, help="It may admit others.")
@click.option("--reason", default="", metavar="TEXT", help="Why it is revoked.")
def statement(
    key_file: Path,
    mesh: str,
    number: int,
    admit: bool,
    site: str,
    site_key: str,
    former: tuple[str, ...],
    cutoffs: tuple[str, ...],
    nothing: bool,
    access: str,
    domain: str,
    grants: tuple[str, ...],
    leaf: str | None,
    bus: tuple[str, ...],
    no_bus: bool,
    may_admit: bool,
    reason: str,
) -> None:
    """Print a signed statement about a site; needs no daemon and no network. It overrides what sites say."""
    from librarian_protocol import globs, wire
    from librarian_protocol.entries import Access, SiteAdmitted, SiteRevoked, kind_of
    from librarian_protocol.keys import is_public_key
    from librarian_protocol.names import SiteName
    from librarian_protocol.roster import sign

    for key in (site_key, *former):
        if not is_public_key(key):
            raise usage(f"{key!a} is not a public key: ed25519:<64 hex digits>")
    for grant in grants:
        globs.check(grant)
    name = SiteName.parse(site)
    tips = [_cutoff(text) for text in cutoffs]
    if admit and former and not tips:
        raise usage("--former needs a --cutoff: up to where a former key is believed")
    entry: SiteAdmitted | SiteRevoked
    if admit:
        if (leaf is not None) + bool(bus) + no_bus != 1 or len(bus) not in {0, 2}:
            raise usage(
                "an admission needs the site's bus keys, or it is cut off: --leaf NKEY, or --bus NKEY twice, as its "
                "site.admitted has them (`lbctl events tail --no-follow --kind site.admitted -o json`); "
                "--no-bus where it has none"
            )
        entry = SiteAdmitted(
            site=name,
            key=site_key,
            access=Access(access),
            domain=domain or site,
            grants=list(grants) or ["**"],
            bus=list(bus),
            leaf=leaf,
            may_admit=may_admit,
            tips=tips if former else None,
            former=list(former),
            statement=number,
        )
    else:
        if not reason:
            raise usage("a revocation needs a --reason")
        if bool(tips) == nothing:
            raise usage(
                "a revocation says up to where the site is believed: --cutoff, as `lbctl site tips NAME` prints them"
                " where its journal is held; or --nothing"
            )
        entry = SiteRevoked(
            site=name,
            key=site_key,
            former=list(former),
            domain=domain or site,
            grants=list(grants) or ["**"],
            reason=reason,
            tips=tips,
            statement=number,
        )
    signed = sign(mesh, entry, _read_key(key_file))
    print(wire.encode({"kind": kind_of(signed), "entry": signed}).decode())


@admin.command("publish", epilog=examples("lbctl admin publish FILE", "lbctl admin publish - < FILE"))
@click.argument("file", type=click.Path(allow_dash=True, path_type=Path))
@click.pass_obj
def publish(app: App, file: Path) -> None:
    """Publish a signed statement through this site's daemon. Any site can do it."""
    import msgspec

    from lbctl.output import rows
    from lbctl.site import HEADINGS, row
    from librarian_protocol import api
    from librarian_protocol.errors import ArgumentInvalid

    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        body = msgspec.json.decode(raw, type=api.Statement)
    except msgspec.MsgspecError as exc:
        raise ArgumentInvalid(f"this is no statement: {exc}", hint="`lbctl admin statement` makes one") from exc
    rows(app, app.client().publish_statement(body), HEADINGS, row, empty="no sites")


def _cutoff(text: str) -> Cutoff:
    from librarian_protocol.entries import Cutoff

    parts = text.split(":")
    if len(parts) != 3 or not parts[1].isdecimal():
        raise usage(f"--cutoff is INCARNATION:SEQ:HASH, not {text!a}")
    return Cutoff(incarnation=parts[0], seq=int(parts[1]), hash=parts[2])


def _read_key(path: Path) -> SiteKey:
    from librarian_protocol.errors import ConfigInvalid
    from librarian_protocol.keys import SiteKey

    try:
        return SiteKey(bytes.fromhex(path.read_text().strip()))
    except (OSError, ValueError) as exc:
        raise ConfigInvalid(f"{path} holds no key: {exc}", hint="`lbctl admin keygen` makes one") from exc
