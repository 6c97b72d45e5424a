"""Prints results on stdout, as a table or as JSON. All other output goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from lbctl.app import App, Format
from lbctl.shown import safe

T = TypeVar("T")
#: Headings of a table; one that begins with ">" is of a column of numbers, set to the right.
Headings = Sequence[str]

#: Items that are printed together where they come one by one.
_PORTION = 200
#: Between columns.
GAP = "   "


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


def items(app: App, found: Sequence[object]) -> None:
    """A list as JSON: an array for ``json``, a line for each for ``jsonl``."""
    if app.output is Format.JSON:
        emit(app, found)
    else:
        for item in found:
            emit(app, item)


def rows(
    app: App, found: Sequence[T], headings: Headings, row: Callable[[T], Sequence[str]], *, empty: str = "none"
) -> None:
    """A list: a table, an array, or a line for each item."""
    if app.output is not Format.TABLE:
        items(app, found)
    elif not found:
        note(empty)
    else:
        table(app, headings, [row(item) for item in found])


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
            items(app, page)
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


def listed(
    app: App, found: Iterable[T], limit: int, headings: Headings, row: Callable[[T], Sequence[str]], *, empty: str
) -> None:
    """A list that comes item by item, ``limit`` of them (0: all). If there are more, a note says so."""
    rest = iter(found)
    shown = islice(rest, limit) if limit else rest
    pages(app, iter(lambda: list(islice(shown, _PORTION)), []), headings, row, empty=empty)
    if limit and next(rest, None) is not None:
        note("there are more: --limit 0 for all")


def table(app: App, headings: Headings, cells: Sequence[Sequence[str]], *, show_headings: bool = True) -> None:
    """Columns side by side. Nothing is cut: a terminal wraps what is too long for it."""
    shown = [[safe(cell) for cell in row] for row in cells]
    right = [heading.startswith(">") for heading in headings]
    titles = [heading.removeprefix(">") for heading in headings]
    widths = [max(_width(row[column]) for row in [titles, *shown]) for column in range(len(titles))]

    def line(row: Sequence[str]) -> str:
        padded = [
            " " * (width - _width(cell)) + cell if to_right else cell + " " * (width - _width(cell))
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        return GAP.join(padded).rstrip()

    if show_headings:
        print(_bold(app, line(titles)))
    for row in shown:
        print(line(row))


def _width(text: str) -> int:
    """Columns of a terminal: some signs take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _bold(app: App, text: str) -> str:
    plain = app.no_color or os.environ.get("NO_COLOR") or not sys.stdout.isatty()
    return text if plain else f"\x1b[1m{text}\x1b[0m"


@contextmanager
def busy(app: App, text: str) -> Generator[None]:
    """Shows activity on a terminal while something takes long; prints nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True, no_color=app.no_color or None).status(safe(text)):
        yield
