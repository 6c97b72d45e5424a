"""Which key a site may be started with."""

from __future__ import annotations

import pytest

from librarian_protocol.own_key import Fit, KeyEvidence, fit

MINE, NEXT, OTHER = (f"ed25519:{digit * 64}" for digit in "abc")


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param(KeyEvidence(), Fit.OWN, id="nothing is known: a new site"),
        pytest.param(KeyEvidence(roster=MINE), Fit.OWN, id="the roster's"),
        pytest.param(
            KeyEvidence(roster=MINE, ran_with=OTHER), Fit.OWN, id="the roster's, that an administrator gave it"
        ),
        pytest.param(KeyEvidence(roster=NEXT, former=[MINE]), Fit.FORMER, id="one of before"),
        pytest.param(
            KeyEvidence(roster=NEXT, former=[MINE], ran_with=MINE), Fit.FORMER, id="one that was taken from it"
        ),
        pytest.param(KeyEvidence(roster=NEXT, former=[MINE], waiting=NEXT), Fit.OWN, id="half-way to the next"),
        pytest.param(KeyEvidence(roster=NEXT, former=[MINE], waiting=OTHER), Fit.FORMER, id="another one waits"),
        pytest.param(KeyEvidence(roster=OTHER, ran_with=OTHER), Fit.FOREIGN, id="another one than always"),
        pytest.param(KeyEvidence(ran_with=OTHER), Fit.FOREIGN, id="another one, of no mesh"),
        pytest.param(KeyEvidence(roster=OTHER, ran_with=MINE), Fit.OWN, id="admitted anew, and not heard of it"),
        pytest.param(
            KeyEvidence(roster=OTHER), Fit.OWN, id="an empty catalog hears first what was said of the former key"
        ),
        pytest.param(
            KeyEvidence(roster=OTHER, ran_with=OTHER, behind=True), Fit.OWN, id="a catalog of before a re-key"
        ),
        pytest.param(
            KeyEvidence(roster=OTHER, ran_with=OTHER, behind=True, witnessed=MINE), Fit.OWN, id="and its store says"
        ),
        pytest.param(
            KeyEvidence(roster=OTHER, behind=True, ran_with=OTHER, witnessed=OTHER), Fit.FOREIGN, id="a store denies"
        ),
        pytest.param(
            KeyEvidence(roster=OTHER, signed_first=False, signed_last=False), Fit.FOREIGN, id="of before: another"
        ),
        pytest.param(
            KeyEvidence(roster=OTHER, signed_first=False, signed_last=True), Fit.FOREIGN, id="of before: it ran so"
        ),
        pytest.param(
            KeyEvidence(roster=OTHER, signed_first=True, signed_last=True), Fit.OWN, id="of before: always this"
        ),
        pytest.param(KeyEvidence(signed_first=False, signed_last=True), Fit.OWN, id="of before: changed"),
        pytest.param(KeyEvidence(signed_first=True, signed_last=False), Fit.FOREIGN, id="of before: changed back"),
    ],
)
def test_a_start_is_refused_only_where_the_key_is_certainly_wrong(known: KeyEvidence, expected: Fit) -> None:
    assert fit(MINE, known) is expected
