"""People are told what matters, together, once, and not more often than they asked for."""

from __future__ import annotations

import pytest

from librarian_protocol.api import Incident
from librarian_protocol.incidents import Severity, State
from librarian_protocol.notification_rules import NAMED, message, wait_s, wanted

AT = "2026-01-01T00:00:00Z"


def incident(
    number: int = 1,
    severity: Severity = Severity.WARNING,
    state: State = State.OPEN,
    code: str = "store",
    subject: str = "main",
    hint: str = "mend it",
) -> Incident:
    return Incident(
        id=number,
        code=code,
        subject=subject,
        state=state.value,
        severity=severity.value,
        title="A store does not work",
        message="it broke",
        hint=hint,
        opened_at=AT,
        last_at=AT,
        count=1,
        acknowledged_at=AT if state is State.ACKNOWLEDGED else None,
        note="",
        resolved_at=AT if state is State.RESOLVED else None,
    )


# ---- what ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "level", "told"),
    [
        (Severity.CRITICAL, Severity.CRITICAL, True),
        (Severity.WARNING, Severity.CRITICAL, False),
        (Severity.CRITICAL, Severity.WARNING, True),
        (Severity.WARNING, Severity.WARNING, True),
        (Severity.INFO, Severity.WARNING, False),
        (Severity.INFO, Severity.INFO, True),
    ],
)
def test_a_channel_tells_what_is_as_severe_as_it_is_for(severity: Severity, level: Severity, told: bool) -> None:
    assert wanted(incident(severity=severity), "oncall", level) is told


def test_what_somebody_has_seen_is_not_told() -> None:
    assert not wanted(incident(state=State.ACKNOWLEDGED), "oncall", Severity.INFO)


def test_what_ended_before_it_was_told_is_told_only_where_it_is_critical() -> None:
    assert not wanted(incident(state=State.RESOLVED), "oncall", Severity.INFO)
    assert wanted(incident(state=State.RESOLVED, severity=Severity.CRITICAL), "oncall", Severity.INFO)


def test_a_channel_does_not_tell_that_it_does_not_work_and_others_do() -> None:
    failed = incident(code="notify-failed", subject="oncall")
    assert not wanted(failed, "oncall", Severity.INFO)
    assert wanted(failed, "office", Severity.INFO)


# ---- when ----------------------------------------------------------------------------------------------


def test_messages_are_as_far_apart_as_was_asked() -> None:
    assert wait_s([incident()], float("inf"), 300) == 0
    assert wait_s([incident()], 100, 300) == 200
    assert wait_s([incident()], 300, 300) == 0
    assert wait_s([], 100, 300) == 200


def test_what_is_critical_waits_a_minute_at_most() -> None:
    critical = [incident(), incident(severity=Severity.CRITICAL)]
    assert wait_s(critical, 10, 300) == 50
    assert wait_s(critical, 61, 300) == 0
    assert wait_s(critical, 1, 5) == 4, "who wants messages more often gets them"


# ---- how -----------------------------------------------------------------------------------------------


def test_one_incident_is_named_in_the_title() -> None:
    told = message("archive", [incident(7)], [])
    assert told.title == "Librarian archive: A store does not work (warning)"
    assert told.body == "warning: [7] store main: it broke\n    what to do: mend it"
    assert told.severity is Severity.WARNING


def test_many_are_one_message_worst_first() -> None:
    told = message("archive", [incident(1), incident(2, Severity.CRITICAL), incident(3, Severity.INFO)], [incident(4)])
    assert told.title == "Librarian archive: 3 new, 1 over (critical)"
    lines = [line for line in told.body.splitlines() if not line.startswith(" ")]
    assert [line.split(":")[0] for line in lines] == ["critical", "warning", "info", "over"]


def test_what_is_over_is_told_as_good_news() -> None:
    told = message("archive", [], [incident(7, state=State.RESOLVED)])
    assert told.severity is None
    assert told.title == "Librarian archive: A store does not work: over"
    assert told.body == "over: [7] store main"
    assert message("archive", [], [incident(1), incident(2)]).title == "Librarian archive: 2 over"


def test_what_is_critical_and_over_by_now_says_so() -> None:
    told = message("archive", [incident(7, Severity.CRITICAL, State.RESOLVED, hint="")], [])
    assert told.body == "critical, over by now: [7] store main: it broke"


def test_a_flood_is_counted_not_listed() -> None:
    told = message("archive", [incident(number, hint="") for number in range(500)], [])
    assert told.title == "Librarian archive: 500 new (warning)"
    assert len(told.body.splitlines()) == NAMED + 1
    assert told.body.endswith(f"… and {500 - NAMED} more: lbctl incident list --limit 0")


def test_names_from_outside_cannot_turn_or_break_the_text() -> None:
    told = message("archive", [incident(subject="a\u202eb\nwarning: [9] forged")], [])
    assert told.body.splitlines()[0] == r"warning: [1] store a\u202eb\nwarning: [9] forged: it broke"


def test_where_more_follow_no_number_is_told_as_all_of_them() -> None:
    told = message("summit", [incident(number) for number in range(1, NAMED + 3)], [], more=True)
    assert told.title == f"Librarian summit: at least {NAMED + 2} new (warning)"
    assert told.body.endswith("… and at least 2 more: lbctl incident list --limit 0")
