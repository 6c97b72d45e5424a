"""``lbctl subscription``: which files this site fetches, from whom, into which stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lbctl.app import App, Group, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api


@click.group(
    cls=Group, epilog=examples("lbctl subscription list", "lbctl subscription add --from summit --match 'obs/**'")
)
def subscription() -> None:
    """What this site fetches by itself."""


HEADINGS = ("ID", "SITE", "FROM", "MATCH", "INTO", ">PRIORITY", ">AT MOST", ">NEWEST")


def _row(subscription: api.Subscription) -> Sequence[str]:
    from lbctl.shown import duration, size

    into = ", ".join(subscription.labels) or ", ".join(store[:8] for store in subscription.into)
    limits = (
        f"{subscription.priority}",
        "-" if subscription.max_bytes is None else size(subscription.max_bytes),
        "-" if subscription.newest_s is None else duration(subscription.newest_s),
    )
    return subscription.id, subscription.site, subscription.from_site or "any site", subscription.match, into, *limits


@subscription.command("list", epilog=examples("lbctl subscription list", "lbctl subscription list -o json"))
@click.pass_obj
def list_(app: App) -> None:
    """List subscriptions, those of other sites included."""
    from lbctl.output import rows

    rows(app, app.client().subscriptions(), HEADINGS, _row, empty="no subscriptions")


@subscription.command(
    "add",
    epilog=examples(
        "lbctl subscription add --from summit",
        "lbctl subscription add --from summit --match 'obs/**' --into archive",
        "lbctl subscription add --from any --into fast --into slow",
        "lbctl subscription add --from summit --match 'calib/**' --max-bytes 50GiB --priority 9",
    ),
)
@click.option("--from", "from_site", required=True, metavar="SITE", help="Origin or holder; 'any' for every site.")
@click.option("--match", default="**", show_default=True, metavar="GLOB", help="Names; ** crosses directories.")
@click.option("--into", multiple=True, metavar="STORE", help="The stores that may take a file; all by default.")
@click.option("--new-only", is_flag=True, help="Only what is heard of from now on.")
@click.option("--max-bytes", metavar="SIZE", help="Only files up to this size: 1500, 50GiB, 2TB. [any size]")
@click.option("--newest", metavar="LENGTH", help="Only files that were ingested less than so long ago: 90d. [any age]")
@click.option(
    "--on-full",
    type=click.Choice(["wait", "deactivate"]),
    default="wait",
    show_default=True,
    help="Where a store is too full for a file: the file waits; or the store is set inactive, too.",
)
@click.option(
    "--priority",
    type=click.IntRange(0, 9),
    default=5,
    show_default=True,
    metavar="N",
    help="From 0 to 9; among what is wanted of a source, 9 is fetched first.",
)
@click.pass_obj
def add(
    app: App,
    from_site: str,
    match: str,
    into: tuple[str, ...],
    new_only: bool,
    max_bytes: str | None,
    newest: str | None,
    on_full: api.OnFull,
    priority: int,
) -> None:
    """Fetch what matches; what is there already, too, unless --new-only."""
    from lbctl.output import rows
    from librarian_protocol import api, globs, lengths, sizes
    from librarian_protocol.names import SiteName

    wanted = api.SubscriptionAdd(
        from_site=None if from_site == "any" else SiteName.parse(from_site),
        match=globs.check(match),
        into=list(into),
        new_only=new_only,
        max_bytes=None if max_bytes is None else sizes.bytes_of(max_bytes),
        newest_s=None if newest is None else lengths.seconds_of(newest),
        on_full=on_full,
        priority=priority,
    )
    rows(app, [app.client().subscribe(wanted)], HEADINGS, _row)


@subscription.command("rm", epilog=examples("lbctl subscription rm 5e1f", "lbctl subscription rm 5e1f0c2b9a7d4e63"))
@click.argument("id")
@click.pass_obj
def rm(app: App, id: str) -> None:  # noqa: A002 - the word of the API
    """Withdraw a subscription of this site, by its id or a beginning of it.

    What has not landed is cancelled; nothing that it brought is deleted.
    """
    from lbctl.output import rows

    client = app.client()
    rows(app, [client.unsubscribe(_only(client.subscriptions(), id))], HEADINGS, _row)


def _only(known: Sequence[api.Subscription], beginning: str) -> str:
    from librarian_protocol.errors import ArgumentInvalid, NotFound

    found = [subscription.id for subscription in known if beginning and subscription.id.startswith(beginning)]
    if not found:
        raise NotFound(f"no subscription {beginning!r}", hint="`lbctl subscription list` shows their ids")
    if len(found) > 1:
        raise ArgumentInvalid(
            f"{beginning!r} is the beginning of {len(found)} ids: {', '.join(found[:5])}", hint="give more of it"
        )
    return found[0]
