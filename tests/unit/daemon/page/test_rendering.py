"""Texts of others are shown as texts, whatever stands in them."""

from __future__ import annotations

from typing import cast

import pytest

from librarian_daemon.page.rendering import ASSETS, Renderer, asset
from librarian_daemon.ports.time import Clock
from librarian_protocol.errors import NotFound


class Time:
    def utc(self) -> str:
        return "2026-01-01T00:00:10Z"


def shown(message: str, hint: str = "") -> str:
    return Renderer(cast(Clock, Time())).render("error.html", error=NotFound(message, hint=hint))


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", '"><script>1</script>', "'&lt;"])
def test_markup_is_text(name: str) -> None:
    """A file's name or an error holds HTML: it is shown, and never becomes part of the page."""
    page = shown(name, hint=name)
    assert name not in page
    assert "<script" not in page
    assert "<img" not in page


@pytest.mark.parametrize("sign", ["\u202e", "\u200f", "\u2066", "\x1b", "\n", "\x00", "\u2028"])
def test_what_turns_or_hides_text_is_written_out(sign: str) -> None:
    page = shown(f"evil{sign}gpj.exe")
    assert f"<bdi>evil{sign}" not in page
    assert f"<bdi>evil{sign.encode('unicode_escape').decode()}gpj.exe</bdi>" in page


def test_words_of_all_languages_stay_as_they_are() -> None:
    assert "<bdi>ملف-données-観測.fits</bdi>" in shown("ملف-données-観測.fits")


def test_what_is_served_stands_in_the_package() -> None:
    for name in ASSETS:
        assert asset(name)
