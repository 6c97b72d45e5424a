"""The house stays one in which a newcomer finds his way: small rooms, short functions, no circles (ADR 0031)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

DAEMON = Path(__file__).parents[2] / "daemon" / "librarian_daemon"
MOST_MODULES, MOST_MODULES_AT_THE_TOP = 20, 5
MOST_PARAMETERS, MOST_LINES = 10, 80
#: Longer than others, with the reason.
LONG = {
    ("catalog/migrations/versions/v0001_first.py", "upgrade"): "the first tables, one after the other",
    ("runtime/metrics.py", "__init__"): "a line for each metric",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(DAEMON.rglob("*.py"))}


def functions() -> Iterator[tuple[str, Function]]:
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield path.relative_to(DAEMON).as_posix(), node


def test_no_room_holds_more_modules_than_one_overlooks() -> None:
    counts: dict[str, int] = {}
    for path in modules():
        if path.name != "__init__.py":
            room = path.parent.relative_to(DAEMON).as_posix()
            counts[room] = counts.get(room, 0) + 1
    most = {room: MOST_MODULES_AT_THE_TOP if room == "." else MOST_MODULES for room in counts}
    assert {room: number for room, number in counts.items() if number > most[room]} == {}


def test_no_constructor_takes_more_than_ten_parameters() -> None:
    found = {
        f"{path}:{node.lineno}": number
        for path, node in functions()
        if node.name == "__init__"
        and (number := len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) - 1) > MOST_PARAMETERS
    }
    assert found == {}


def test_no_function_is_longer_than_eighty_lines_without_a_reason() -> None:
    found = {
        (path, node.name): lines
        for path, node in functions()
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MOST_LINES
    }
    assert found.keys() == LONG.keys()


def test_packages_do_not_import_one_another_in_circles() -> None:
    packages = {
        ".".join(("librarian_daemon", *path.parent.relative_to(DAEMON).parts)) for path in DAEMON.rglob("__init__.py")
    }
    graph: dict[str, set[str]] = {package: set() for package in packages}
    for path, tree in modules().items():
        own = ".".join(("librarian_daemon", *path.parent.relative_to(DAEMON).parts))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("librarian_daemon"):
                module = node.module or ""
                used = module if module in packages else module.rpartition(".")[0]
                if used != own:
                    graph[own].add(used)
    assert len(list(TopologicalSorter(graph).static_order())) == len(packages)


def test_what_takes_much_memory_is_imported_only_where_it_is_used() -> None:
    """Migrations, and what PostgreSQL needs, take 14 MiB of a daemon's 100."""
    asked = "import sys, librarian_daemon.main; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert not {"alembic", "asyncpg", "sqlalchemy.ext.asyncio", "globus_sdk", "apprise"} & set(imported)
