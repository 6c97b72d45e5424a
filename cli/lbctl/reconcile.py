"""``lbctl reconcile``: hold this site's stores against its catalog now."""

from __future__ import annotations

import click

from lbctl.app import App, Command, Format, examples


@click.command(cls=Command, epilog=examples("lbctl reconcile", "lbctl reconcile --all", "lbctl reconcile -o json"))
@click.option("--all", "all_", is_flag=True, help="Say so of all that is missing or wrong, however many they are.")
@click.pass_obj
def reconcile(app: App, all_: bool) -> int:
    """Hold the stores of this site against its catalog, as the daemon does at its start and once a day.

    Names and sizes are compared; what differs is read. Unknown files are named and left alone. Exit 6 if something is
    wrong, 1 if a store could not be looked at.
    """
    from lbctl.output import busy, rows, say
    from librarian_protocol.errors import ChecksumMismatch, StoreError

    with busy(app, "looking at every name …"):
        found = app.client().reconcile(all_of_it=all_)
    rows(
        app,
        found,
        ("STORE", ">LOOKED AT", ">WRONG", ">UNKNOWN", ">REMOVED FROM STAGING", ">SECONDS", ""),
        lambda one: (
            one.label,
            f"{one.looked:,}",
            f"{one.wrong:,}",
            f"{one.unknown:,}",
            f"{one.removed:,}",
            f"{one.seconds:.1f}",
            one.error or ("" if one.acted else "nothing was said of them: lbctl reconcile --all"),
        ),
    )
    if app.output is Format.TABLE:
        for one in found:
            for example in one.examples:
                say(app, f"  wrong: {example}")
            for example in one.unknown_examples:
                say(app, f"  unknown: {example!a}")
    if any(one.wrong for one in found):
        return ChecksumMismatch.exit_code
    return StoreError.exit_code if any(one.error for one in found) else 0
