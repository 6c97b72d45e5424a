"""Everything that reads bytes from outside: whatever comes, it is decoded, or refused with an error of ours.

``LIBRARIAN_FUZZ`` is how many messages each gets; ``scripts/fuzz`` gives a hundred thousand. ``LIBRARIAN_SEED`` repeats
a run's choices. What is signed is signed after it was spoilt, too: a member of the mesh can do that.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import pytest
import zstandard
from tests.fuzzing.mutating import mutated
from tests.unit.protocol import samples, test_exports

from librarian_adapters.contract import Part
from librarian_adapters.http.bundle import Asked, FrameReader, decode_request, encode_error, encode_frame
from librarian_adapters.http.push_letters import PushMe, PushRefused, decode_push_me, decode_push_refused
from librarian_daemon.config import loader
from librarian_protocol import exports, heads, letters, mail, segments, tokens, wire
from librarian_protocol.digests import Digest
from librarian_protocol.errors import LibrarianError
from librarian_protocol.keys import Purpose
from librarian_protocol.manifest import ManifestReader
from librarian_protocol.names import MemberPath, Name, SiteName

MANY = int(os.environ.get("LIBRARIAN_FUZZ", "400"))
SEED = int(os.environ.get("LIBRARIAN_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
KEY, SITE = samples.SUMMIT_KEY, samples.SUMMIT
#: Takes bytes.
Decoder = Callable[[bytes], object]

pytestmark = pytest.mark.timeout(120 + MANY // 20)


def segment(payload: bytes) -> object:
    """As it arrives, well signed, and its entries."""
    opened = segments.open_signed(payload, KEY.sign(Purpose.SEGMENT, payload), site=SITE, key=KEY.public)
    return segments.entries_of(opened)


def altered_segment(signed: bytes) -> Decoder:
    """With the signature of what it was."""
    signature = KEY.sign(Purpose.SEGMENT, signed)
    return lambda payload: segments.open_signed(payload, signature, site=SITE, key=KEY.public)


def head(raw: bytes) -> object:
    message = wire.encode({"heads": raw.decode("utf-8", "replace"), "signature": KEY.sign(Purpose.HEAD, raw)})
    return heads.open_signed(message, site=SITE, key=KEY.public)


def head_message(message: bytes) -> object:
    return heads.open_signed(message, site=SITE, key=KEY.public)


def letter(payload: bytes) -> object:
    signature = KEY.sign(Purpose.MAIL, payload)
    opened = mail.open_signed(payload, signature, sender=SITE, to=samples.ARCHIVE, key=KEY.public)
    return letters.decode(opened.body)


def manifest(text: bytes) -> object:
    reader = ManifestReader()
    found = [list(reader.feed(text[at : at + 7])) for at in range(0, len(text), 7)]
    return found, reader.finish()


def frames(stream: bytes) -> object:
    reader = FrameReader(1 << 20)
    return [list(reader.feed(stream[at : at + 11])) for at in range(0, len(stream), 11)]


def exported(lines: bytes) -> object:
    """The lines, compressed: a damaged compression is another decoder's business."""
    return list(exports.records(io.BytesIO(zstandard.ZstdCompressor().compress(lines)), exports.ExportReader()))


def exported_file(data: bytes) -> object:
    return list(exports.records(io.BytesIO(data), exports.ExportReader()))


def token(text: bytes) -> object:
    return tokens.decode(text.decode("utf-8", "replace"))


def configuration(where: Path) -> Decoder:
    def load(text: bytes) -> object:
        where.write_bytes(text)
        return loader.load(where, {})

    return load


def goods(tmp_path: Path) -> dict[str, tuple[Decoder, list[bytes]]]:
    """Each decoder with messages that it takes."""
    sealed = [done.payload for done in segments.cut(samples.EMPTY_JOURNAL, samples.ENTRIES, samples.AT)]
    first = segments.decode(sealed[0])
    telling = letters.LetterBody(
        number=1,
        prev="0" * 64,
        epoch=1,
        incarnation=samples.INCARNATION,
        kind=first.kind,
        entries=list(first.entries),
    )
    written = mail.Mail(
        v=mail.VERSION,
        sender=SITE,
        to=samples.ARCHIVE,
        verb="tell",
        id="0" * 32,
        at=samples.AT,
        body=msgspec.Raw(wire.encode(telling)),
    )
    tip = heads.Tip(site=SITE, epoch=1, incarnation=samples.INCARNATION, seq=3, hash="0" * 64)
    announced = heads.seal(SITE, [tip], samples.AT, KEY)
    asked = Asked(digest=samples.DIGEST, part=Part.FILE, member=None, size_bytes=11)
    push = PushMe(ticket="0" * 32, expires=1, items=[asked], bundle=False)
    refused = PushRefused(ticket="0" * 32, code="E301", message="it is not here")
    lines = test_exports.file()
    return {
        "segment": (segment, sealed),
        "altered segment": (altered_segment(sealed[0]), sealed[:1]),
        "heads": (head, [wire.decoder(dict[str, str]).decode(announced)["heads"].encode()]),
        "heads, as they come": (head_message, [announced]),
        "letter": (letter, [wire.encode(written)]),
        "manifest": (manifest, [(GOLDEN / "book.manifest").read_bytes()]),
        "bundle request": (decode_request, [wire.encode([asked, asked])]),
        "frames": (frames, [encode_frame(0, b"some bytes") + encode_error(1, "E301", "not here")]),
        "push me": (decode_push_me, [wire.encode(push)]),
        "push refused": (decode_push_refused, [wire.encode(refused)]),
        "export": (exported, [b"".join(lines)]),
        "export, compressed": (exported_file, [zstandard.ZstdCompressor().compress(b"".join(lines))]),
        "token": (token, [(GOLDEN / "token.txt").read_bytes()]),
        "join": (tokens.read, [(GOLDEN / "join.json").read_bytes()]),
        "configuration": (configuration(tmp_path / "site.toml"), [CONFIGURATION]),
        "name": (Name.parse, [b"obs/2026/a.fits"]),
        "member": (MemberPath.parse, [b"a/b/c"]),
        "digest": (digest, [samples.DIGEST.encode()]),
        "site": (site_name, [b"summit"]),
    }


CONFIGURATION = b"""site = "summit"
[[store]]
label = "main"
path = "store"
[[intake]]
path = "drop"
store = "main"
unit = "file"
quiet_s = 0.5
[bus]
listen = "127.0.0.1:4222"
"""


def digest(text: bytes) -> object:
    return Digest.parse(text.decode("utf-8", "replace"))


def site_name(text: bytes) -> object:
    return SiteName.parse(text.decode("utf-8", "replace"))


DECODERS = sorted(goods(Path()))


@pytest.mark.fault(28)
@pytest.mark.parametrize("decoder", DECODERS)
def test_what_comes_from_outside_is_decoded_or_refused_with_an_error_of_ours(tmp_path: Path, decoder: str) -> None:
    decode, good = goods(tmp_path)[decoder]
    for message in good:
        decode(message)
    chance = Random(f"{SEED} {decoder}")
    refusals: list[str] = []
    for number in range(MANY):
        data = mutated(chance.choice(good), chance)
        if chance.random() < 0.1:
            data = chance.randbytes(chance.randint(0, 300))
        try:
            decode(data)
        except LibrarianError as exc:
            refusals.append(exc.message)
        except Exception as exc:
            raise AssertionError(f"seed {SEED}, message {number}: {data[:300]!r}") from exc
    assert len(refusals) > MANY // 10
    assert all(0 < len(refusal) < 5000 for refusal in refusals), "what was sent does not come back at length"
