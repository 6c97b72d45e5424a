"""The transfer machine: every state with every event, every reason's policy, written out."""

from __future__ import annotations

import re
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.samples import ARCHIVE, SUMMIT

from librarian_protocol import transfer
from librarian_protocol.backoff import delay_s
from librarian_protocol.errors import InvalidTransition
from librarian_protocol.transfer import (
    LIVE,
    POLICIES,
    RESERVING,
    TABLE,
    Answered,
    Cancel,
    Command,
    Due,
    Event,
    Fail,
    Land,
    Pause,
    Reason,
    Release,
    Reserve,
    Restart,
    Resume,
    Retry,
    Start,
    State,
    Store,
    Transfer,
    Want,
    step,
)

ID = 7
NOW = 1000.0


def _waits(attempts: int) -> float:
    return NOW + delay_s(attempts, "7")


def _at(
    state: str,
    *,
    reason: str | None = None,
    attempts: int = 2,
    strike: str | None = None,
    strikes: int = 0,
    next_try_s: float | None = None,
    source: str | None = "archive",
) -> Transfer:
    return Transfer(
        id=ID,
        state=State(state),
        reason=None if reason is None else Reason(reason),
        attempts=attempts,
        strike=None if strike is None else Reason(strike),
        strikes=strikes,
        next_try_s=next_try_s,
        source=None if source is None else type(ARCHIVE).parse(source),
    )


#: A transfer in each state, as it stands in the catalog after two failures.
IN_STATE = {
    "wanted": _at("wanted"),
    "reserved": _at("reserved"),
    "fetching": _at("fetching"),
    "landed": _at("landed"),
    "waiting": _at("waiting", reason="timeout", next_try_s=NOW),
    "parked": _at("parked", reason="checksum-mismatch"),
    "stored": _at("stored", attempts=0),
    "cancelled": _at("cancelled"),
    "paused": _at("paused"),
}
EVENTS: dict[str, Event] = {
    "reserve": Reserve(SUMMIT),
    "start": Start(),
    "land": Land(),
    "store": Store(),
    "due": Due(),
    "fail": Fail(Reason.TIMEOUT),
    "restart": Restart(),
    "retry": Retry(),
    "answered": Answered(),
    "want": Want(),
    "cancel": Cancel(),
    "release": Release(),
    "pause": Pause(),
    "resume": Resume(),
}
TOLD: tuple[Command, ...] = (Command.TELL_RESUMED,)
FAILED = _at("waiting", reason="timeout", attempts=3, next_try_s=_waits(3))

#: What each legal pair leads to: the whole new state, and the commands.
LEGAL: list[tuple[str, str, Transfer, tuple[Command, ...]]] = [
    ("wanted", "reserve", _at("reserved", source="summit"), ()),
    ("wanted", "fail", FAILED, ()),
    ("wanted", "restart", _at("wanted"), ()),
    ("wanted", "retry", _at("wanted", attempts=0), ()),
    ("wanted", "cancel", _at("cancelled"), ()),
    ("reserved", "start", _at("fetching"), ()),
    ("reserved", "fail", FAILED, ()),
    ("reserved", "restart", _at("wanted"), ()),
    ("reserved", "cancel", _at("cancelled"), ()),
    ("fetching", "land", _at("landed"), ()),
    ("fetching", "fail", FAILED, ()),
    ("fetching", "restart", _at("wanted"), ()),
    ("fetching", "cancel", _at("cancelled"), ()),
    ("landed", "store", _at("stored", attempts=0), ()),
    ("landed", "fail", FAILED, ()),
    ("landed", "restart", _at("wanted"), ()),
    ("landed", "cancel", _at("cancelled"), ()),
    ("waiting", "due", _at("wanted"), ()),
    ("waiting", "restart", _at("wanted"), ()),
    ("waiting", "retry", _at("wanted", attempts=0), ()),
    ("waiting", "cancel", _at("cancelled"), ()),
    ("parked", "restart", _at("parked", reason="checksum-mismatch"), ()),
    ("parked", "retry", _at("wanted", attempts=0), TOLD),
    ("parked", "answered", _at("waiting", reason="checksum-mismatch", next_try_s=_waits(2)), TOLD),
    ("parked", "cancel", _at("cancelled"), ()),
    ("stored", "restart", _at("stored", attempts=0), ()),
    ("stored", "want", _at("wanted", attempts=0, source=None), ()),
    ("wanted", "pause", _at("paused"), ()),
    ("reserved", "release", _at("wanted"), ()),
    ("reserved", "pause", _at("paused"), ()),
    ("fetching", "release", _at("wanted"), ()),
    ("fetching", "pause", _at("paused"), ()),
    ("waiting", "pause", _at("paused"), ()),
    ("paused", "restart", _at("paused"), ()),
    ("paused", "cancel", _at("cancelled"), ()),
    ("paused", "resume", _at("wanted"), ()),
    ("cancelled", "restart", _at("cancelled"), ()),
    ("cancelled", "want", _at("wanted", attempts=0, source=None), ()),
]
LEGAL_PAIRS = {(state, event) for state, event, _, _ in LEGAL}


