"""``lbctl file``: what is known of names, and whether the bytes are right."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples

if TYPE_CHECKING:
    from librarian_client import Client
    from librarian_protocol import api

PAGE = 1000


@click.group(cls=Group, epilog=examples("lbctl file list --match 'obs/**'", "lbctl file show obs/book_1745"))
def file() -> None:
    """Files of the namespace, single files and books."""


@file.command(
    "list",
    epilog=examples(
        "lbctl file list",
        "lbctl file list --match '2026/**/*.fits' --limit 0 -o jsonl",
        "lbctl file list --after obs/book_1745",
    ),
)
@click.option("--match", default="**", show_default=True, metavar="GLOB", help="Names; ** crosses directories.")
@click.option("--after", metavar="NAME", help="Begin behind this name.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(min=0), help="0: all.")
@click.pass_obj
def list_(app: App, match: str, after: str | None, limit: int) -> None:
    """List the files whose names match, by name."""
    from lbctl.output import note, pages

    last: list[str] = []
    pages(app, _pages(app.client(), match, after, limit, last), HEADINGS, _row, empty="no file matches")
    if last:
        note(f"more follow: --after {last[0]!r}, or --limit 0 for all")


HEADINGS = ("NAME", "UNIT", ">SIZE", "ORIGIN", "SITES")


def _row(one: api.FileSummary) -> Sequence[str]:
    from lbctl.shown import size

    sites = "conflict" if one.conflict else ",".join(one.sites) or "nowhere"
    return one.name, one.unit, size(one.size_bytes), one.origin or "-", sites


def _pages(
    client: Client, match: str, after: str | None, limit: int, last: list[str]
) -> Iterator[Sequence[api.FileSummary]]:
    """Pages of at most ``limit`` files together; ``last`` gets the name behind which more follow."""
    left = limit
    while True:
        page = client.files(match, after=after, limit=min(PAGE, left) if limit else PAGE)
        yield page.files
        left -= len(page.files)
        if page.next is None:
            return
        after = page.next
        if limit and left <= 0:
            last.append(page.next)
            return


@file.command("show", epilog=examples("lbctl file show obs/book_1745", "lbctl file show obs/a.fits -o json"))
@click.argument("name")
@click.pass_obj
def show(app: App, name: str) -> None:
    """Show where the instances of a file are, and its transfers."""
    from lbctl.output import emit
    from librarian_protocol.names import Name

    detail = app.client().file(Name.parse(name))
    if app.output is not Format.TABLE:
        emit(app, detail)
        return
    for found in detail.files:
        _show(app, found)
    if detail.conflict:
        print(f"conflict: {len(detail.files)} digests under one name; none is transferred until it is resolved")


def _show(app: App, found: api.FileDetail) -> None:
    from lbctl.output import say, table
    from lbctl.shown import moment, size
    from lbctl.transfer import next_try, state_of

    came = f"ingested {moment(found.ingested_at)} at {found.origin}" if found.origin else "origin not known yet"
    say(app, f"{found.name}   {found.unit}   {size(found.size_bytes)}   {found.digest}   {came}")
    if found.withdrawn:
        say(app, "withdrawn: wanted nowhere, never ingested again")
    if found.instances:
        table(app, ("SITE", "STORE", "STATE", "HOW", "SINCE", "VERIFIED", ""), [_where(one) for one in found.instances])
    else:
        say(app, "no instance anywhere")
    if found.transfers:
        cells = [
            (
                str(one.id),
                one.label,
                one.source_site or "-",
                state_of(one),
                f"{one.attempts}x",
                next_try(one),
                one.message,
            )
            for one in found.transfers
        ]
        table(app, (">TRANSFER", "INTO", "FROM", "STATE", ">TRIED", "NEXT", ""), cells)
        for one in found.transfers:
            if one.hint:
                say(app, f"  hint: {one.hint}")


def _where(one: api.Instance) -> Sequence[str]:
    from lbctl.shown import moment

    how = f"{one.how} from {one.source_site}" if one.source_site else one.how
    store = one.label or one.store[:8]
    return one.site, store, one.state, how, moment(one.at), moment(one.verified_at), one.detail


@file.command(
    "manifest",
    epilog=examples(
        "lbctl file manifest obs/book_1745 | head", "lbctl file manifest obs/book_1745 | b3sum   # the digest"
    ),
)
@click.argument("name")
@click.option("--digest", metavar="DIGEST", help="Which, where the name is in conflict.")
@click.pass_obj
def manifest(app: App, name: str, digest: str | None) -> None:
    """Print a book's manifest, byte for byte, whatever -o says."""
    from librarian_protocol.names import Name

    out = sys.stdout.buffer
    for chunk in app.client().manifest(Name.parse(name), digest):
        out.write(chunk)
    out.flush()


@file.command("verify", epilog=examples("lbctl file verify obs/book_1745", "lbctl file verify a.fits -o json"))
@click.argument("name")
@click.option("--digest", metavar="DIGEST", help="Which, where the name is in conflict.")
@click.pass_obj
def verify(app: App, name: str, digest: str | None) -> int:
    """Read every instance at this site again. Exit 6 if bytes are wrong."""
    from lbctl.output import busy, rows
    from lbctl.shown import size
    from librarian_protocol.errors import ChecksumMismatch, NotFound
    from librarian_protocol.names import Name

    parsed = Name.parse(name)
    with busy(app, f"reading {name} …"):
        results = app.client().verify(parsed, digest)
    if not results:
        raise NotFound(f"no instance of {name!r} at this site", hint=f"`lbctl file show {name}` says where it is")
    rows(
        app,
        results,
        ("NAME", "STORE", "RESULT", ">SIZE", ""),
        lambda one: (one.name, one.label, "right" if one.ok else "WRONG", size(one.size_bytes), one.message),
    )
    return 0 if all(result.ok for result in results) else ChecksumMismatch.exit_code


@file.command(
    "resolve",
    epilog=examples("lbctl file resolve night-0001 --keep 9ac1e2f0", "lbctl file resolve a.dat --keep-from summit"),
)
@click.argument("name")
@click.option("--keep", metavar="DIGEST", help="The file that is to have the name; its first digits will do.")
@click.option("--keep-from", metavar="SITE", help="The file that this site holds.")
@click.pass_obj
def resolve(app: App, name: str, keep: str | None, keep_from: str | None) -> None:
    """Decide a conflict: one file has the name, the others are set aside, kept and served to nobody.

    Only at a site that may admit others. A later decision can turn it round.
    """
    from lbctl.output import emit, say
    from librarian_protocol import api

    found = app.client().resolve(api.Resolve(name=name, keep=keep, keep_from=keep_from))
    if app.output is not Format.TABLE:
        emit(app, found)
        return
    for one in found.files:
        say(app, f"{one.digest}: {'set aside' if one.set_aside else 'has the name'}")
    if found.conflict:
        say(app, "still in conflict: another digest turned up, or decisions differ")
