"""The letters of an eviction: what is asked, what is answered, and what is no answer."""

from __future__ import annotations

import pytest
from tests.unit.protocol.samples import ARCHIVE, DIGEST, NAME, STORE, SUMMIT

from librarian_protocol import wire
from librarian_protocol.entries import StoreRole
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.eviction.letters import (
    MAX_BODY_BYTES,
    MOST_FILES,
    AskedFile,
    No,
    answer_of,
    answers,
    ask_of,
    asks,
    goes_on,
    why_of,
)
from librarian_protocol.eviction.refusal import Declined
from librarian_protocol.eviction.voucher import Round, Vouch
from librarian_protocol.names import Name
from librarian_protocol.requirement import Requirement

NONCE = "1a" * 16
VOUCH = Vouch(
    nonce=NONCE,
    name=NAME,
    digest=DIGEST,
    site=SUMMIT,
    store=STORE,
    role=StoreRole.ARCHIVE,
    keep=Requirement(instances=2, domains=2, role=StoreRole.ARCHIVE),
    proof="00",
)
NO = No(name=NAME, digest=DIGEST, store=STORE, why="held")


def test_a_question_comes_as_it_was_asked() -> None:
    (body,) = asks(NONCE, Round.BYTES, STORE, [AskedFile(name=NAME, digest=DIGEST)])
    asked = ask_of(body)
    assert (asked.nonce, asked.round, asked.store) == (NONCE, Round.BYTES, STORE)
    assert asked.files == [AskedFile(name=NAME, digest=DIGEST)]


def test_an_answer_comes_as_it_was_given() -> None:
    (body,) = answers(NONCE, Round.BYTES, [VOUCH, NO])
    answer = answer_of(body, SUMMIT)
    assert (answer.vouches, answer.declined) == ([VOUCH], [NO])
    assert why_of(answer.declined[0]) is Declined.HELD


def test_a_reason_of_a_later_version_is_none_that_is_known() -> None:
    assert why_of(No(name=NAME, digest=DIGEST, store="", why="of-2031")) is None


def test_that_it_goes_on_is_an_answer_about_nothing() -> None:
    answer = answer_of(goes_on(NONCE, Round.ROWS), SUMMIT)
    assert (answer.nonce, answer.vouches, answer.declined) == (NONCE, [], [])


def test_nobody_vouches_for_another_site_or_under_another_nonce() -> None:
    (body,) = answers(NONCE, Round.ROWS, [VOUCH])
    with pytest.raises(SegmentInvalid, match="another nonce"):
        answer_of(body, ARCHIVE)
    (other,) = answers("2b" * 16, Round.ROWS, [VOUCH])
    with pytest.raises(SegmentInvalid, match="another nonce"):
        answer_of(other, SUMMIT)


@pytest.mark.parametrize("body", [b"{}", b"[", b'{"nonce":"x","round":1,"store":"y","files":[]}'])
def test_what_is_no_letter_is_refused(body: bytes) -> None:
    with pytest.raises(SegmentInvalid, match="evict-ask"):
        ask_of(body)
    with pytest.raises(SegmentInvalid, match="evict-answer"):
        answer_of(b"[", SUMMIT)


def test_many_files_are_asked_about_in_letters_that_are_not_too_large() -> None:
    files = [AskedFile(name=Name(f"{'d' * 200}/{number}"), digest=DIGEST) for number in range(1200)]
    bodies = list(asks(NONCE, Round.ROWS, STORE, files))
    assert [file for body in bodies for file in ask_of(body).files] == files
    assert all(len(body) < MAX_BODY_BYTES + 300 for body in bodies)
    assert max(len(ask_of(body).files) for body in bodies) < MOST_FILES
    assert list(asks(NONCE, Round.ROWS, STORE, [])) == []
    short = [AskedFile(name=Name(f"{number}"), digest=DIGEST) for number in range(MOST_FILES + 1)]
    assert [len(ask_of(body).files) for body in asks(NONCE, Round.ROWS, STORE, short)] == [MOST_FILES, 1]


def test_a_question_is_plain_json() -> None:
    (body,) = asks(NONCE, Round.ROWS, STORE, [AskedFile(name=NAME, digest=DIGEST)])
    assert body == wire.encode(
        {"nonce": NONCE, "round": 1, "store": STORE, "files": [{"name": NAME, "digest": DIGEST}]}
    )
