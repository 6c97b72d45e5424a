"""The transfer machine: how one file comes into one store (docs/architecture.md).

Rules. All that affects a transition stands in this file. A step is a function of the state, the event and the
time; an illegal event raises :class:`InvalidTransition` and changes nothing. Commands are what the caller
must do *in the same commit* as the new state.

Theory of operation. A transfer begins ``wanted``. The replicator reserves it for a source, hands it to an
adapter in a batch (``fetching``), and when verified bytes stand in staging it has ``landed``. The commit that
puts the file at its name, registers the instance and appends to the journal makes it ``stored``. A failure
sends it to ``waiting`` with the time of the next attempt, or, when the reason's patience is at an end, to
``parked``: a person (or the doubted source's answer) must act. A restart of the daemon loses only what
adapters held in memory. ``paused`` is a person's word: it holds until a person resumes, over restarts too.

=========  ========  ========  ======  ======  ======  ===============  =========  ======  =========  =======  ======
state      reserve   start     land    store   due     fail             restart    retry   cancel     release  pause
=========  ========  ========  ======  ======  ======  ===============  =========  ======  =========  =======  ======
wanted     reserved                                    waiting, parked  wanted     wanted  cancelled           paused
reserved             fetching                          waiting, parked  wanted             cancelled  wanted   paused
fetching                       landed                  waiting, parked  wanted             cancelled  wanted   paused
landed                                 stored          waiting, parked  wanted             cancelled
waiting                                        wanted                   wanted     wanted  cancelled           paused
parked                                                                  parked     wanted  cancelled
paused                                                                  paused             cancelled
stored                                                                  stored
cancelled                                                               cancelled
=========  ========  ========  ======  ======  ======  ===============  =========  ======  =========  =======  ======

Besides: ``answered`` takes ``parked`` to ``waiting`` where the reason was one that a doubt was raised for,
``want`` takes ``stored`` and ``cancelled`` to ``wanted`` when the file is wanted once more, and ``resume`` takes
``paused`` to ``wanted``. What a person cancelled has the reason ``by-person``: only a person wants it again.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from librarian_protocol import backoff
from librarian_protocol.errors import InvalidTransition
from librarian_protocol.names import SiteName


class State(StrEnum):
    """Where a transfer is."""

    WANTED = "wanted"
    RESERVED = "reserved"
    FETCHING = "fetching"
    LANDED = "landed"
    STORED = "stored"
    WAITING = "waiting"
    PARKED = "parked"
    CANCELLED = "cancelled"
    PAUSED = "paused"


#: States in which a transfer will still go on, by itself or by a person.
LIVE = frozenset(
    {State.WANTED, State.RESERVED, State.FETCHING, State.LANDED, State.WAITING, State.PARKED, State.PAUSED}
)
#: States whose bytes are reserved in the destination store.
RESERVING = frozenset({State.RESERVED, State.FETCHING, State.LANDED})


class Reason(StrEnum):
    """Why a transfer waits or is parked."""

    CHECKSUM_MISMATCH = "checksum-mismatch"
    SIZE_MISMATCH = "size-mismatch"
    MANIFEST_INVALID = "manifest-invalid"
    SOURCE_MISSING = "source-missing"
    SOURCE_UNREACHABLE = "source-unreachable"
    SOURCE_REFUSED = "source-refused"
    SOURCE_INVALID = "source-invalid"
    SOURCE_IDENTITY = "source-identity"
    NOT_OFFERED = "not-offered"
    TIMEOUT = "timeout"
    NO_SOURCE = "no-source"
    NO_COMMON_ADAPTER = "no-common-adapter"
    STORE_FULL = "store-full"
    NO_INODES = "no-inodes"
    STORE_FAULT = "store-fault"
    STORE_NOT_MOUNTED = "store-not-mounted"
    STORE_UNUSABLE = "store-unusable"
    STORE_CLOSED = "store-closed"
    TOO_LARGE = "too-large"
    NAME_OCCUPIED = "name-occupied"
    CASE_TWIN = "case-twin"
    ADAPTER_FAULT = "adapter-fault"
    ADAPTER_CREDENTIALS = "adapter-credentials"
    TOO_SLOW = "too-slow"
    BY_PERSON = "by-person"


class Policy(msgspec.Struct, frozen=True):
    """What is done about a reason."""

    #: Attempts in a row before the transfer is parked; None: it waits for ever.
    patience: int | None
    #: Whether the source's instance is doubted when patience ends.
    doubt: bool
    #: What the operator does next.
    hint: str
    #: It will hardly change by itself: the first wait is a long one already.
    seldom: bool = False


POLICIES: dict[Reason, Policy] = {
    Reason.CHECKSUM_MISMATCH: Policy(3, True, "the source re-reads its instance; see `lbctl file show` at the source"),
    Reason.SIZE_MISMATCH: Policy(3, True, "the source re-reads its instance; see `lbctl file show` at the source"),
    Reason.MANIFEST_INVALID: Policy(3, True, "the source's book has no valid manifest; run `lbctl file verify` there"),
    Reason.SOURCE_MISSING: Policy(3, True, "the source says it does not hold the file; run `lbctl file verify` there"),
    Reason.SOURCE_UNREACHABLE: Policy(
        None, False, "nothing to do: it is tried again; `lbctl doctor` checks the address"
    ),
    Reason.SOURCE_REFUSED: Policy(10, False, "check that both sites list one another: `lbctl site list` at both"),
    Reason.SOURCE_INVALID: Policy(5, False, "the source answers outside the protocol; compare software versions"),
    Reason.SOURCE_IDENTITY: Policy(
        None,
        False,
        "another certificate answers at the source's address than the one it announced: has its newest announcement"
        " arrived, does something stand between? see `lbctl site list`, docs/adapters/http.md",
        seldom=True,
    ),
    Reason.NOT_OFFERED: Policy(
        None, False, "the source does not offer this file to this site; ask its operators", seldom=True
    ),
    Reason.TIMEOUT: Policy(None, False, "nothing to do: it is tried again from where it stopped"),
    Reason.NO_SOURCE: Policy(None, False, "no site offers a good instance now; see `lbctl file show`"),
    Reason.NO_COMMON_ADAPTER: Policy(None, False, "no holder offers an adapter that this site has"),
    Reason.STORE_FULL: Policy(None, False, "free space in the destination store"),
    Reason.NO_INODES: Policy(None, False, "free inodes in the destination store's filesystem"),
    Reason.STORE_FAULT: Policy(5, False, "the destination store answers with errors; look at its disk, then retry"),
    Reason.STORE_NOT_MOUNTED: Policy(None, False, "mount the destination store"),
    Reason.STORE_UNUSABLE: Policy(
        None, False, "nothing can be written into the destination store now: `lbctl store list` says why"
    ),
    Reason.STORE_CLOSED: Policy(
        None,
        False,
        "a person set the destination store inactive, or not ingestable: `lbctl store show LABEL` says why",
        seldom=True,
    ),
    Reason.TOO_LARGE: Policy(
        1,
        False,
        "no store could hold it if it were empty: add a larger one (`lbctl store add`), and it is tried again",
    ),
    Reason.NAME_OCCUPIED: Policy(
        1,
        False,
        "something else stands at the name: `lbctl file show NAME` says if the catalog knows it; else move it away",
    ),
    Reason.CASE_TWIN: Policy(1, False, "a name that differs only in letter case is stored here"),
    Reason.ADAPTER_CREDENTIALS: Policy(
        3,
        False,
        "log in again: `lbctl adapter login NAME`, then `lbctl transfer retry --all --reason adapter-credentials`",
    ),
    Reason.TOO_SLOW: Policy(
        None,
        False,
        "nothing to do: others go first, and it is tried again from where it stopped; the source brings less than"
        " replicator.min_rate: look at its link and its disk",
    ),
    Reason.BY_PERSON: Policy(
        None, False, "a person cancelled it: `lbctl transfer resume ID` wants it again", seldom=True
    ),
    Reason.ADAPTER_FAULT: Policy(5, False, "the adapter failed in a way it does not explain; see the daemon's log"),
}


#: Problems of the way to the source, not of the source: the next attempt continues from what they left.
LINK = frozenset({Reason.SOURCE_UNREACHABLE, Reason.TIMEOUT})
#: Problems of the destination store: when one of the stores can take more than before, the next attempt is at once.
STORE = frozenset(
    {
        Reason.STORE_FULL,
        Reason.NO_INODES,
        Reason.STORE_FAULT,
        Reason.STORE_NOT_MOUNTED,
        Reason.STORE_UNUSABLE,
        Reason.STORE_CLOSED,
    }
)
#: By so many doublings a reason that is tried seldom waits longer: minutes from the first time on.
_SELDOM = 8


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a transfer that the machine decides on."""

    #: Identifies it for the spread of back-off, and in messages.
    id: int
    state: State = State.WANTED
    reason: Reason | None = None
    #: Failures in a row; a success or a person sets it to 0.
    attempts: int = 0
    #: The reason whose patience is running out, and its failures in a row. Reasons without an end of patience
    #: do not count: after weeks of an unreachable source, the first bad byte is still the first.
    strike: Reason | None = None
    strikes: int = 0
    #: Seconds on the clock that ``now`` is given in; None is "at once", also when the clock was reset.
    next_try_s: float | None = None
    source: SiteName | None = None


