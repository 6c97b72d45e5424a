"""``lbctl keep``: how many good instances of files an eviction must leave, anywhere in the mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Group, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api


@click.group(cls=Group, epilog=examples("lbctl keep list", "lbctl keep add --match 'raw/**' --instances 3 --domains 2"))
def keep() -> None:
    """How many good instances of files an eviction must leave: rules for all sites.

    Where no rule matches, two instances in two failure domains must be left; `[retention.keep]` of the site that gives
    up takes the place of that, never of a rule.
    """


HEADINGS = ("ID", "MATCH", ">INSTANCES", ">DOMAINS", "ROLE", "REASON")


def _row(rule: api.KeepRule) -> Sequence[str]:
    return rule.id, rule.match, f"{rule.instances}", f"{rule.domains}", rule.role or "any", rule.reason


@keep.command("list", epilog=examples("lbctl keep list", "lbctl keep list -o json"))
@click.pass_obj
def list_(app: App) -> None:
    """List the rules that count, of all sites."""
    from lbctl.output import rows

    rows(app, app.client().keeps(), HEADINGS, _row, empty="no keep rules")


@keep.command(
    "add",
    epilog=examples(
        "lbctl keep add --match 'raw/**' --instances 3 --domains 2",
        "lbctl keep add --match 'raw/**' --role archive --reason 'it cannot be observed again'",
    ),
)
@click.option("--match", required=True, metavar="GLOB", help="Names; ** crosses directories.")
@click.option("--instances", type=int, default=2, show_default=True, metavar="N", help="Good instances.")
@click.option(
    "--domains", type=int, metavar="N", help="Failure domains in which they stand. [2, or --instances if less]"
)
@click.option("--role", metavar="ROLE", help="One of them stands in a store of this role: archive.")
@click.option("--reason", default="", metavar="TEXT", help="What others are told.")
@click.pass_obj
def add(app: App, match: str, instances: int, domains: int | None, role: str | None, reason: str) -> None:
    """Declare a rule. Of several rules that match, the greatest numbers bind; none lowers what another requires.

    It is not changed: add another one, then remove this.
    """
    from lbctl.output import rows
    from librarian_protocol import api, rules

    asked = api.KeepAdd(
        match=match,
        instances=instances,
        domains=min(2, instances) if domains is None else domains,
        role=role,
        reason=reason,
    )
    rules.keep_of(match=match, instances=instances, domains=asked.domains, role=role, reason=reason)
    rows(app, [app.client().declare_keep(asked)], HEADINGS, _row)


@keep.command("rm", epilog=examples("lbctl keep rm summit/0f1e2d3c4b5a6978/21 --reason 'the survey is complete'"))
@click.argument("id")
@click.option("--reason", required=True, metavar="TEXT", help="What others are told.")
@click.pass_obj
def rm(app: App, id: str, reason: str) -> None:  # noqa: A002 - the word of the API
    """Withdraw a rule by its id, whichever site declared it. That is final."""
    from lbctl.output import rows
    from librarian_protocol import rules

    rows(app, [app.client().withdraw_keep(rules.text_of(rules.id_of(id)), rules.said_of(reason))], HEADINGS, _row)