def test_every_state_and_every_event_is_tested() -> None:
    """So that the two tables here are complete."""
    assert set(IN_STATE) == {state.value for state in State}
    assert {type(event) for event in EVENTS.values()} == set(get_args(Event))


@pytest.mark.parametrize(("state", "event", "after", "commands"), LEGAL)
def test_a_legal_event_leads_to(state: str, event: str, after: Transfer, commands: tuple[Command, ...]) -> None:
    """The whole state and the commands, as written out above."""
    assert step(IN_STATE[state], EVENTS[event], NOW) == (after, commands)


@pytest.mark.parametrize(
    ("state", "event", "after", "commands"),
    [row for row in LEGAL if row[1] not in ("fail", "due", "answered") and row[:2] != ("parked", "restart")],
)
def test_no_time_and_no_reason_outlives_its_state(
    state: str, event: str, after: Transfer, commands: tuple[Command, ...]
) -> None:
    """Whatever an older version or a clock that was reset left in the row; what ended stays as it is."""
    left = {"reason": Reason.SIZE_MISMATCH, "next_try_s": NOW + 60}
    before = msgspec.structs.replace(IN_STATE[state], **left)
    ended = state in ("stored", "cancelled", "paused") and event == "restart"
    assert step(before, EVENTS[event], NOW) == (before if ended else after, commands)


@pytest.mark.parametrize(
    ("state", "event"),
    sorted({(state, event) for state in IN_STATE for event in EVENTS} - LEGAL_PAIRS),
)
def test_an_illegal_event_is_refused(state: str, event: str) -> None:
    """It raises and changes nothing: our own mistake must not become a state."""
    with pytest.raises(InvalidTransition, match=f"transfer 7 is {state}: it cannot take '(?i:{event})'"):
        step(IN_STATE[state], EVENTS[event], NOW)


def _documented() -> dict[tuple[str, str], set[str]]:
    """The table in the module's docstring, and the sentence below it."""
    assert transfer.__doc__ is not None
    _, _, rest = transfer.__doc__.partition("\n=")
    lines = ("=" + rest).splitlines()
    starts = [found.start() for found in re.finditer(r"=+", lines[0])]
    ends = [*starts[1:], None]
    cells = [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]
    header = cells[1]
    found: dict[tuple[str, str], set[str]] = {}
    for row in cells[3 : cells.index(cells[0], 3)]:
        for event, cell in zip(header[1:], row[1:], strict=True):
            if cell:
                found[row[0], event] = set(cell.split(", "))
    assert "``answered`` takes ``parked`` to ``waiting``" in transfer.__doc__
    found["parked", "answered"] = {"waiting"}
    assert "``want`` takes ``stored`` and ``cancelled`` to ``wanted``" in transfer.__doc__
    found["stored", "want"] = found["cancelled", "want"] = {"wanted"}
    assert "``resume`` takes\n``paused`` to ``wanted``" in transfer.__doc__
    found["paused", "resume"] = {"wanted"}
    return found


def test_the_table_in_the_docstring_is_the_table() -> None:
    """Every cell, and no other row."""
    documented = _documented()
    rows = {(state.value, event.__name__.lower()) for state, event in TABLE}
    assert set(documented) == rows == LEGAL_PAIRS
    for state, event, after, _ in LEGAL:
        if event == "fail":
            assert documented[state, event] == {"waiting", "parked"}
        else:
            assert documented[state, event] == {after.state.value}


def test_the_states_that_go_on_and_that_reserve_are_these() -> None:
    """One live row a file and store; reserved bytes count against the store's limit."""
    assert {state.value for state in LIVE} == {
        "wanted",
        "reserved",
        "fetching",
        "landed",
        "waiting",
        "parked",
        "paused",
    }
    assert {state.value for state in RESERVING} == {"reserved", "fetching", "landed"}


def test_a_new_transfer_is_wanted_and_has_not_failed() -> None:
    """The defaults of a fresh row."""
    assert Transfer(id=ID) == _at("wanted", attempts=0, source=None)


