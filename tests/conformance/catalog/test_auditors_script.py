"""The auditor's script, written from the documents, and our replay: of each exported file they say the same."""

from __future__ import annotations

import ast
import asyncio
import runpy
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from sqlalchemy import Connection, case, create_engine, func, select
from tests.conformance.catalog.peers import key_of

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.journal import replay
from librarian_daemon.journal.audit import FileSource
from librarian_protocol.errors import LibrarianError, NotPossible
from librarian_protocol.keys import fingerprint

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "docs" / "audit-journal.py"
GOLDEN = ROOT / "tests" / "golden"
AT = "2026-01-02T03:04:05.000006Z"
ANCHOR = fingerprint(key_of("summit").public)
ADMINISTRATOR = fingerprint(key_of("administrator").public)
#: Files in which an administrator speaks, who is believed.
STATED = ("stated", "statement", "mesh-altered", "administrator")
FILES = sorted(GOLDEN.glob("whole/*.zst")) + sorted(GOLDEN.glob("spoilt/*.zst"))


def _replayed(connection: Connection, source: FileSource) -> list[str]:
    """What is wrong with the file."""
    anchor = asyncio.run(source.anchor())

    async def pages() -> list[replay.Record]:
        return [record async for page in source.pages() for record in page]

    replay.begin(connection, anchor, [])
    problems = replay.take(connection, asyncio.run(pages()), AT)
    problems += replay.fold(connection, source.site, AT)
    assert source.begun is not None
    return [*problems, *filter(None, [replay.exporter_problem(connection, source.begun)])]


def _counted(connection: Connection) -> list[str]:
    """How many entries of each site count, and how many do not for their key ended: as the script prints it."""
    row = schema.journal.c
    size = row.last_seq - row.first_seq + 1
    counts = func.sum(case((row.state.in_(["applied", "unknown"]), size), else_=0))
    ended = func.sum(case((row.state == "ended", size), else_=0))
    found = connection.execute(select(row.site, counts, ended).group_by(row.site).order_by(row.site))
    return [f"{site}: {said} entries count, {lost} do not" for site, said, lost in found]


def _script(path: Path, administrator: str | None, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, list[str]]:
    """Whether it is verified, and what was printed; within this process, for it has no packages of ours in it."""
    asked = [str(SCRIPT), str(path), ANCHOR, *(["--administrator", administrator] if administrator else [])]
    monkeypatch.setattr(sys, "argv", asked)
    printed = StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT))
    lines = printed.getvalue().splitlines()
    assert (ended.value.code == 0) == ("NOT VERIFIED" not in lines), lines
    return ended.value.code == 0, lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_script_and_replay_say_the_same_of_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    administrator = ADMINISTRATOR if path.stem.startswith(STATED) else None
    verified, printed = _script(path, administrator, monkeypatch)
    with create_engine("sqlite://").begin() as connection:
        schema.metadata.create_all(connection)
        try:
            problems = _replayed(connection, FileSource(path, ANCHOR, administrator))
            counted = _counted(connection)
        except LibrarianError as exc:
            problems, counted = [exc.message], printed
    spoilt = path.parent.name == "spoilt"
    assert (bool(problems), verified) == (spoilt, not spoilt), (problems, printed)
    assert spoilt or printed == counted


def test_there_are_enough_of_them() -> None:
    assert len([path for path in FILES if path.parent.name == "spoilt"]) >= 30


def test_the_script_imports_nothing_of_ours_and_is_short() -> None:
    tree = ast.parse(SCRIPT.read_text())
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    theirs = {name.split(".")[0] for name in plain | named} - sys.stdlib_module_names
    assert theirs == {"zstandard", "blake3", "nacl"}
    assert len(SCRIPT.read_text().splitlines()) < 150


def test_a_file_does_not_say_which_administrator_is_believed() -> None:
    """It names one, who revoked a site in it: believed only by whoever knows him by another way."""
    path = GOLDEN / "whole" / "stated.zst"
    assert asyncio.run(FileSource(path, ANCHOR, None).anchor()).administrator is None
    assert asyncio.run(FileSource(path, ANCHOR, ADMINISTRATOR).anchor()).administrator == key_of("administrator").public
    with pytest.raises(NotPossible, match="administrator"):
        asyncio.run(FileSource(path, ANCHOR, ANCHOR).anchor())
