"""A busy site is borne with for longer, a dead link is noticed soon."""

from __future__ import annotations

from librarian_adapters.http.patience import LONGEST, Patience
from librarian_protocol.names import SiteName

SUMMIT = SiteName.parse("summit")
ARCHIVE = SiteName.parse("archive")


def test_silence_is_borne_longer_each_time_up_to_a_limit() -> None:
    patience = Patience()
    seen: list[float] = []
    for _ in range(6):
        seen.append(patience.factor(SUMMIT))
        patience.silent(SUMMIT, patience.factor(SUMMIT))
    assert seen == [1, 2, 4, 8, 8, 8]
    assert seen[-1] == LONGEST
    assert patience.factor(ARCHIVE) == 1


def test_requests_that_were_silent_together_count_once() -> None:
    patience = Patience()
    for _ in range(4):
        patience.silent(SUMMIT, 1.0)
    assert patience.factor(SUMMIT) == 2


def test_answers_end_it_by_halves() -> None:
    patience = Patience()
    patience.silent(SUMMIT, 4.0)
    seen: list[float] = []
    for _ in range(4):
        seen.append(patience.factor(SUMMIT))
        patience.answered(SUMMIT)
    assert seen == [8, 4, 2, 1]
    assert patience.factor(SUMMIT) == 1
