"""``lbctl hold``: files that no site may evict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Group, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api


@click.group(cls=Group, epilog=examples("lbctl hold list", "lbctl hold add --match 'raw/2026/**' --reason review"))
def hold() -> None:
    """Files that no site may evict: rules for all sites.

    A hold binds each site as soon as it has heard of it, and a site that knows of it lets no other one evict.
    """


HEADINGS = ("ID", "MATCH", "UNTIL", "REASON")


def _row(rule: api.HoldRule) -> Sequence[str]:
    until = f"{rule.until}{' (over)' if rule.over else ''}" if rule.until else "withdrawn"
    return rule.id, rule.match, until, rule.reason


@hold.command("list", epilog=examples("lbctl hold list", "lbctl hold list -o json"))
@click.pass_obj
def list_(app: App) -> None:
    """List the holds that are not withdrawn, of all sites."""
    from lbctl.output import rows

    rows(app, app.client().holds(), HEADINGS, _row, empty="no holds")


@hold.command(
    "add",
    epilog=examples(
        "lbctl hold add --match 'raw/2026/**' --reason 'under review'",
        "lbctl hold add --match 'raw/2026/**' --until 2027-01-31 --reason 'under review'",
    ),
)
@click.option("--match", required=True, metavar="GLOB", help="Names; ** crosses directories.")
@click.option("--until", metavar="MOMENT", help="2027-01-31, or 2027-01-31T12:00:00Z; UTC. [until it is withdrawn]")
@click.option("--reason", required=True, metavar="TEXT", help="What others are told.")
@click.pass_obj
def add(app: App, match: str, until: str | None, reason: str) -> None:
    """Declare a hold. It binds every site that has heard of it, until it is withdrawn, or until --until."""
    from lbctl.output import rows
    from librarian_protocol import api, globs, rules

    asked = api.HoldAdd(
        match=globs.check(match),
        until=None if until is None else rules.moment(rules.until_of(until)),
        reason=rules.said_of(reason),
    )
    rows(app, [app.client().declare_hold(asked)], HEADINGS, _row)


@hold.command("rm", epilog=examples("lbctl hold rm summit/0f1e2d3c4b5a6978/23 --reason 'reviewed'"))
@click.argument("id")
@click.option("--reason", required=True, metavar="TEXT", help="What others are told.")
@click.pass_obj
def rm(app: App, id: str, reason: str) -> None:  # noqa: A002 - the word of the API
    """Withdraw a hold by its id, whichever site declared it. That is final."""
    from lbctl.output import rows
    from librarian_protocol import rules

    rows(app, [app.client().withdraw_hold(rules.text_of(rules.id_of(id)), rules.said_of(reason))], HEADINGS, _row)
