"""``lbctl doctor``: checks, with and without a daemon."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Command, Format, examples

if TYPE_CHECKING:
    from librarian_client import Location
    from librarian_protocol.api import DoctorCheck

CHECK_TIMEOUT_S = 30
_SIGNS = {"ok": "ok", "warning": "WARNING", "error": "ERROR"}


@click.command(cls=Command, epilog=examples("lbctl doctor", "lbctl --config /srv/summit/site.toml doctor -o json"))
@click.pass_obj
def doctor(app: App) -> int:
    """Check configuration, host and daemon; each problem is printed with a fix.

    Exit 1 if something is. With the daemon down it checks what can be checked without, and exits with 10.
    """
    from lbctl.output import items
    from librarian_protocol.api import DoctorCheck
    from librarian_protocol.errors import DaemonUnreachable

    location = app.location()
    try:
        checks = app.client().doctor()
        down = False
    except DaemonUnreachable as exc:
        down = True
        checks = [DoctorCheck(check="daemon", level="error", message=exc.message, hint=exc.hint)]
        checks += without_daemon(location)
    if app.output is Format.TABLE:
        for check in checks:
            _tell(app, check)
    else:
        items(app, checks)
    if down:
        return DaemonUnreachable.exit_code
    return 1 if any(check.level == "error" for check in checks) else 0


def _tell(app: App, check: DoctorCheck) -> None:
    from lbctl.output import say

    say(app, f"{_SIGNS.get(check.level, check.level):<7}  {check.check}: {check.message}")
    if check.hint and check.level != "ok":
        say(app, f"         hint: {check.hint}")


def without_daemon(location: Location) -> list[DoctorCheck]:
    """What can be seen from outside: configuration, keys, socket."""
    return [_configuration(location), *_keys(location.state / "keys"), _socket(location.socket)]


def _configuration(location: Location) -> DoctorCheck:
    """The daemon's own check, since lbctl does not know the whole configuration."""
    from librarian_protocol.api import DoctorCheck

    command = [sys.executable, "-m", "librarian_daemon", "--config", str(location.config), "--check"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=CHECK_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return DoctorCheck(
            check="configuration", level="error", message=f"lbd --check did not end within {CHECK_TIMEOUT_S} s"
        )
    if done.returncode == 0:
        return DoctorCheck(check="configuration", level="ok", message=str(location.config))
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    hints = [line.removeprefix("hint:").strip() for line in said if line.startswith("hint:")]
    told = [line for line in said if not line.startswith("hint:")]
    return DoctorCheck(
        check="configuration",
        level="error",
        message=told[-1] if told else f"lbd --check ended with {done.returncode}",
        hint=hints[-1] if hints else f"lbd --config {location.config} --check",
    )


def _keys(directory: Path) -> list[DoctorCheck]:
    from librarian_protocol.api import DoctorCheck

    key = directory / "site.key"
    checks: list[DoctorCheck] = []
    for path, wanted in ((directory, 0o700), (key, 0o600)):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as exc:
            message, hint = f"{path}: {exc.strerror}", "`lbctl init` makes it; a lost key cannot be made again"
            return [*checks, DoctorCheck(check="keys", level="error", message=message, hint=hint)]
        if mode & 0o077:
            message = f"{path} has mode {mode:04o}: others may use it"
            checks.append(DoctorCheck(check="keys", level="error", message=message, hint=f"chmod {wanted:04o} {path}"))
    return checks or [DoctorCheck(check="keys", level="ok", message=f"{key} is private")]


def _socket(path: Path) -> DoctorCheck:
    from librarian_protocol.api import DoctorCheck

    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return DoctorCheck(check="socket", level="ok", message=f"{path} is not there: no daemon runs")
    except OSError as exc:
        return DoctorCheck(check="socket", level="error", message=f"{path}: {exc.strerror}")
    if not stat.S_ISSOCK(mode):
        message = f"{path} is not a socket"
        return DoctorCheck(check="socket", level="error", message=message, hint="move it away, or set `socket`")
    message = f"{path} was left behind by a daemon that is gone"
    return DoctorCheck(check="socket", level="warning", message=message, hint="the next start replaces it")
