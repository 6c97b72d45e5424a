"""How errors are printed: what, where, why, and what to do next; and their exit codes."""

from __future__ import annotations

import sys
from types import TracebackType

from lbctl.app import App, Format
from lbctl.shown import safe
from librarian_protocol.errors import ArgumentInvalid, LibrarianError

#: For ``lbctl --help``; docs/cli.md says more.
EXIT_CODES = """\
Exit codes: 0 ok, 1 failed or unhealthy, 2 usage, 3 partly done, 4 not found, 5 temporary, 6 integrity,
10 daemon unreachable, 11 locked or conflict, 12 not allowed, 130 interrupted."""


def tell(app: App, error: LibrarianError) -> int:
    """Print the error on stderr. Returns the exit code."""
    if app.output is Format.TABLE:
        print(f"error[{error.code}]: {_lines(error.message)}", file=sys.stderr)
        if error.hint:
            print(f"hint: {_lines(error.hint)}", file=sys.stderr)
    else:
        from librarian_protocol import api, wire

        body = api.ErrorBody(code=error.code, kind=error.kind, message=error.message, hint=error.hint)
        print(wire.encode(body).decode(), file=sys.stderr)
    return error.exit_code


def usage(message: str) -> ArgumentInvalid:
    """An argument is wrong; only lbctl can know that."""
    return ArgumentInvalid(message, hint="--help shows examples")


def mistake(app: App) -> None:
    """Print unexpected errors in one line; --debug keeps the traceback."""

    def hook(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        told = f"{kind.__name__}: {error}" if str(error) else kind.__name__
        tell(app, LibrarianError(told, hint="a mistake in lbctl: --debug shows where; please report it"))

    if not app.debug:
        sys.excepthook = hook


def _lines(text: str) -> str:
    return "\n  ".join(safe(line) for line in text.splitlines())
