"""Makes the golden samples: `PYTHONPATH=.:protocol python tests/golden/make.py`.

They are what version 1 wrote. A file that exists is left alone: later versions must go on reading it, so run this only
to add the sample of a new kind (at the end of ``samples.ENTRIES``: the samples are one journal, in that order).
"""

from __future__ import annotations

from pathlib import Path

from tests.unit.protocol import samples, test_tokens

from librarian_protocol import manifest, segments, tokens
from librarian_protocol.digests import Digest
from librarian_protocol.keys import Purpose
from librarian_protocol.names import MemberPath

HERE = Path(__file__).resolve().parent


def _write(name: str, content: bytes) -> None:
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.write_bytes(content)


def main() -> None:
    """Write what is missing."""
    position = samples.EMPTY_JOURNAL
    for entry in samples.ENTRIES:
        for done in segments.cut(position, [entry], samples.AT):
            position = segments.following(position, done)
            signature = samples.SUMMIT_KEY.sign(Purpose.SEGMENT, done.payload)
            _write(f"segments/{done.segment.kind}.json", done.payload)
            _write(f"segments/{done.segment.kind}.sig", signature.encode())
    _write("token.txt", tokens.encode(test_tokens.TOKEN).encode())
    _write("join.json", tokens.seal(test_tokens.REQUEST, key=samples.ARCHIVE_KEY, secret=test_tokens.SECRET))
    members: list[manifest.Member] = [
        manifest.MemberFile(MemberPath.parse("README"), 5, Digest.blake3(b"hello")),
        manifest.MemberFile(MemberPath.parse("data/0001.raw"), 0, Digest.blake3(b"")),
        manifest.MemberDirectory(MemberPath.parse("logs/empty")),
        manifest.MemberFile(MemberPath.parse("Ångström sky.txt"), 3, Digest.blake3(b"sky")),
    ]
    text = manifest.HEADER + b"".join(manifest.line(member) for member in members)
    _write("book.manifest", text)
    _write("book.digest", Digest.blake3(text).encode())


if __name__ == "__main__":
    main()