class Reserve(msgspec.Struct, frozen=True):
    """Chosen for the next batch from ``source``."""

    source: SiteName


class Start(msgspec.Struct, frozen=True):
    """Handed to an adapter."""


class Land(msgspec.Struct, frozen=True):
    """All bytes stand verified in staging."""


class Store(msgspec.Struct, frozen=True):
    """The file stands at its name, and the same commit says so."""


class Due(msgspec.Struct, frozen=True):
    """The time of the next attempt has come."""


class Fail(msgspec.Struct, frozen=True):
    """The attempt failed.

    ``other_source``: another instance, not doubted, could be tried instead. ``progressed``: bytes came before the
    link failed, so the next attempt is not put off as if nothing ever came.
    """

    reason: Reason
    other_source: bool = False
    progressed: bool = False


class Restart(msgspec.Struct, frozen=True):
    """The daemon started: what adapters held is gone, and the clock may be another."""


class Retry(msgspec.Struct, frozen=True):
    """A person asks for an attempt now."""


class Answered(msgspec.Struct, frozen=True):
    """A doubted instance was read by its owner and found right, or another source appeared."""


class Want(msgspec.Struct, frozen=True):
    """The file is wanted once more."""


class Cancel(msgspec.Struct, frozen=True):
    """Not wanted any longer; ``by_person``: whatever the subscriptions say."""

    by_person: bool = False


