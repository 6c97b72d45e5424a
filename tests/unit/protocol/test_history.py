"""Under a key that ended counts the past of where it ended: searched over all small histories and orders of arrival.

The statement: let *A* be the segments at which a key ended and all that they are built on, by their hashes. Of what
that key signed, exactly the segments of A count whose whole past is held; it does not matter in which order they came,
whether the word of the roster came before, between or after them, or what else the key signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations, product

import msgspec
import pytest

from librarian_protocol.entries import Cutoff
from librarian_protocol.history import End, Past, Walk, past
from librarian_protocol.segment_verdict import Place, continues
from librarian_protocol.segments import NO_HASH


class Link(msgspec.Struct, frozen=True):
    """A segment of one entry, as far as the rule looks at it; all are signed with the key that ends."""

    hash: str
    prev: str
    seq: int
    epoch: int

    @property
    def cutoff(self) -> Cutoff:
        return Cutoff(incarnation=f"{self.epoch:016x}", seq=self.seq, hash=self.hash)


def histories(size: int) -> Iterator[list[Link]]:
    """All forests of that size: each segment begins anew, or is built on an earlier one as a rewind or a thief would.

    Epochs are as great as they can be: a thief chooses them, and the rule must not look at them.
    """
    for parents in product(*([None, *range(n)] for n in range(size))):
        links: list[Link] = []
        for number, parent in enumerate(parents):
            before = None if parent is None else links[parent]
            links.append(
                Link(
                    hash=f"{number + 1:064x}",
                    prev=before.hash if before else NO_HASH,
                    seq=before.seq + 1 if before else 1,
                    epoch=number + 1,
                )
            )
        yield links


def defined(links: Sequence[Link], end: End) -> set[str]:
    """What counts, by the statement above."""
    by_hash = {link.hash: link for link in links}

    def whole(link: Link | None) -> bool:
        return link is not None and (link.prev == NO_HASH or whole(by_hash.get(link.prev)))

    found: set[str] = set()
    for tip in end.hashes:
        link = by_hash.get(tip)
        while link is not None:
            if whole(link):
                found.add(link.hash)
            link = by_hash.get(link.prev)
    return found


class Receiver:
    """A catalog as far as the rule goes: rows with a state; what it decides by is the protocol's."""

    def __init__(self) -> None:
        self.rows: dict[str, Link] = {}
        self.ended: set[str] = set()
        self.end: End | None = None

    def counting(self) -> set[str]:
        found = {NO_HASH: Place(hash=NO_HASH, epoch=0, incarnation="", last_seq=0, applied=True)}
        for link in sorted(self.rows.values(), key=lambda row: (row.epoch, row.seq)):
            before = found.get(link.prev)
            incarnation = f"{link.epoch:016x}"
            if link.hash in self.ended or before is None:
                continue
            assert continues(before, link.epoch, incarnation, link.seq)
            found[link.hash] = Place(
                hash=link.hash, epoch=link.epoch, incarnation=incarnation, last_seq=link.seq, applied=True
            )
        return set(found) - {NO_HASH}

    def hear(self, end: End) -> None:
        """The word of the roster."""
        self.end = end
        self.judge_anew()

    def judge_anew(self) -> None:
        assert self.end is not None
        walk = Walk([self.end])
        self.ended = set()
        for link in sorted(self.rows.values(), key=lambda row: (row.epoch, row.seq), reverse=True):
            if self.end not in walk.step(link.hash, link.prev):
                self.ended.add(link.hash)
        assert walk.lacking(self.end) == (not self.is_whole())

    def is_whole(self) -> bool:
        assert self.end is not None
        return self.end.hashes <= self.counting()

    def take(self, link: Link) -> None:
        if self.end is None:
            self.rows[link.hash] = link
            return
        followed = any(row.prev == link.hash and row.hash not in self.ended for row in self.rows.values())
        found = past(link.hash, link.seq, self.end, followed=followed, whole=self.is_whole())
        if found is Past.NO:
            return  # nothing is kept of it
        self.rows[link.hash] = link
        if found is Past.UNKNOWN:
            self.ended.add(link.hash)
        elif link.prev in self.ended:
            self.judge_anew()


def ends(links: Sequence[Link]) -> Iterator[End]:
    """None, each one, and each pair of segments; one that never comes."""
    yield End(())
    for some in [*combinations(links, 1), *combinations(links, 2)]:
        yield End(tuple(link.cutoff for link in some))
    yield End((Cutoff(incarnation="0" * 16, seq=9, hash="f" * 64),))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_what_counts_is_the_past_of_where_the_key_ended_in_every_order_of_arrival(size: int) -> None:
    tried = 0
    for links in histories(size):
        for end in ends(links):
            expected = defined(links, end)
            for arriving in permutations(links):
                for word in range(size + 1):
                    receiver = Receiver()
                    for number, link in enumerate(arriving):
                        if number == word:
                            receiver.hear(end)
                        receiver.take(link)
                        if receiver.end is not None:
                            assert receiver.counting() <= expected, "nothing else counts, not for a moment"
                    if word == size:
                        receiver.hear(end)
                    assert receiver.counting() == expected, (links, end, arriving, word)
                    tried += 1
    assert tried > 0


def test_what_never_all_arrives_counts_as_far_as_its_past_is_held() -> None:
    """Of a chain of four the second is missing: the first counts, the others wait."""
    links = next(chain for chain in histories(4) if [link.seq for link in chain] == [1, 2, 3, 4])
    end = End((links[3].cutoff,))
    for arriving in permutations([links[0], links[2], links[3]]):
        receiver = Receiver()
        receiver.hear(end)
        for link in arriving:
            receiver.take(link)
        assert receiver.counting() <= {links[0].hash}
        receiver.take(links[1])
        assert receiver.counting() == {link.hash for link in links}


def test_a_segment_that_reaches_behind_the_last_number_at_which_a_key_ended_is_not_kept() -> None:
    end = End((Cutoff(incarnation="0" * 16, seq=9, hash="f" * 64),))
    assert past("a" * 64, 9, end, followed=False, whole=False) is Past.UNKNOWN
    assert past("a" * 64, 10, end, followed=False, whole=False) is Past.NO
    assert past("a" * 64, 10, end, followed=True, whole=False) is Past.YES
    assert past("a" * 64, 1, End(()), followed=False, whole=False) is Past.NO
