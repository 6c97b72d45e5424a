"""Every relative link in our documents leads somewhere, down to the heading."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def documents() -> list[Path]:
    """All that are kept."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.split()]


def anchors(document: Path) -> set[str]:
    """What its headings are called in links, as forges do it."""
    found: set[str] = set()
    for line in document.read_text().splitlines():
        if line.startswith("#"):
            words = line.lstrip("#").strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


def broken(document: Path) -> list[str]:
    """Links of one document that lead nowhere."""
    found: list[str] = []
    for link in _LINK.findall(_CODE.sub("", document.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_is_broken(document: Path) -> None:
    assert broken(document) == []


def test_a_broken_link_would_be_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# One\n[a](#one) [b](#two) [c](gone.md) [d](https://example.org)\n")
    assert broken(document) == ["#two", "gone.md"]


def test_every_test_that_the_security_page_names_is_there() -> None:
    """``directory/file.py`` below tests, and words of test names after it."""
    page = (ROOT / "docs" / "security.md").read_text()
    tests = {path.relative_to(ROOT / "tests").as_posix(): path.read_text() for path in ROOT.glob("tests/**/test_*.py")}
    files: list[str] = re.findall(r"`([a-z]*/?test_\w+\.py)`", page)
    assert len(files) > 20
    for name in files:
        assert any(path.endswith(name) for path in tests), name
    everything = "\n".join(tests.values())
    for words in re.findall(r"`((?:[a-z]+_){2,}[a-z]+)…?`", page):
        assert f"def test_{words}" in everything, words
