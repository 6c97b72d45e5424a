"""``lbctl reconcile``: compare this site's stores with its catalog now."""

from __future__ import annotations

import click

from lbctl.app import App, Command, Format, examples


@click.command(cls=Command, epilog=examples("lbctl reconcile", "lbctl reconcile --all", "lbctl reconcile -o json"))
@click.option("--all", "all_", is_flag=True, help="Report everything that is missing or wrong, however much it is.")
@click.pass_obj
def reconcile(app: App, all_: bool) -> int:
    """Compare the stores of this site with its catalog, as the daemon does at its start and once a day.

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
        lambda report: (
            report.label,
            f"{report.looked:,}",
            f"{report.wrong:,}",
            f"{report.unknown:,}",
            f"{report.removed:,}",
            f"{report.seconds:.1f}",
            report.error or ("" if report.acted else "nothing was said of them: lbctl reconcile --all"),
        ),
    )
    if app.output is Format.TABLE:
        for report in found:
            for example in report.examples:
                say(app, f"  wrong: {example}")
            for example in report.unknown_examples:
                say(app, f"  unknown: {example!a}")
    if any(report.wrong for report in found):
        return ChecksumMismatch.exit_code
    return StoreError.exit_code if any(report.error for report in found) else 0
