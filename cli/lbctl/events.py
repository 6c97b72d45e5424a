"""``lbctl events``: follow, verify, export and replay journals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api


@click.group(cls=Group, epilog=examples("lbctl events tail", "lbctl events verify"))
def events() -> None:
    """What happened at the sites, from their journals."""


@events.command(
    "tail",
    epilog=examples(
        "lbctl events tail",
        "lbctl events tail --kind 'file.*' --site summit",
        "lbctl events tail --after 0 --no-follow -o jsonl",
    ),
)
@click.option("--site", metavar="SITE", help="Only what this site wrote.")
@click.option("--kind", metavar="GLOB", help="Only these kinds, such as 'file.*'.")
@click.option("--after", type=int, metavar="POSITION", help="Start after this position; 0 is the beginning.")
@click.option("--limit", type=click.IntRange(min=0), help="Stop after so many; 0: all.")
@click.option("--no-follow", is_flag=True, help="Stop at the present; from the beginning unless --after says.")
@click.pass_obj
def tail(app: App, site: str | None, kind: str | None, after: int | None, limit: int | None, no_follow: bool) -> None:
    """Print events as they come, from now on. With -o json, as with jsonl, one event a line."""
    if after is None:
        after = 0 if no_follow else -1
    stream = app.client().events(site=site, kind=kind, after=after, limit=limit, follow=not no_follow)
    for seen, event in enumerate(stream, start=1):
        _print(app, event)
        if limit and seen == limit:
            break


def _print(app: App, event: api.Event) -> None:
    from lbctl.output import say
    from librarian_protocol import wire

    if app.output is not Format.TABLE:
        print(wire.encode(event).decode(), flush=True)
        return
    say(app, f"{event.at}  {event.site:<12}  {event.kind:<22}  {about(event)}")


def about(event: api.Event) -> str:
    """What an event is about, in a few words: the file's name and size, else its fields."""
    import msgspec

    from lbctl.shown import size

    told = msgspec.json.decode(event.entry, type=dict[str, object])
    for key in ("seq", "at", "digest"):
        told.pop(key, None)
    words: list[str] = []
    name = told.pop("name", None)
    if name is not None:
        words.append(str(name))
    size_bytes = told.pop("size_bytes", None)
    if isinstance(size_bytes, int):
        words.append(size(size_bytes))
    for key, value in told.items():
        if isinstance(value, bool):
            words.append(f"{key}={'yes' if value else 'no'}")
        elif isinstance(value, str | int) and value != "":
            words.append(f"{key}={value}")
    return "  ".join(words)


@events.command("verify", epilog=examples("lbctl events verify", "lbctl events verify --site summit -o json"))
@click.option("--site", metavar="SITE", help="Only this site's journal.")
@click.pass_obj
def verify(app: App, site: str | None) -> int:
    """Check signatures, chains and hashes of the journals held here. Exit 6 if one is not whole."""
    from lbctl.output import busy, rows
    from librarian_protocol.errors import ChainBroken

    with busy(app, "checking the journals …"):
        reports = list(app.client().verify_journals(site))
    rows(app, reports, HEADINGS, _row, empty="no journals")
    return ChainBroken.exit_code if any(report.problems for report in reports) else 0


HEADINGS = ("SITE", "RESULT", ">SEGMENTS", ">ENTRIES", ">LAST", "HASH", "")


def _row(report: api.JournalReport) -> Sequence[str]:
    from lbctl.shown import digest

    result = "NOT WHOLE" if report.problems else "whole"
    problems = "; ".join(report.problems)
    segments, entries, last = f"{report.segments:,}", f"{report.entries:,}", f"{report.last_seq:,}"
    return report.site, result, segments, entries, last, digest(report.hash), problems


@events.command("audit", epilog=examples("lbctl events audit", "lbctl events audit --digest"))
@click.option("--digest", "only_digest", is_flag=True, help="Only the digests of the tables as they stand, to compare.")
@click.pass_obj
def audit(app: App, only_digest: bool) -> int:
    """Rebuild the catalog aside from its journals and compare, table by table. Exit 6 if they differ.

    Every signature, hash and chain is checked on the way. Sites that hold the same journals print the same digests.
    """
    return _rebuild(app, ["--digest"] if only_digest else [])


