"""``lbctl file``: shows and checks files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples

if TYPE_CHECKING:
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
@click.option("--only-here", is_flag=True, help="No other site has a good instance.")
@click.option("--at", metavar="SITE", help="This site has a good instance.")
@click.option("--not-at", metavar="SITE", help="This site has none.")
@click.option("--instances", type=click.IntRange(min=0), metavar="N", help="So many good instances there are.")
@click.option("--bad", is_flag=True, help="Some instance, at any site, was found bad and is not mended yet.")
@click.pass_obj
def list_(
    app: App,
    match: str,
    after: str | None,
    limit: int,
    only_here: bool,
    at: str | None,
    not_at: str | None,
    instances: int | None,
    bad: bool,
) -> None:
    """List the files whose names match, by name."""
    from lbctl.output import note, pages

    last: list[str] = []
    asked = partial(app.client().files, match, only_here=only_here, at=at, not_at=not_at, instances=instances, bad=bad)
    pages(app, _pages(asked, after, limit, last), HEADINGS, _row, empty="no file matches")
    if last:
        note(f"more follow: --after {last[0]!r}, or --limit 0 for all")


HEADINGS = ("NAME", "UNIT", ">SIZE", "ORIGIN", "SITES")


def _row(file: api.FileSummary) -> Sequence[str]:
    from lbctl.shown import size

    sites = "conflict" if file.conflict else ",".join(file.sites) or "nowhere"
    return file.name, file.unit, size(file.size_bytes), file.origin or "-", sites


def _pages(
    files: Callable[..., api.FilePage], after: str | None, limit: int, last: list[str]
) -> Iterator[Sequence[api.FileSummary]]:
    """Pages of at most ``limit`` files together; ``last`` gets the name behind which more follow."""
    left = limit
    while True:
        page = files(after=after, limit=min(PAGE, left) if limit else PAGE)
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
    if found.modified_at:
        say(app, f"modified {moment(found.modified_at)}{', executable' if found.executable else ''}")
    if found.withdrawn:
        say(app, "withdrawn: wanted nowhere, never ingested again")
    if found.instances:
        table(
            app,
            ("SITE", "STORE", "STATE", "HOW", "SINCE", "VERIFIED", ""),
            [_where(instance) for instance in found.instances],
        )
    else:
        say(app, "no instance anywhere")
    if found.transfers:
        cells = [
            (
                str(arrival.id),
                arrival.label,
                arrival.source_site or "-",
                state_of(arrival),
                f"{arrival.attempts}x",
                next_try(arrival),
                arrival.message,
            )
            for arrival in found.transfers
        ]
        table(app, (">TRANSFER", "INTO", "FROM", "STATE", ">TRIED", "NEXT", ""), cells)
        for arrival in found.transfers:
            if arrival.hint:
                say(app, f"  hint: {arrival.hint}")


def _where(instance: api.Instance) -> Sequence[str]:
    from lbctl.shown import moment

    how = f"{instance.how} from {instance.source_site}" if instance.source_site else instance.how
    store = instance.label or instance.store[:8]
    return instance.site, store, instance.state, how, moment(instance.at), moment(instance.verified_at), instance.detail


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


@file.command(
    "verify",
    epilog=examples(
        "lbctl file verify obs/book_1745",
        "lbctl file verify a.fits -o json",
        "lbctl file verify --match '2026/**' --everywhere",
        "lbctl file verify a.fits --everywhere --fresh --wait 1h",
    ),
)
@click.argument("name", required=False)
@click.option("--digest", metavar="DIGEST", help="Which, where the name is in conflict.")
@click.option("--match", metavar="GLOB", help="Names, with --everywhere in place of NAME.")
@click.option("--everywhere", is_flag=True, help="Ask every site that holds the file.")
@click.option("--fresh", is_flag=True, help="With --everywhere: have every byte read now.")
@click.option("--wait", default="5m", show_default=True, metavar="TIME", help="With --everywhere: wait so long.")
@click.pass_obj
def verify(
    app: App, name: str | None, digest: str | None, match: str | None, everywhere: bool, fresh: bool, wait: str
) -> int:
    """Read every instance at this site again. Exit 6 if bytes are wrong.

    With --everywhere each site that holds the file is asked by letter, and says what it found when it read last; with
    --fresh it reads now. Exit 6 if an instance is bad, 1 if some site did not answer; sites that are away are named.
    """
    from lbctl.output import busy, rows
    from lbctl.shown import size
    from librarian_protocol.errors import ArgumentInvalid, ChecksumMismatch, NotFound, StoreError
    from librarian_protocol.names import Name

    if everywhere:
        from lbctl.everywhere import verify_everywhere
        from librarian_protocol import globs, lengths

        if (name is None) == (match is None) or digest is not None:
            raise ArgumentInvalid("give either NAME or --match", hint="all files of a name are asked for")
        wanted = match if match is not None else globs.literal(Name.parse(name or ""))
        return verify_everywhere(app, wanted, fresh=fresh, wait_s=lengths.seconds_of(wait))
    if name is None or match is not None or fresh:
        raise ArgumentInvalid("without --everywhere, give one NAME", hint="lbctl file verify NAME")
    parsed = Name.parse(name)
    with busy(app, f"reading {name} …"):
        results = app.client().verify(parsed, digest)
    if not results:
        raise NotFound(f"no instance of {name!r} at this site", hint=f"`lbctl file show {name}` says where it is")
    rows(
        app,
        results,
        ("NAME", "STORE", "RESULT", ">SIZE", ""),
        lambda result: (result.name, result.label, _result(result), size(result.size_bytes), result.message),
    )
    if any(result.looked and not result.ok for result in results):
        return ChecksumMismatch.exit_code
    return 0 if all(result.ok for result in results) else StoreError.exit_code


def _result(result: api.VerifyResult) -> str:
    return "right" if result.ok else "WRONG" if result.looked else "not looked at"


@file.command(
    "resolve",
    epilog=examples("lbctl file resolve night-0001 --keep 9ac1e2f0", "lbctl file resolve a.dat --keep-from summit"),
)
@click.argument("name")
@click.option("--keep", metavar="DIGEST", help="The file that is to have the name; its first digits will do.")
@click.option("--keep-from", metavar="SITE", help="The file that this site holds.")
@click.pass_obj
def resolve(app: App, name: str, keep: str | None, keep_from: str | None) -> None:
    """Decide a conflict: one file gets the name; the others are set aside, kept, and served to no site.

    Only at a site that may admit others. A later decision can reverse it.
    """
    from lbctl.output import emit, say
    from librarian_protocol import api

    found = app.client().resolve(api.Resolve(name=name, keep=keep, keep_from=keep_from))
    if app.output is not Format.TABLE:
        emit(app, found)
        return
    for file in found.files:
        say(app, f"{file.digest}: {'set aside' if file.set_aside else 'has the name'}")
    if found.conflict:
        say(app, "still in conflict: another digest turned up, or decisions differ")


@file.command(
    "withdraw",
    epilog=examples(
        "lbctl file withdraw raw/a.dat --reason 'taken before it was whole'",
        "lbctl file withdraw raw/a.dat --digest 9ac1e2f0 --reason 'test exposure' --yes",
    ),
)
@click.argument("name")
@click.option("--reason", required=True, metavar="TEXT", help="Why; everybody sees it.")
@click.option("--digest", metavar="DIGEST", help="Which, where there are several; its first digits will do.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def withdraw(app: App, name: str, reason: str, digest: str | None, yes: bool) -> None:
    """Withdraw a file everywhere and for ever. This is an administrator's decision, and final.

    Each holder moves its bytes to .librarian/withdrawn in its store at once, and deletes nothing. Another file may then
    have the name. Only at a site that may admit others.
    """
    from lbctl.output import emit, say
    from librarian_protocol.errors import NotPossible
    from librarian_protocol.names import Name

    if not yes and not (sys.stdin.isatty() and click.confirm(f"withdraw {name} everywhere, for ever?")):
        raise NotPossible("it was not confirmed: a withdrawn file is never ingested again", hint="--yes")
    found = app.client().withdraw(Name.parse(name), reason, digest)
    if app.output is not Format.TABLE:
        emit(app, found)
        return
    for file in found.files:
        if file.withdrawn:
            left = sorted({held.site for held in file.instances if held.state != "removed"})
            still = f"; still at its name at {', '.join(left)}" if left else "; at its name nowhere"
            say(app, f"{file.digest}: withdrawn{still}")


@file.command("heal", epilog=examples("lbctl file heal obs/book_1745", "lbctl file heal a.fits -o json"))
@click.argument("name")
@click.option("--digest", metavar="DIGEST", help="Which, where the name is in conflict.")
@click.pass_obj
def heal(app: App, name: str, digest: str | None) -> int:
    """Read every instance at this site again, and fetch bad ones again. Exit 6 if no other site has a good one.

    If no site has good bytes, the bad ones stay where they are, and good ones that are dropped under the name take
    their place. Bad bytes are kept in .librarian/bad of the store until a later pass has found the instance right.
    """
    from lbctl.output import busy, rows
    from librarian_protocol.errors import ChecksumMismatch
    from librarian_protocol.names import Name

    parsed = Name.parse(name)
    with busy(app, f"reading {name} …"):
        results = app.client().heal(parsed, digest)
    rows(
        app,
        results,
        ("NAME", "STORE", "STATE", ""),
        lambda result: (result.name, result.label, result.state, result.message),
    )
    return 0 if all(result.state in {"right", "fetching"} for result in results) else ChecksumMismatch.exit_code


@file.command(
    "evict",
    epilog=examples(
        "lbctl file evict raw/a.fits --store buffer --dry-run", "lbctl file evict raw/a.fits --store buffer"
    ),
)
@click.argument("name")
@click.option("--store", required=True, metavar="LABEL", help="The store that is to give it up.")
@click.option("--digest", metavar="DIGEST", help="Which, where there are several.")
@click.option("--dry-run", is_flag=True, help="Only look, by what is known here; nobody is asked.")
@click.option("--allow-archive", is_flag=True, help="Also from a store of role archive.")
@click.pass_obj
def evict(app: App, name: str, store: str, digest: str | None, dry_run: bool, allow_archive: bool) -> int:
    """Give up an instance in a store of this site. Exit 11 if it may not go.

    All other sites that have one are asked. If enough good ones are left it goes to trash, and is deleted after
    `[retention] trash` and another question. Until then `lbctl trash restore NAME` puts it back.
    """
    from lbctl.output import busy, rows, say
    from librarian_protocol import api
    from librarian_protocol.errors import NotPossible
    from librarian_protocol.names import Name

    asked = api.Evict(
        name=str(Name.parse(name)), store=store, digest=digest, dry_run=dry_run, allow_archive=allow_archive
    )
    with busy(app, f"asking the others about {name} …"):
        found = app.client().evict(asked)
    rows(
        app,
        [found],
        ("NAME", "STORE", "OUTCOME", "REASON", ""),
        lambda one: (one.name, one.store, one.outcome, one.refusal or "", one.message),
    )
    if app.output is Format.TABLE:
        for line in found.said:
            say(app, f"  {line}")
    return NotPossible.exit_code if found.refusal else 0
