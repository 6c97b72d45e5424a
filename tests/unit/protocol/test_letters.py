"""What a callback site is told by letter: what concerns it, in a chain that shows what was lost."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from tests.unit.protocol import samples
from tests.unit.protocol.samples import AT, SUMMIT

from librarian_protocol import entries, letters, segments, wire
from librarian_protocol.entries import Entry, FileIngested
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.letters import Told
from librarian_protocol.names import Name
from librarian_protocol.segments import Segment


def segment(*entries: Entry) -> Segment:
    """One, of these entries."""
    (done,) = segments.cut(samples.EMPTY_JOURNAL, entries, AT)
    return done.segment


def public(name: Name) -> bool:
    return name.startswith("public/")


def told_of(found: Sequence[tuple[bytes, Told]]) -> list[Entry | SegmentInvalid]:
    """All entries of letters."""
    bodies = [letters.decode(body) for body, _ in found]
    return [entry for body in bodies for entry in letters.entries_of(body, SUMMIT) or ()]


def test_only_what_is_offered_is_told_with_the_numbers_of_the_journal() -> None:
    said = segment(*(samples.ingested(name) for name in ("secret/a", "public/b", "public/c")))
    found = list(letters.tellings(Told(), said, public, begins=True))
    assert [(entry.seq, entry.name) for entry in told_of(found) if isinstance(entry, FileIngested)] == [
        (2, "public/b"),
        (3, "public/c"),
    ]
    ((body, told),) = found
    assert told == Told(number=1, hash=letters.hash_of(body))
    assert letters.decode(body).begins


def test_nothing_is_told_where_nothing_concerns() -> None:
    assert list(letters.tellings(Told(), segment(samples.ingested("secret/a")), public, begins=True)) == []
    by_kind = {entries.kind_of(entry): entry for entry in samples.ENTRIES}
    assert not letters.concerns(by_kind["subscription.declared"], public)
    assert letters.concerns(by_kind["site.admitted"], public)


def test_a_kind_of_a_later_version_is_not_told() -> None:
    later = msgspec.structs.replace(segment(samples.ingested("public/a")), kind="file.dreamt")
    assert list(letters.tellings(Told(), later, public, begins=False)) == []


def test_much_is_told_in_several_letters_of_one_chain() -> None:
    many = [samples.ingested(f"public/{n}", "x" * 1000) for n in range(150)]
    found = list(letters.tellings(Told(number=4, hash="a" * 64), segment(*many), public, begins=True))
    bodies = [letters.decode(body) for body, _ in found]
    assert len(bodies) > 1
    assert [body.number for body in bodies] == list(range(5, 5 + len(bodies)))
    assert [body.prev for body in bodies] == ["a" * 64, *(told.hash for _, told in found[:-1])]
    assert [body.begins for body in bodies] == [True] + [False] * (len(bodies) - 1)
    assert len(told_of(found)) == 150
    assert all(len(body) < 1.2 * letters.MAX_TELLING_BYTES for body, _ in found)


def test_a_body_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(SegmentInvalid, match="tell"):
        letters.decode(b"{}")


def chain(length: int) -> list[tuple[bytes, Told]]:
    """Letters that follow one another."""
    told, found = Told(), list[tuple[bytes, Told]]()
    for n in range(length):
        for body, behind in letters.tellings(told, segment(samples.ingested(f"public/{n}")), public, begins=n == 0):
            found.append((body, behind))
            told = behind
    return found


def received(bodies: Sequence[bytes]) -> Told:
    """How far a recipient comes with these."""
    told = Told()
    for body in bodies:
        told = letters.receive(told, body, letters.decode(body)) or told
    return told


def test_a_whole_chain_is_whole_and_repetitions_change_nothing() -> None:
    bodies = [body for body, _ in chain(3)]
    assert received(bodies) == chain(3)[-1][1]
    assert received([*bodies, *bodies]) == chain(3)[-1][1]
    assert letters.receive(Told(number=2), bodies[0], letters.decode(bodies[0])) is None


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_letter_is_noticed_until_all_is_told_again(lost: int) -> None:
    bodies = [body for body, _ in chain(3)]
    told = received([body for n, body in enumerate(bodies) if n != lost])
    assert not told.whole
    again = letters.decode(bodies[2])
    begins = msgspec.structs.replace(again, number=4, prev=told.hash, begins=True)
    assert received([*bodies[1:], wire.encode(begins)]).whole


def test_a_letter_that_does_not_follow_is_noticed() -> None:
    bodies = [body for body, _ in chain(2)]
    other = wire.encode(msgspec.structs.replace(letters.decode(bodies[1]), prev="b" * 64))
    assert not received([bodies[0], other]).whole
