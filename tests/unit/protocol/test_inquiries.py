"""Letters by which holders say how their instances stand."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.protocol.samples import DIGEST, NAME, STORE

from librarian_protocol import wire
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.inquiries import (
    MOST_FILES,
    MOST_RESULTS,
    Answer,
    AskedFile,
    Outcome,
    Question,
    Result,
    answer_of,
    question_of,
)
from librarian_protocol.mail import MAX_MAIL_BYTES

QUESTION = Question(inquiry="0" * 32, part=0, fresh=True, files=[AskedFile(name=NAME, digest=DIGEST)])
RESULT = Result(
    name=NAME,
    digest=DIGEST,
    store=STORE,
    label="main",
    outcome=Outcome.RIGHT,
    size_bytes=11,
    found=DIGEST,
    at="2026-01-02T03:04:05.000006Z",
    fresh=True,
    message="every byte is right",
)
ANSWER = Answer(inquiry="0" * 32, part=0, done=True, results=[RESULT])


def test_a_question_and_an_answer_come_back_as_they_went() -> None:
    assert question_of(wire.encode(QUESTION)) == QUESTION
    assert answer_of(msgspec.Raw(wire.encode(ANSWER))) == ANSWER


def test_a_site_that_holds_nothing_names_no_store() -> None:
    absent = msgspec.structs.replace(
        RESULT, store=None, label=None, outcome=Outcome.ABSENT, size_bytes=None, found=None
    )
    assert answer_of(wire.encode(msgspec.structs.replace(ANSWER, results=[absent]))).results == [absent]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        wire.encode(msgspec.structs.replace(QUESTION, inquiry="x")),
        wire.encode(msgspec.structs.replace(QUESTION, files=[])),
        wire.encode(msgspec.structs.replace(QUESTION, files=QUESTION.files * (MOST_FILES + 1))),
    ],
)
def test_what_is_no_question_is_refused(body: bytes) -> None:
    with pytest.raises(SegmentInvalid):
        question_of(body)


def test_what_is_no_answer_is_refused() -> None:
    for body in (b"{}", wire.encode(msgspec.structs.replace(ANSWER, results=[RESULT] * (MOST_RESULTS + 1)))):
        with pytest.raises(SegmentInvalid):
            answer_of(body)


def test_the_longest_letters_are_not_too_long() -> None:
    long = "\u00e5" * 500 + "/" + "a" * 20
    many = msgspec.structs.replace(QUESTION, files=[AskedFile(name=NAME.__class__(long), digest=DIGEST)] * MOST_FILES)
    assert len(wire.encode(many)) < MAX_MAIL_BYTES
    result = msgspec.structs.replace(RESULT, name=NAME.__class__(long), message="m" * 1024)
    answer = msgspec.structs.replace(ANSWER, results=[result] * MOST_RESULTS)
    assert len(wire.encode(answer)) < MAX_MAIL_BYTES
