"""What changes after it was claimed, while it is copied, sealed or placed, ends neither the daemon nor the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.intake import Rig

from librarian_daemon.fs.book_tree import compare
from librarian_daemon.intake.copier import Copier
from librarian_daemon.ports.store import Landing
from librarian_daemon.stores.posix.placer import Placer


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def _symlink(book: Path) -> None:
    (book / "odd").symlink_to("/etc/passwd")


def _fifo(book: Path) -> None:
    os.mkfifo(book / "odd")


def _bad_name(book: Path) -> None:
    Path(os.fsdecode(os.fsencode(book) + b"/odd\xff")).touch()


def _swapped(book: Path) -> None:
    (book / "x").unlink()
    (book / "x").symlink_to("/etc/passwd")


CHANGES = [_symlink, _fifo, _bad_name, _swapped]


def _in_claimed(rig: Rig, change: Callable[[Path], None]) -> None:
    for path in rig.claimed():
        if path.name == "book":
            with suppress(FileExistsError):
                change(path)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.fault(36)
async def test_a_book_changed_while_it_is_copied_is_looked_at_again_and_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    real = Copier._walk  # pyright: ignore[reportPrivateUsage]

    def walk(copier: Copier, *args: object) -> object:
        _in_claimed(rig, change)
        return real(copier, *args)  # type: ignore[arg-type]  # whatever it takes, handed on

    monkeypatch.setattr(Copier, "_walk", walk)
    path = rig.dropped("book/x", b"kept")
    os.link(path, rig.root.parent / "second-link")
    async with rig.running(unit="book") as intake:
        await rig.until(lambda: intake.snapshot().refused == 1)
        rig.dropped("next/x")
        await rig.until(lambda: rig.ledger.names == ["next"])
    assert "E109" in next(iter(rig.rejected().values())) or "E101" in next(iter(rig.rejected().values()))
    assert not any((rig.root / ".librarian/staging").iterdir())


@pytest.mark.parametrize("change", [_symlink, _fifo, _bad_name])
async def test_a_book_changed_while_it_is_sealed_is_looked_at_again_and_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    def compare_and_change(*args: object, **more: object) -> object:
        try:
            return compare(*args, **more)  # type: ignore[arg-type]  # whatever it takes, handed on
        finally:
            _in_claimed(rig, change)

    monkeypatch.setattr("librarian_daemon.stores.posix.sealer.book_tree.compare", compare_and_change)
    rig.dropped("book/x", b"kept")
    async with rig.running(unit="book") as intake:
        await rig.until(lambda: intake.snapshot().refused == 1 or intake.snapshot().accepted == 1)
        monkeypatch.undo()
        rig.dropped("next/x")
        await rig.until(lambda: "next" in rig.ledger.names)
    assert intake.snapshot().state != "paused"


@pytest.mark.fault(36)
async def test_what_vanishes_before_it_is_placed_costs_nothing_else(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Placer.place

    def place(placer: Placer, landings: Sequence[Landing]) -> object:
        for path in rig.claimed():
            if path.name == "gone":
                path.unlink()
        return real(placer, landings)

    monkeypatch.setattr(Placer, "place", place)
    rig.dropped("gone")
    rig.dropped("stays")
    async with rig.running(complete="rename"):
        await rig.accepted("stays")
    assert rig.ledger.landings == {}
    assert rig.incidents.ever == []