class Release(msgspec.Struct, frozen=True):
    """The batch was ended for another's sake: nothing failed, and it goes on from what is staged."""


class Pause(msgspec.Struct, frozen=True):
    """A person puts it off."""


class Resume(msgspec.Struct, frozen=True):
    """A person has it go on."""


Event = (
    Reserve | Start | Land | Store | Due | Fail | Restart | Retry | Answered | Want | Cancel | Release | Pause | Resume
)


class Command(StrEnum):
    """What the caller does in the commit that holds the new state."""

    #: Append ``instance.doubted`` about the source's instance.
    DOUBT_SOURCE = "doubt-source"
    #: Append ``transfer.parked``.
    TELL_PARKED = "tell-parked"
    #: Append ``transfer.resumed``.
    TELL_RESUMED = "tell-resumed"


Step = tuple[Transfer, tuple[Command, ...]]


def _to(transfer: Transfer, state: State) -> Step:
    return msgspec.structs.replace(transfer, state=state, reason=None, next_try_s=None), ()


def _reserve(transfer: Transfer, event: Event, now_s: float) -> Step:
    assert isinstance(event, Reserve)
    return msgspec.structs.replace(_to(transfer, State.RESERVED)[0], source=event.source), ()


def _start(transfer: Transfer, event: Event, now_s: float) -> Step:
    return _to(transfer, State.FETCHING)


def _land(transfer: Transfer, event: Event, now_s: float) -> Step:
    return _to(transfer, State.LANDED)


def _store(transfer: Transfer, event: Event, now_s: float) -> Step:
    return _afresh(_to(transfer, State.STORED)[0]), ()


def _due(transfer: Transfer, event: Event, now_s: float) -> Step:
    if transfer.next_try_s is not None and transfer.next_try_s > now_s:
        return transfer, ()
    return _to(transfer, State.WANTED)


def _fail(transfer: Transfer, event: Event, now_s: float) -> Step:
    assert isinstance(event, Fail)
    policy = POLICIES[event.reason]
    attempts = 1 if event.progressed and event.reason in LINK else transfer.attempts + 1
    failed = msgspec.structs.replace(transfer, reason=event.reason, attempts=attempts, next_try_s=None)
    commands: tuple[Command, ...] = ()
    if policy.patience is not None:
        strikes = transfer.strikes + 1 if transfer.strike is event.reason else 1
        failed = msgspec.structs.replace(failed, strike=event.reason, strikes=strikes)
        if strikes >= policy.patience:
            if policy.doubt:
                commands = (Command.DOUBT_SOURCE,)
            if not (policy.doubt and event.other_source):
                return msgspec.structs.replace(failed, state=State.PARKED), (*commands, Command.TELL_PARKED)
            failed = _afresh(failed)
    waits = max(failed.attempts, 1) + (_SELDOM if policy.seldom else 0)
    next_try_s = now_s + backoff.delay_s(waits, str(transfer.id))
    return msgspec.structs.replace(failed, state=State.WAITING, next_try_s=next_try_s), commands


