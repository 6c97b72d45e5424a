"""``lbctl retention``: what this site gives up by its rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Format, Group, examples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from librarian_protocol import api


@click.group(cls=Group, epilog=examples("lbctl retention list", "lbctl retention plan", "lbctl retention run"))
def retention() -> None:
    """What this site gives up by the rules in its site.toml.

    A rule says what a store would like to give up. Whether an instance may go is decided by asking all other sites that
    have one: enough good instances must be left. What goes stands in trash for a while, then the others read their
    bytes, and only then it is deleted.
    """


@retention.command("list", epilog=examples("lbctl retention list", "lbctl retention list -o json"))
@click.pass_obj
def list_(app: App) -> None:
    """List the rules, and how their present or last pass went."""
    _show(app, app.client().retention())


@retention.command("run", epilog=examples("lbctl retention run"))
@click.pass_obj
def run(app: App) -> None:
    """Begin a pass of every rule now."""
    _show(app, app.client().run_retention())


def _show(app: App, found: Sequence[api.RetentionRule]) -> None:
    from lbctl.output import rows

    rows(
        app,
        found,
        ("STORE", "MATCH", "WHEN", ">LOOKED AT", ">GIVEN UP", ">SIZE", "LAST PASS", "REFUSED"),
        _row,
        empty="no retention rules: nothing is given up, but by hand",
    )


def _row(rule: api.RetentionRule) -> Sequence[str]:
    from lbctl.shown import ago, duration, size

    when = [f"older than {duration(rule.after_s)}"] if rule.after_s is not None else []
    if rule.fuller_than is not None:
        when.append(f"fuller than {rule.fuller_than}%, down to {rule.down_to}%")
    if rule.needs_role:
        when.append(f"one left in an {rule.needs_role}")
    refused = ", ".join(f"{number} {reason}" for reason, number in sorted(rule.refused.items()))
    return (
        rule.store,
        rule.match,
        "; ".join(when),
        f"{rule.looked:,}",
        f"{rule.given_up:,}",
        size(rule.size_bytes),
        "goes on" if rule.ended_at is None else ago(rule.ended_at),
        refused,
    )


@retention.command(
    "plan",
    epilog=examples(
        "lbctl retention plan",
        "lbctl retention plan --store buffer --match 'raw/**' --after 28d",
        "lbctl retention plan --limit 0 -o jsonl",
    ),
)
@click.option("--store", metavar="LABEL", help="Of this store only.")
@click.option("--match", metavar="GLOB", help="What if these were to go, in place of the rules.")
@click.option("--after", metavar="AGE", help="What if those stored so long ago were to go, such as 28d.")
@click.option("--allow-archive", is_flag=True, help="With --match or --after: from stores of role archive, too.")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Files; 0 for all.")
@click.pass_obj
def plan(app: App, store: str | None, match: str | None, after: str | None, allow_archive: bool, limit: int) -> None:
    """Show what would be given up, and why the rest would not. Nobody is asked, nothing is changed.

    By what is known here: whether the others' bytes are still good is only known when they are asked.
    """
    from lbctl.output import listed, note
    from lbctl.shown import size

    sums = [0, 0]

    def items() -> Iterator[api.Planned]:
        for page in app.client().retention_plan(
            store=store, match=match, age=after, allow_archive=allow_archive, limit=min(limit, 1000)
        ):
            for item in page.items:
                if item.refusal is None:
                    sums[0] += 1
                    sums[1] += item.size_bytes
                yield item

    listed(
        app,
        items(),
        limit,
        ("NAME", "STORE", ">SIZE", "", "LEFT AT", "WHY NOT"),
        lambda item: (
            item.name,
            item.store,
            size(item.size_bytes),
            "goes" if item.refusal is None else item.refusal,
            ", ".join(item.holders),
            item.message,
        ),
        empty="nothing is old enough, or there are no rules",
    )
    if app.output is Format.TABLE and sums[0]:
        note(f"{sums[0]:,} files would go: {size(sums[1])}")
