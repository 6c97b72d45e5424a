"""Advice that can be followed: every ``lbctl`` command that a hint, an error, a page or a help text names exists and
parses, and every page that they name is there. ``python -m tests.advice`` walks all of them (``scripts/check``)."""

from __future__ import annotations

import ast
import io
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import click

from lbctl.main import root
from librarian_protocol.errors import LibrarianError
from librarian_protocol.incidents import CODES

ROOT = Path(__file__).parents[1]
CODE = ("daemon", "cli", "protocol", "adapters")
TEXTS = ("README.md", "CONTRIBUTING.md", "docs", "deploy", "nats", "daemon/librarian_daemon/page/templates")
#: What was decided, and what was found once: not advice.
PAST = ("docs/adr",)
ENDINGS = frozenset({".md", ".yml", ".yaml", ".html", ".toml", ".service", ".conf"})
#: In place of what an f-string puts in.
PLACEHOLDER = "X"

_QUOTED = re.compile(r"`(lbctl(?: [^`]*)?)`")
_LINE = re.compile(r"^\s*(?:\$ |# )?(?:sudo (?:-u \S+ )?)?(lbctl [^#|&]*?)(?: *\d?[<>].*| *[#|&].*)?$")
_PAGE = re.compile(r"(?<![\w./-])((?:docs|nats|deploy)/[\w./-]*\.md)")
_MODULE = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py)`")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
#: Forms of use, not uses: ``[--all]``, ``ID…``, ``a|b``, ``<name>``.
_FORM = re.compile(r"[\[\]|<>…{}→]|^lbctl X$")


def problems() -> Iterator[str]:
    """Everything that cannot be followed, with where it stands."""
    modules = {
        f"/{path.relative_to(ROOT)}" for folder in (*CODE, "docs", "deploy", "tests") for path in _python(folder)
    }
    for where, text in texts():
        for module in _MODULE.findall(text):
            if not module.islower():
                continue  # NAME stands for a name
            # `protocol/roster.py` is short for protocol/librarian_protocol/roster.py.
            folder, _, rest = module.partition("/")
            names = (f"/{module}", f"/{folder}/librarian_{folder}/{rest}")
            if not any(path.endswith(names) for path in modules):
                yield f"{where}: there is no module {module}"
        for command in commands(where, text):
            wrong = refused(command)
            if wrong:
                yield f"{where}: `{command}`: {wrong}"
        for page in _PAGE.findall(text):
            if not (ROOT / page).exists():
                yield f"{where}: there is no page {page}"
        if where.endswith(".md"):
            for link in _LINK.findall(text):
                if "://" not in link and not link.startswith("mailto:") and not ((ROOT / where).parent / link).exists():
                    yield f"{where}: there is nothing at {link}"
    for code in CODES:
        if not (ROOT / "docs" / "incidents" / f"{code}.md").exists():
            yield f"incident {code}: it has no page"
    errors = (ROOT / "docs" / "errors.md").read_text()
    for error in _errors(LibrarianError):
        ours = not error.__module__.startswith("tests.")
        if ours and not error.__subclasses__() and error.code not in errors:
            yield f"error {error.code}: docs/errors.md does not know it"


def texts() -> Iterator[tuple[str, str]]:
    """Where each text stands, and the text: strings of the code, and the pages."""
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for line, text in _strings(ast.parse(path.read_text())):
                yield f"{path.relative_to(ROOT)}:{line}", text
    for name in TEXTS:
        place = ROOT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            where = str(path.relative_to(ROOT))
            if path.suffix in ENDINGS and path.is_file() and not where.startswith(PAST):
                yield where, path.read_text()


def _python(folder: str) -> Iterator[Path]:
    return (ROOT / folder).rglob("*.py")


def _strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside.update(id(part) for part in ast.walk(node) if part is not node)
            parts = [str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER for part in node.values]
            if id(node) not in inside:
                yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def commands(where: str, text: str) -> Iterator[str]:
    """The commands that a text names: in backticks, and lines of examples."""
    # A heading names a command; it is no advice to run it so.
    plain = re.sub(r"\s*\n\s*", " ", re.sub(r"(?m)^#.*$", "", text)) if where.endswith(".md") else text
    yield from (found.strip() for found in _QUOTED.findall(plain))
    if "`lbctl" not in text or not where.endswith(".py"):
        for line in text.splitlines():
            found = _LINE.match(line)
            if found and "`" not in line:
                yield found[1].strip()


def refused(command: str) -> str:
    """Why a command cannot be run; "" where it can. A bare command of a group is a mention, and must only exist."""
    if _FORM.search(command):
        return ""
    try:
        words = shlex.split(command, comments=True)[1:]
    except ValueError as exc:
        return str(exc)
    if words and words[-1] in {"\\", "..."}:
        words.pop()
    here: click.Command = root
    try:
        with redirect_stdout(io.StringIO()):
            while isinstance(here, click.Group):
                context = click.Context(here)
                _, rest, _ = here.make_parser(context).parse_args(list(words))
                if not rest or rest[0].isupper():
                    return ""
                _, found, words = here.resolve_command(context, rest)
                assert found is not None
                here = found
            if words:
                here.make_context(here.name or "", list(words))
    except click.exceptions.Exit:
        return ""
    except (click.NoSuchOption, click.MissingParameter) as exc:
        return exc.format_message()
    except click.BadParameter:
        return ""  # a word in capitals, in place of a number
    except click.UsageError as exc:
        return exc.format_message()
    return ""


def _errors(base: type[LibrarianError]) -> Iterator[type[LibrarianError]]:
    for error in base.__subclasses__():
        yield error
        yield from _errors(error)


if __name__ == "__main__":
    sys.exit("\n".join(problems()) or None)