def _afresh(transfer: Transfer) -> Transfer:
    """With all its patience."""
    return msgspec.structs.replace(transfer, attempts=0, strike=None, strikes=0)


def _restart(transfer: Transfer, event: Event, now_s: float) -> Step:
    return _to(transfer, State.WANTED)


def _stay(transfer: Transfer, event: Event, now_s: float) -> Step:
    return transfer, ()


def _retry(transfer: Transfer, event: Event, now_s: float) -> Step:
    told = (Command.TELL_RESUMED,) if transfer.state is State.PARKED else ()
    return _afresh(_to(transfer, State.WANTED)[0]), told


def _answered(transfer: Transfer, event: Event, now_s: float) -> Step:
    if transfer.reason is None or not POLICIES[transfer.reason].doubt:
        return transfer, ()
    # The attempts stay: a path that keeps corrupting bytes is tried less and less often.
    next_try_s = now_s + backoff.delay_s(max(transfer.attempts, 1), str(transfer.id))
    return msgspec.structs.replace(transfer, state=State.WAITING, next_try_s=next_try_s), (Command.TELL_RESUMED,)


def _want(transfer: Transfer, event: Event, now_s: float) -> Step:
    return msgspec.structs.replace(_afresh(_to(transfer, State.WANTED)[0]), source=None), ()


def _cancel(transfer: Transfer, event: Event, now_s: float) -> Step:
    assert isinstance(event, Cancel)
    reason = Reason.BY_PERSON if event.by_person else None
    return msgspec.structs.replace(_to(transfer, State.CANCELLED)[0], reason=reason), ()


def _release(transfer: Transfer, event: Event, now_s: float) -> Step:
    return _to(transfer, State.WANTED)


def _pause(transfer: Transfer, event: Event, now_s: float) -> Step:
    return _to(transfer, State.PAUSED)


def _resume(transfer: Transfer, event: Event, now_s: float) -> Step:
    return _to(transfer, State.WANTED)


Rule = Callable[[Transfer, Event, float], Step]

TABLE: dict[tuple[State, type[Event]], Rule] = {
    (State.WANTED, Reserve): _reserve,
    (State.WANTED, Fail): _fail,
    (State.WANTED, Restart): _restart,
    (State.WANTED, Retry): _retry,
    (State.WANTED, Cancel): _cancel,
    (State.WANTED, Pause): _pause,
    (State.RESERVED, Start): _start,
    (State.RESERVED, Fail): _fail,
    (State.RESERVED, Restart): _restart,
    (State.RESERVED, Cancel): _cancel,
    (State.RESERVED, Release): _release,
    (State.RESERVED, Pause): _pause,
    (State.FETCHING, Land): _land,
    (State.FETCHING, Fail): _fail,
    (State.FETCHING, Restart): _restart,
    (State.FETCHING, Cancel): _cancel,
    (State.FETCHING, Release): _release,
    (State.FETCHING, Pause): _pause,
    (State.LANDED, Store): _store,
    (State.LANDED, Fail): _fail,
    (State.LANDED, Restart): _restart,
    (State.LANDED, Cancel): _cancel,
    (State.WAITING, Due): _due,
    (State.WAITING, Restart): _restart,
    (State.WAITING, Retry): _retry,
    (State.WAITING, Cancel): _cancel,
    (State.WAITING, Pause): _pause,
    (State.PARKED, Restart): _stay,
    (State.PARKED, Retry): _retry,
    (State.PARKED, Answered): _answered,
    (State.PARKED, Cancel): _cancel,
    (State.PAUSED, Restart): _stay,
    (State.PAUSED, Cancel): _cancel,
    (State.PAUSED, Resume): _resume,
    (State.STORED, Restart): _stay,
    (State.STORED, Want): _want,
    (State.CANCELLED, Restart): _stay,
    (State.CANCELLED, Want): _want,
}


def step(transfer: Transfer, event: Event, now_s: float) -> Step:
    """The state after the event, and what must be done in the same commit.

    ``now_s`` is read from a clock that does not jump while the daemon runs (CLOCK_BOOTTIME).

    Raises:
        InvalidTransition: the table has no row for it; the transfer is unchanged.
    """
    rule = TABLE.get((transfer.state, type(event)))
    if rule is None:
        raise InvalidTransition(f"transfer {transfer.id} is {transfer.state}: it cannot take {type(event).__name__!r}")
    return rule(transfer, event, now_s)
