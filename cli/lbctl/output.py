"""Results on stdout, as a table or as JSON; everything else that is said goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from lbctl.app import App, Format
from lbctl.shown import safe

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
#: Headings of a table; one that begins with ">" is of a column of numbers, set to the right.
Headings = Sequence[str]

#: Width of what goes to a file or a pipe: there is nothing to wrap for.
UNBOUNDED = 10_000


def console(app: App) -> Console:
    """stdout for tables. Nothing in a text is markup."""
    from rich.console import Console

    tty = sys.stdout.isatty()
    return Console(
        no_color=app.no_color or None,
        width=None if tty else UNBOUNDED,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )


def say(app: App, text: str = "") -> None:
    """A line of prose among results; nothing where a program reads them."""
    if app.output is Format.TABLE:
        print(safe(text))


def note(text: str) -> None:
    """A line of chatter, on stderr."""
    print(safe(text), file=sys.stderr)


def emit(app: App, value: object) -> None:
    """One value as JSON: indented for ``json``, one line for ``jsonl``."""
    import msgspec

    from librarian_protocol import wire

    raw = wire.encode(value)
    print((msgspec.json.format(raw) if app.output is Format.JSON else raw).decode(), flush=True)


def rows(
    app: App, items: Sequence[T], headings: Headings, row: Callable[[T], Sequence[str]], *, empty: str = "none"
) -> None:
    """A list: a table, an array, or a line for each item."""
    if app.output is Format.JSON:
        emit(app, items)
    elif app.output is Format.JSONL:
        for item in items:
            emit(app, item)
    elif not items:
        note(empty)
    else:
        table(app, headings, [row(item) for item in items])


def pages(
    app: App,
    found: Iterable[Sequence[T]],
    headings: Headings,
    row: Callable[[T], Sequence[str]],
    *,
    empty: str,
) -> None:
    """A list that comes by pages, of which no more than one is held at a time."""
    first = True
    for page in found:
        if app.output is Format.TABLE and page:
            table(app, headings, [row(item) for item in page], show_headings=first)
        elif app.output is Format.JSONL:
            rows(app, page, headings, row)
        elif app.output is Format.JSON:
            # One array over all pages: what lies between its brackets is printed page by page.
            for item in page:
                print("[" if first else ",")
                emit(app, item)
                first = False
        first = first and not page
    if app.output is Format.JSON:
        print("[]" if first else "]")
    elif first and app.output is Format.TABLE:
        note(empty)


def table(
    app: App,
    headings: Headings,
    cells: Sequence[Sequence[str]],
    *,
    show_headings: bool = True,
) -> None:
    """Columns side by side; long cells fold on a terminal and never in a file."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, show_header=show_headings, header_style="bold", padding=(0, 3, 0, 0))
    for heading in headings:
        right = heading.startswith(">")
        drawn.add_column(heading.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(safe(cell)) for cell in row))
    console(app).print(drawn)


@contextmanager
def busy(app: App, text: str) -> Generator[None]:
    """A sign of life on a terminal while something takes long; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True, no_color=app.no_color or None).status(safe(text)):
        yield
