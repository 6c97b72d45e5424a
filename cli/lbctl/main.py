"""The entry point: the table of nouns, and how a run ends."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from lbctl.app import App, Command, Group, examples
from lbctl.failure import EXIT_CODES, mistake, tell
from librarian_protocol.errors import ArgumentInvalid, LibrarianError, NotPermitted, SiteError

#: name: (module with a command of that name, what it is for). Modules are imported when they are used.
COMMANDS = {
    "status": ("lbctl.status", "Is everything all right? Exit 1 if not."),
    "file": ("lbctl.file", "Files: list, show, manifest, verify."),
    "transfer": ("lbctl.transfer", "Transfers: list, show, add, retry, priority, cancel, pause, resume."),
    "site": ("lbctl.site", "Sites of the mesh: list, invite, join, set, revoke, …"),
    "admin": ("lbctl.admin", "What an administrator says with an offline key."),
    "subscription": ("lbctl.subscription", "What this site fetches: list, add, rm."),
    "keep": ("lbctl.keep", "How many instances of files must be kept: list, add, rm."),
    "hold": ("lbctl.hold", "Files that nobody may evict: list, add, rm."),
    "retention": ("lbctl.retention", "What this site gives up by its rules: list, plan, run."),
    "trash": ("lbctl.trash", "What was given up, and can be put back: list, restore."),
    "offer": ("lbctl.offer", "What other sites may be given here: list, set, clear."),
    "store": ("lbctl.store", "Places that hold bytes: list."),
    "bus": ("lbctl.bus", "This site's own bus server: config."),
    "events": ("lbctl.events", "The journals: tail, verify."),
    "incident": ("lbctl.incident", "Incidents: list, show, ack."),
    "pause": ("lbctl.pause", "Pause intake, transfers or one peer for maintenance."),
    "resume": ("lbctl.pause", "End a pause before its time."),
    "rejected": ("lbctl.rejected", "What drop directories refused: list, retry, return."),
    "ignored": ("lbctl.ignored", "What drop directories ignore: list."),
    "reconcile": ("lbctl.reconcile", "Compare the stores with the catalog now."),
    "scrub": ("lbctl.scrub", "Read what is stored again: status, run."),
    "recover": ("lbctl.recover", "A lost or restored catalog: the state of recovery, and what it waits for."),
    "notify": ("lbctl.notify", "Notification channels for incidents: list, test."),
    "adapter": ("lbctl.adapter", "Adapters that need a person: login."),
    "log": ("lbctl.log", "What the daemon logs: level."),
    "doctor": ("lbctl.doctor", "Check what can be wrong; each line with a fix."),
    "explain": ("lbctl.explain", "Why a file is, or is not, at a site."),
    "completion": ("lbctl.completion", "Completion for bash, zsh and fish."),
    "init": ("lbctl.init", "Write the configuration and key of a new site."),
    "demo": ("lbctl.demo", "Two live sites on this machine."),
}
INTERRUPTED = 130


class _Root(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name.replace("-", "_"))
        assert isinstance(command, Command | Group)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, purpose) for name, (_, purpose) in COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"lbctl {version('librarian-daemon')}")
    except PackageNotFoundError:
        print("lbctl, from a tree that is not installed")
    ctx.exit()


@click.group(
    cls=_Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("lbctl demo", "lbctl init /srv/summit --site summit", "lbctl status -o json") + "\n\n" + EXIT_CODES,
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def root() -> None:
    """Show and control a site of the Librarian: research data at many sites, with every instance verified."""


def _traceback(app: App) -> None:
    if app.debug:
        import traceback

        traceback.print_exc()


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    app = App()
    mistake(app)
    try:
        code = root.main(args=args, prog_name="lbctl", obj=app, standalone_mode=False)
    except click.UsageError as exc:
        if app.output == "table":
            exc.show()
            return exc.exit_code
        return tell(app, ArgumentInvalid(exc.format_message()))
    except click.Abort:
        return INTERRUPTED
    except LibrarianError as exc:
        _traceback(app)
        return tell(app, exc)
    except OSError as exc:
        _traceback(app)
        where = f"{exc.filename}: " if exc.filename else ""
        kind = NotPermitted if isinstance(exc, PermissionError) else SiteError
        return tell(app, kind(f"{where}{exc.strerror or exc}"))
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    raise SystemExit(main())
