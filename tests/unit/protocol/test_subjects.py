"""Subjects and names on the bus."""

from __future__ import annotations

import pytest
from tests.unit.protocol.samples import ARCHIVE, SUMMIT

from librarian_protocol import subjects
from librarian_protocol.entries import KINDS
from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.names import RESERVED_SITE_NAMES, SiteName


def test_every_subject_is_built_as_documented() -> None:
    """Server permissions are written against these words."""
    assert subjects.stream(SUMMIT) == "LB_summit"
    assert subjects.stream_subjects(SUMMIT) == ["lb.summit.>"]
    assert subjects.journal(SUMMIT, "file.ingested") == "lb.summit.file.ingested"
    assert subjects.consumer(SUMMIT, ARCHIVE) == "summit_to_archive"
    assert subjects.pull(SUMMIT, ARCHIVE) == "lb.pull.summit.archive"
    assert subjects.reset(SUMMIT, ARCHIVE) == "lb.reset.summit.archive"
    assert subjects.inbox(SUMMIT, ARCHIVE, "0f") == "lb.inbox.summit.archive.0f"
    assert subjects.join(SUMMIT) == "lb.join.summit"
    assert (subjects.SIGNATURE_HEADER, subjects.MESSAGE_ID_HEADER) == ("Lb-Signature", "Nats-Msg-Id")


def test_no_site_can_be_named_like_a_word_of_the_subjects() -> None:
    """Else that site's stream would swallow everybody's questions."""
    for subject in (
        subjects.pull(SUMMIT, ARCHIVE),
        subjects.reset(SUMMIT, ARCHIVE),
        subjects.inbox(SUMMIT, ARCHIVE, "0"),
        subjects.join(SUMMIT),
    ):
        assert subject.split(".")[1] in RESERVED_SITE_NAMES


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_journal_subject_gives_its_kind_back(kind: str) -> None:
    """Receivers compare it with the kind inside the segment."""
    assert subjects.kind_of_journal(subjects.journal(SUMMIT, kind), SUMMIT) == kind


@pytest.mark.parametrize(
    "subject",
    [
        "lb.archive.file.ingested",
        "lb.summit.file",
        "lb.summit.mail.archive.offer",
        "lb.summit",
        "file.ingested",
        "",
    ],
)
def test_a_subject_that_is_not_of_the_sites_journal_is_refused(subject: str) -> None:
    """Another site's, the mail's, or nonsense."""
    with pytest.raises(SegmentInvalid, match="is not one of the journal of site 'summit'"):
        subjects.kind_of_journal(subject, SiteName.parse("summit"))


def test_mail_heads_and_questions_name_sender_and_receiver() -> None:
    """So that the servers on the way can tell who speaks, and to whom."""
    assert subjects.mail(SUMMIT, ARCHIVE, "push-me") == "lb.summit.mail.archive.push-me"
    assert subjects.is_mail("lb.summit.mail.archive.push-me", SUMMIT)
    assert not subjects.is_mail("lb.summit.file.ingested", SUMMIT)
    assert not subjects.is_mail("lb.archive.mail.summit.x", SUMMIT)
    assert subjects.head(SUMMIT) == "lb.head.summit"
    assert subjects.rpc(SUMMIT, ARCHIVE, "journal") == "lb.rpc.summit.archive.journal"
    assert subjects.joined(SUMMIT, "UABC") == "lb.joined.summit.UABC"
