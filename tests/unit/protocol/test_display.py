"""What people read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from librarian_protocol import display


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plain.fits", "plain.fits"),
        ("Ä 観測 é", "Ä 観測 é"),
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("a\nb\tc\x07\x7f", r"a\nb\tc\x07\x7f"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("a\u200bb\u2066c\ufeff", r"a\u200bb\u2066c\ufeff"),
        ("a\u2028b\udcff", r"a\u2028b\udcff"),
        ("a\x9bb", r"a\x9bb"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, told: str) -> None:
    assert display.safe(text) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-3, "0s"), (41.4, "41s"), (64, "1m04s"), (22_320, "6h12m"), (3 * 86_400 + 4 * 3600, "3d04h")],
)
def test_durations_are_told_in_two_units(seconds: float, told: str) -> None:
    assert display.duration(seconds) == told


def test_times_are_told_as_ages() -> None:
    now = datetime(2026, 11, 20, 13, 2, 11, tzinfo=UTC)
    assert display.ago("2026-11-20T13:01:07.250000Z", now) == "1m04s ago"
    assert display.ago(None, now) == "never"
    assert display.ago("soon\x1b", now) == r"soon\x1b"
    assert display.ago("2026-11-20T13:01:07", now) == "2026-11-20T13:01:07"


def test_times_are_told_to_the_second() -> None:
    assert display.moment("2026-11-20T13:01:07.250000Z") == "2026-11-20T13:01:07Z"
    assert display.moment("2026-11-20T13:01:07Z") == "2026-11-20T13:01:07Z"
    assert display.moment(None) == "-"


def test_figures_are_told_to_be_old_when_they_are() -> None:
    now = datetime(2026, 11, 20, 13, 2, 11, tzinfo=UTC)
    assert display.old("2026-11-20T13:02:07.250000Z", now) == ""
    assert display.old("2026-11-20T13:01:07.250000Z", now) == "1m04s ago"


def test_digests_are_cut_for_tables() -> None:
    assert display.digest("blake3:" + "9a" * 32) == "blake3:9a9a9a9a9a9a…"
    assert display.digest("9a" * 32) == "9a9a9a9a9a9a…"
    assert display.digest("blake3:00") == "blake3:00"


def test_one_is_told_in_the_singular() -> None:
    assert display.count(1, "file") == "1 file"
    assert display.count(1204, "file") == "1,204 files"
    assert display.count(2, "book", "shelves") == "2 shelves"


def test_small_rates_are_short() -> None:
    shown = [display.bytes_short(size) for size in ("0 Bytes", "1 Byte", "18.2 MiB")]
    assert shown == ["0 B", "1 B", "18.2 MiB"]