# ---- failures --------------------------------------------------------------------------------------

#: Failures in a row until it is parked (None: never), whether the source is doubted then, and the operator's hint.
PATIENCE: dict[str, tuple[int | None, bool, str]] = {
    "checksum-mismatch": (3, True, "the source re-reads its instance; see `lbctl file show` at the source"),
    "size-mismatch": (3, True, "the source re-reads its instance; see `lbctl file show` at the source"),
    "manifest-invalid": (3, True, "the source's book has no valid manifest; run `lbctl file verify` there"),
    "source-missing": (3, True, "the source says it does not hold the file; run `lbctl file verify` there"),
    "source-unreachable": (None, False, "nothing to do: it is tried again; `lbctl doctor` checks the address"),
    "source-refused": (10, False, "check that both sites list one another: `lbctl site list` at both"),
    "source-invalid": (5, False, "the source answers outside the protocol; compare software versions"),
    "source-identity": (
        None,
        False,
        "another certificate answers at the source's address than the one it announced: has its newest announcement"
        " arrived, does something stand between? see `lbctl site list`, docs/adapters/http.md",
    ),
    "not-offered": (None, False, "the source does not offer this file to this site; ask its operators"),
    "timeout": (None, False, "nothing to do: it is tried again from where it stopped"),
    "no-source": (None, False, "no site offers a good instance now; see `lbctl file show`"),
    "no-common-adapter": (None, False, "no holder offers an adapter that this site has"),
    "store-full": (None, False, "free space in the destination store"),
    "no-inodes": (None, False, "free inodes in the destination store's filesystem"),
    "store-fault": (5, False, "the destination store answers with errors; look at its disk, then retry"),
    "store-not-mounted": (None, False, "mount the destination store"),
    "store-unusable": (
        None,
        False,
        "nothing can be written into the destination store now: `lbctl store list` says why",
    ),
    "store-closed": (
        None,
        False,
        "a person set the destination store inactive, or not ingestable: `lbctl store show LABEL` says why",
    ),
    "too-large": (
        1,
        False,
        "no store could hold it if it were empty: add a larger one (`lbctl store add`), and it is tried again",
    ),
    "name-occupied": (
        1,
        False,
        "something else stands at the name: `lbctl file show NAME` says if the catalog knows it; else move it away",
    ),
    "case-twin": (1, False, "a name that differs only in letter case is stored here"),
    "adapter-fault": (5, False, "the adapter failed in a way it does not explain; see the daemon's log"),
    "adapter-credentials": (
        3,
        False,
        "log in again: `lbctl adapter login NAME`, then `lbctl transfer retry --all --reason adapter-credentials`",
    ),
    "too-slow": (
        None,
        False,
        "nothing to do: others go first, and it is tried again from where it stopped; the source brings less than"
        " replicator.min_rate: look at its link and its disk",
    ),
    "by-person": (None, False, "a person cancelled it: `lbctl transfer resume ID` wants it again"),
}
#: Tried minutes apart from the first time on.
SELDOM = {"source-identity", "not-offered", "store-closed", "by-person"}
PATIENT = [reason for reason, (patience, _, _) in PATIENCE.items() if patience is None]
IMPATIENT = [(reason, patience) for reason, (patience, _, _) in PATIENCE.items() if patience is not None]
DOUBTING = [reason for reason, (_, doubt, _) in PATIENCE.items() if doubt]


@pytest.mark.parametrize("reason", list(Reason))
def test_the_policy_of_each_reason_is(reason: Reason) -> None:
    """Patience, doubt and hint of every reason are decided here, not by accident."""
    assert msgspec.structs.astuple(POLICIES[reason]) == (*PATIENCE[reason.value], reason.value in SELDOM)


def test_there_is_a_policy_for_every_reason_and_no_other() -> None:
    """A reason without one would end the replicator."""
    assert [reason.value for reason in Reason] == list(PATIENCE)
    assert set(POLICIES) == set(Reason)


@pytest.mark.parametrize("reason", PATIENT)
def test_what_mends_itself_is_waited_for_for_ever(reason: str) -> None:
    """An outage of weeks costs nothing but time."""
    after, commands = step(_at("fetching", attempts=10_000), Fail(Reason(reason)), NOW)
    assert after == _at("waiting", reason=reason, attempts=10_001, next_try_s=_waits(10_001 + 8 * (reason in SELDOM)))
    assert commands == ()