@events.command(
    "replay",
    epilog=examples(
        "lbctl events replay --into sqlite:////tmp/again.sqlite",
        "lbctl events replay --into postgresql://lb@localhost/again",
        "lbctl events replay --from journals.zst --anchor 4100-4f18-8e4f-de77 --into sqlite:////tmp/again.sqlite",
    ),
)
@click.option("--into", required=True, metavar="URL", help="An empty database: sqlite:///FILE or postgresql://….")
@click.option("--from", "source", metavar="FILE", help="An exported file instead of the journals held here.")
@click.option("--anchor", metavar="FINGERPRINT", help="With --from: of the site where belief begins.")
@click.option("--administrator", metavar="FINGERPRINT", help="With --from: of the administrator; without, none is.")
@click.pass_obj
def replay(app: App, into: str, source: str | None, anchor: str | None, administrator: str | None) -> int:
    """Rebuild a catalog from the journals that are held here, or from an exported file.

    Exit 6 if something is wrong with the journals; it is printed. The sound part is in the catalog all the same.
    """
    from librarian_protocol.errors import ArgumentInvalid

    if (source is None) != (anchor is None):
        raise ArgumentInvalid("--from and --anchor go together: a file cannot vouch for itself")
    if administrator is not None and source is None:
        raise ArgumentInvalid("--administrator goes with --from: the catalog here knows its own")
    arguments = ["--into", into]
    arguments += ["--from", source, "--anchor", anchor] if source and anchor else []
    arguments += ["--administrator", administrator] if administrator else []
    return _rebuild(app, arguments)


def _rebuild(app: App, arguments: list[str]) -> int:
    """Run the daemon's own program for it; it needs no running daemon, only its database."""
    import json
    import subprocess
    import sys

    from lbctl.output import emit, say, table

    done = subprocess.run(
        [sys.executable, "-m", "librarian_daemon.journal.audit", "--config", str(app.config_path), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if not done.stdout:
        return done.returncode
    report = json.loads(done.stdout)
    if app.output is not Format.TABLE:
        emit(app, report)
        return done.returncode
    rows = [
        (
            compared["table"],
            f"{compared['rows']:,}",
            compared["digest"][:32],
            _same(compared["digest"], compared["rebuilt"]),
        )
        for compared in report["tables"]
    ]
    table(app, ("TABLE", ">ROWS", "DIGEST", "REBUILT"), rows)
    for compared in report["tables"]:
        for line in compared["differences"]:
            say(app, f"  {compared['table']}: {line}")
    for problem in report["problems"]:
        say(app, f"  ! {problem}")
    for left_out in report["left_out"]:
        say(app, f"  - {left_out}")
    return done.returncode


def _same(digest: str, rebuilt: str | None) -> str:
    return "-" if rebuilt is None else "the same" if rebuilt == digest else "DIFFERENT"


@events.command(
    "export", epilog=examples("lbctl events export journals.zst", "lbctl events export --site summit - > summit.zst")
)
@click.argument("file")
@click.option("--site", metavar="SITE", help="Only this site's journal; the roster's are needed to verify it.")
@click.pass_obj
def export(app: App, file: str, site: str | None) -> None:
    """Write the journals held here to a file that anybody can verify; '-' is stdout."""
    from lbctl.exporting import write_export
    from lbctl.output import note

    count = write_export(app.client(), file, site)
    note(f"{count:,} segments; the format: docs/export-format.md")


@events.command("import", epilog=examples("lbctl events import journals.zst", "lbctl events import - < journals.zst"))
@click.argument("file")
@click.pass_obj
def import_(app: App, file: str) -> int:
    """Import the journals of an exported file, as if they had come over the bus. Exit 6 if some segments are refused.

    Segments that are held already change nothing. An import that was interrupted can be repeated.
    """
    from collections import Counter

    from lbctl.exporting import pages, reading_from
    from lbctl.output import emit, say
    from librarian_protocol.exports import ExportReader, records

    client, verdicts, problems = app.client(), Counter[str](), list[str]()
    with reading_from(file) as raw:
        for page in pages(records(raw, ExportReader())):
            taken = client.take_journal(page)
            verdicts.update(taken.verdicts)
            problems += taken.problems
    if app.output is not Format.TABLE:
        emit(app, {"verdicts": dict(verdicts), "problems": problems[:20]})
    words = {
        "apply": "new",
        "ignore": "known already",
        "hold": "waiting for segments before them",
        "refused": "refused",
        "ended": "signed with a key that had ended: they do not count",
        "aside": "signed with a key that ended: they wait for the segment at which it ended",
        "equivocation": "different from a known segment with the same number: NOT BELIEVED",
        "broken": "not continuing their predecessor: NOT BELIEVED",
    }
    for verdict, count in sorted(verdicts.items()):
        say(app, f"{count:,} {words.get(verdict, verdict)}")
    for problem in problems[:20]:
        say(app, f"  ! {problem}")
    return 6 if problems or any(verdicts[bad] for bad in ("equivocation", "broken")) else 0
