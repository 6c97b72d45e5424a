"""Journals leave in a file, an auditor verifies them with a script of his own, and another site takes them in."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from tests.support.sites import Pair, pair

from librarian_protocol.errors import LibrarianError
from librarian_protocol.exports import Reading, records

SCRIPT = Path(__file__).parents[3] / "docs" / "audit-journal.py"


def audit(file: Path, fingerprint: str) -> subprocess.CompletedProcess[str]:
    """Run the auditor's script, apart from everything of ours."""
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPT), str(file), fingerprint], capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An exported file of two sites, one of which went over to another key; and the anchor's fingerprint."""
    root = tmp_path_factory.mktemp("export")
    with pair(root) as both:
        both.source.drop_file("a.dat", b"1")
        both.acknowledged(1)
        rekey(both)
        both.destination.drop_file("b.dat", b"2")
        both.wait_for("the summit heard", lambda: both.source.told("file.ingested", "archive")["b.dat"])
        file = root / "journals.zst"
        both.source.lbctl("events", "export", str(file))
        (anchor,) = [one.fingerprint for one in both.source.client.sites() if one.site == "summit"]
        assert "known already" in both.destination.lbctl("events", "import", str(file))
        both.assert_whole()
        again = f"sqlite:///{root / 'again.sqlite'}"
        replayed = both.destination.lbctl("events", "replay", "--from", str(file), "--anchor", anchor, "--into", again)
        assert digests(replayed) == digests(both.source.lbctl("events", "audit", "--digest"))
    return file, anchor


def digests(table: str) -> list[list[str]]:
    """Table, rows and digest of each line."""
    return [line.split()[:3] for line in table.splitlines()[1:]]


def rekey(both: Pair) -> None:
    """The archive goes over to another key; the summit believes it from there on."""
    both.destination.lbctl("site", "rekey")
    before = {one.site: one.key for one in both.source.client.sites()}["archive"]
    both.destination.stop()
    both.destination.start()
    both.wait_for(
        "the summit knows the other key",
        lambda: {one.site: one.key for one in both.source.client.sites()}["archive"] != before,
    )


def test_the_auditors_script_verifies_a_file(exported: tuple[Path, str]) -> None:
    done = audit(*exported)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("every signature and link of the chain is right") == 2
    other = audit(exported[0], "0000-0000-0000-0000")
    assert "NOT VERIFIED" in other.stderr
    assert len(SCRIPT.read_text().splitlines()) < 75


def rewritten(lines: list[bytes]) -> bytes:
    return zstandard.ZstdCompressor().compress(b"".join(lines))


def flipped(packed: bytes) -> bytes:
    """One bit in the middle of it."""
    return bytes([*packed[:200], packed[200] ^ 1, *packed[201:]])


SPOILT: dict[str, Callable[[list[bytes]], bytes]] = {
    "dropped": lambda lines: rewritten([*lines[:3], *lines[4:]]),
    "swapped": lambda lines: rewritten([*lines[:2], lines[3], lines[2], *lines[4:]]),
    "altered": lambda lines: rewritten([*lines[:3], lines[3].replace(b"archive", b"archivf"), *lines[4:]]),
    "cut-line": lambda lines: rewritten(lines[:-1]),
    "cut-bytes": lambda lines: rewritten(lines)[:-20],
    "flipped-bit": lambda lines: flipped(rewritten(lines)),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_tampered_file_is_found_by_script_and_by_import(exported: tuple[Path, str], tmp_path: Path, how: str) -> None:
    raw = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(exported[0].read_bytes())).read()
    bad = tmp_path / "bad.zst"
    bad.write_bytes(SPOILT[how](raw.splitlines(keepends=True)))
    done = audit(bad, exported[1])
    assert done.returncode != 0
    assert "NOT VERIFIED" in done.stderr
    with pytest.raises(LibrarianError), bad.open("rb") as opened:
        list(records(opened, Reading()))