@pytest.mark.parametrize("reason", sorted(SELDOM))
def test_what_will_hardly_change_is_tried_minutes_apart_from_the_beginning(reason: str) -> None:
    """Asking often would not help, and is a nuisance."""
    after, _ = step(_at("fetching", attempts=0), Fail(Reason(reason)), NOW)
    assert after.attempts == 1
    assert after.next_try_s is not None
    assert after.next_try_s - NOW > 60


@pytest.mark.parametrize("reason", ["source-unreachable", "timeout"])
def test_a_link_that_brought_something_is_tried_again_at_once(reason: str) -> None:
    """A flapping link must not be waited for as if it were down."""
    after, _ = step(_at("fetching", attempts=12), Fail(Reason(reason), progressed=True), NOW)
    assert after == _at("waiting", reason=reason, attempts=1, next_try_s=_waits(1))


@pytest.mark.parametrize("reason", ["checksum-mismatch", "source-refused", "store-full"])
def test_progress_does_not_excuse_what_is_not_the_links_fault(reason: str) -> None:
    """A source of wrong bytes makes progress all the time."""
    after, _ = step(_at("fetching", attempts=1), Fail(Reason(reason), progressed=True), NOW)
    assert after.attempts == 2


@pytest.mark.parametrize(("reason", "patience"), IMPATIENT)
@pytest.mark.parametrize("state", ["wanted", "reserved", "fetching", "landed"])
def test_when_patience_ends_a_person_is_asked(state: str, reason: str, patience: int) -> None:
    """Parked at exactly that many failures in a row, and told; doubted where the source is at fault."""
    if patience > 1:
        patient = _at(state, attempts=20, strike=reason, strikes=patience - 2)
        before = step(patient, Fail(Reason(reason), other_source=True), NOW)
        waiting = _at("waiting", reason=reason, attempts=21, strike=reason, strikes=patience - 1, next_try_s=_waits(21))
        assert before == (waiting, ())
    told = (Command.TELL_PARKED,)
    doubted = (Command.DOUBT_SOURCE, Command.TELL_PARKED)
    after = step(_at(state, attempts=20, strike=reason, strikes=patience - 1), Fail(Reason(reason)), NOW)
    parked = _at("parked", reason=reason, attempts=21, strike=reason, strikes=patience)
    assert after == (parked, doubted if reason in DOUBTING else told)


@pytest.mark.parametrize("reason", DOUBTING)
def test_another_source_is_tried_when_one_is_doubted(reason: str) -> None:
    """It starts afresh with the other, and no person is troubled."""
    tired = _at("fetching", strike=reason, strikes=2)
    after, commands = step(tired, Fail(Reason(reason), other_source=True), NOW)
    assert after == _at("waiting", reason=reason, attempts=0, next_try_s=_waits(1))
    assert commands == (Command.DOUBT_SOURCE,)


@pytest.mark.parametrize("reason", ["source-refused", "name-occupied", "case-twin", "adapter-fault"])
def test_another_source_does_not_help_where_the_source_is_not_doubted(reason: str) -> None:
    """A name that is taken here is taken whoever sends it."""
    tired = _at("landed", strike=reason, strikes=20)
    after, commands = step(tired, Fail(Reason(reason), other_source=True), NOW)
    assert (after.state, commands) == (State.PARKED, (Command.TELL_PARKED,))


def test_an_outage_does_not_use_up_the_patience_with_anything_else() -> None:
    """After weeks of an unreachable source the first bad byte is the first, and so is the first of another kind."""
    after, commands = step(_at("fetching", attempts=9_000), Fail(Reason.CHECKSUM_MISMATCH), NOW)
    expected = _at(
        "waiting",
        reason="checksum-mismatch",
        attempts=9_001,
        strike="checksum-mismatch",
        strikes=1,
        next_try_s=_waits(9_001),
    )
    assert (after, commands) == (expected, ())
    unreachable, _ = step(_at("fetching", strike="size-mismatch", strikes=2), Fail(Reason.TIMEOUT), NOW)
    assert (unreachable.strike, unreachable.strikes) == (Reason.SIZE_MISMATCH, 2)
    other, _ = step(_at("fetching", strike="size-mismatch", strikes=2), Fail(Reason.CHECKSUM_MISMATCH), NOW)
    assert (other.state, other.strikes) == (State.WAITING, 1)


@pytest.mark.parametrize(("state", "event"), [("landed", Store()), ("waiting", Retry()), ("cancelled", Want())])
def test_what_begins_afresh_has_all_its_patience(state: str, event: Event) -> None:
    """A success, a person's wish and a new wish forget the strikes."""
    after, _ = step(_at(state, strike="size-mismatch", strikes=2), event, NOW)
    assert (after.attempts, after.strike, after.strikes) == (0, None, 0)


