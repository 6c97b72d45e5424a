"""Journals leave in a file, an auditor verifies them with a script of his own, and another site takes them in."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard
from tests.support.sites import Pair, pair

from librarian_daemon.runtime import machine
from librarian_protocol import exports, segments, wire
from librarian_protocol.errors import LibrarianError
from librarian_protocol.exports import Begin, End, ExportReader, Record, records
from librarian_protocol.keys import Purpose
from librarian_protocol.names import SiteName

_RECORD = msgspec.json.Decoder(Record, dec_hook=wire.decode_hook)
_BEGIN = msgspec.json.Decoder(Begin, dec_hook=wire.decode_hook)
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
        (anchor,) = [site.fingerprint for site in both.source.client.sites() if site.site == "summit"]
        assert "known already" in both.destination.lbctl("events", "import", str(file))
        both.assert_whole()
        again = f"sqlite:///{root / 'again.sqlite'}"
        replayed = both.destination.lbctl("events", "replay", "--from", str(file), "--anchor", anchor, "--into", again)
        assert digests(replayed) == digests(both.source.lbctl("events", "audit", "--digest"))
        told_otherwise(both, file, root / "otherwise.zst")
    return file, anchor


def told_otherwise(both: Pair, file: Path, otherwise: Path) -> None:
    """The file of somebody with the archive's key, who tells the end of its journal in other words."""
    first, *lines, _ = unpacked(file)
    last = [
        record for record in map(_RECORD.decode, lines) if segments.decode(record.payload.encode()).site == "archive"
    ][-1]
    payload = last.payload.replace('"b.dat"', '"c.dat"')
    assert payload != last.payload
    key = machine.load_key(both.destination.root / "keys" / "site.key")
    begin = exports.encode(msgspec.structs.replace(_BEGIN.decode(first), by=SiteName("archive"), key=key.public))
    lie = Record(payload=payload, signature=key.sign(Purpose.SEGMENT, payload.encode()))
    told = [begin, *lines, exports.encode(lie)]
    chain = exports.NO_CHAIN
    for line in told:
        chain = exports.link(chain, line)
    end = End(segments=len(told) - 1, chain=chain, signature=key.sign(Purpose.EXPORT, chain.encode()))
    otherwise.write_bytes(rewritten([*told, exports.encode(end)]))
    said = both.source.lbctl("events", "import", str(otherwise), exit_code=6)
    assert "1 different from a known segment with the same number: NOT BELIEVED" in said
    assert "c.dat" not in {file.name for file in both.source.client.files().files}


def digests(table: str) -> list[list[str]]:
    """Table, rows and digest of each line."""
    return [line.split()[:3] for line in table.splitlines()[1:]]


def rekey(both: Pair) -> None:
    """The archive goes over to another key; the summit believes it from there on."""
    both.destination.lbctl("site", "rekey")
    before = {site.site: site.key for site in both.source.client.sites()}["archive"]
    both.destination.stop()
    both.destination.start()
    both.wait_for(
        "the summit knows the other key",
        lambda: {site.site: site.key for site in both.source.client.sites()}["archive"] != before,
    )


def test_the_auditors_script_verifies_a_file(exported: tuple[Path, str]) -> None:
    done = audit(*exported)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" entries count, 0 do not\n") == 2
    other = audit(exported[0], "0000-0000-0000-0000")
    assert "NOT VERIFIED" in other.stdout


def unpacked(file: Path) -> list[bytes]:
    raw = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(file.read_bytes())).read()
    return raw.splitlines(keepends=True)


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
    bad = tmp_path / "bad.zst"
    bad.write_bytes(SPOILT[how](unpacked(exported[0])))
    done = audit(bad, exported[1])
    assert done.returncode != 0
    assert "NOT VERIFIED" in done.stdout
    with pytest.raises(LibrarianError), bad.open("rb") as opened:
        list(records(opened, ExportReader()))