def test_a_parked_transfer_has_no_next_attempt() -> None:
    """Whatever stood there before."""
    odd = _at("fetching", attempts=0, next_try_s=5.0)
    assert step(odd, Fail(Reason.CASE_TWIN), NOW)[0].next_try_s is None


# ---- time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("next_try_s", "state"),
    [(NOW + 0.001, "waiting"), (NOW, "wanted"), (NOW - 1, "wanted"), (None, "wanted")],
)
def test_it_is_due_when_its_time_has_come(next_try_s: float | None, state: str) -> None:
    """Not before; and at once where no time is set."""
    waiting = _at("waiting", reason="timeout", next_try_s=next_try_s)
    after, commands = step(waiting, Due(), NOW)
    assert (after.state, commands) == (state, ())
    assert after == (waiting if state == "waiting" else _at("wanted"))


@pytest.mark.parametrize("attempts", [0, 1, 5])
def test_an_answered_doubt_brings_the_transfer_back_after_a_pause(attempts: int) -> None:
    """A path that goes on spoiling bytes is tried ever more seldom."""
    parked = _at("parked", reason="size-mismatch", attempts=attempts)
    expected = msgspec.structs.replace(parked, state=State.WAITING, next_try_s=_waits(max(attempts, 1)))
    assert step(parked, Answered(), NOW) == (expected, TOLD)


@pytest.mark.parametrize("reason", [*(reason for reason in PATIENCE if reason not in DOUBTING), None])
def test_an_answer_does_not_unpark_what_was_not_doubted(reason: str | None) -> None:
    """It waits for the person."""
    parked = _at("parked", reason=reason)
    assert step(parked, Answered(), NOW) == (parked, ())


@pytest.mark.parametrize("reason", DOUBTING)
def test_an_answer_unparks_every_reason_that_raised_a_doubt(reason: str) -> None:
    """The owner has read it whole and found it right."""
    assert step(_at("parked", reason=reason), Answered(), NOW)[0].state is State.WAITING


# ---- whole lives -----------------------------------------------------------------------------------


def _run(begun: Transfer, *events: Event) -> Transfer:
    for event in events:
        begun, _ = step(begun, event, NOW)
    return begun


def test_a_file_comes_at_the_first_attempt() -> None:
    """The usual life."""
    stored = _run(Transfer(id=ID), Reserve(ARCHIVE), Start(), Land(), Store())
    assert stored == _at("stored", attempts=0)


def test_a_success_ends_the_row_of_failures() -> None:
    """What is wanted again later starts with all its patience."""
    failed = _run(Transfer(id=ID), Fail(Reason.TIMEOUT), Retry(), Fail(Reason.TIMEOUT))
    assert failed.attempts == 1
    late = msgspec.structs.replace(failed, next_try_s=NOW)
    assert _run(late, Due(), Reserve(ARCHIVE), Start(), Land(), Store(), Want()).attempts == 0


@given(
    st.lists(
        st.one_of(
            st.sampled_from(list(EVENTS.values())),
            st.builds(Fail, st.sampled_from(list(Reason)), st.booleans()),
        ),
        max_size=40,
    ),
    st.floats(min_value=0, max_value=1e9),
)
def test_whatever_happens_the_row_makes_sense(events: list[Event], now_s: float) -> None:
    """A time belongs to waiting, a reason to waiting and parked, a source to what moves; nothing else happens."""
    transfer = Transfer(id=ID)
    for event in events:
        try:
            transfer, commands = step(transfer, event, now_s)
        except InvalidTransition:
            continue
        assert (transfer.next_try_s is not None) == (transfer.state is State.WAITING)
        assert (transfer.reason is not None) == (transfer.state in (State.WAITING, State.PARKED))
        assert transfer.source is not None or transfer.state not in RESERVING
        assert (Command.TELL_PARKED in commands) <= (transfer.state is State.PARKED)
        assert (Command.TELL_RESUMED in commands) <= (transfer.state in (State.WAITING, State.WANTED))
        assert step(transfer, Restart(), now_s)[0].state in (
            State.WANTED,
            State.PARKED,
            State.PAUSED,
            State.STORED,
            State.CANCELLED,
        )


def test_what_a_person_cancelled_says_so() -> None:
    """So that a subscription does not want it again."""
    after, commands = step(_at("fetching"), Cancel(by_person=True), NOW)
    assert after == _at("cancelled", reason="by-person")
    assert commands == ()
