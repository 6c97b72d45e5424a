"""The decisions that a search runs: the machine's own, of which a search may replace some by bad ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from librarian_protocol.eviction import count, row, voucher
from librarian_protocol.eviction.count import Attempt, Known, Place
from librarian_protocol.eviction.refusal import Declined, Refusal
from librarian_protocol.eviction.row import Action, Found, Row
from librarian_protocol.eviction.voucher import Here, Looked, Question, Vouch
from librarian_protocol.requirement import Requirement

Started = Callable[[Row, bool, bool, bool], Row]


def _put_back(given: Row, intact: bool) -> Row:
    return row.put_back(given, intact=intact)


def _started(given: Row, put_back: bool, named: bool, intact: bool) -> Row:
    return row.started(given, put_back=put_back, named=named, intact=intact)


def _verdict(attempt: Attempt, vouches: Collection[Vouch], stores: Mapping[Place, Known]) -> Refusal | None:
    return count.verdict(attempt, vouches, stores)


class Machine(NamedTuple):
    """Every function of ``librarian_protocol.eviction`` that decides."""

    is_of: Callable[[Row, str], bool] = row.is_of
    intend: Callable[[Row, str], Row] = row.intend
    decide: Callable[[Row, str], Row] = row.decide
    trashed: Callable[[Row, str, str, float], Row] = row.trashed
    close: Callable[[Row, str], Row] = row.close
    timed_out: Callable[[Row, str], Row] = row.timed_out
    put_back: Callable[[Row, bool], Row] = _put_back
    land: Callable[[Row], Row] = row.land
    heal: Callable[[Row], Row] = row.heal
    suspect: Callable[[Row], Row] = row.suspect
    withdraw: Callable[[Row, str], Row] = row.withdraw
    at_start: Callable[[Row, Found], Action] = row.at_start
    started: Started = _started
    answer: Callable[[Question, Row | None, Here, Looked, Requirement], Vouch | Declined] = voucher.answer
    refused: Callable[[Here], Refusal | None] = voucher.refused
    may_empty: Callable[[Here], bool] = voucher.may_empty
    verdict: Callable[[Attempt, Collection[Vouch], Mapping[Place, Known]], Refusal | None] = _verdict


class Order(NamedTuple):
    """What the caller of the machine does in which order, and what it may do at all: rules, too.

    Each is off in a search that shows what the rule is for.
    """

    #: The intent is committed before any other site is asked.
    intent_before_sites: bool = True
    #: ... and before a row of a store of the own site is read.
    intent_before_siblings: bool = True
    #: The decision is committed before the rename.
    decided_before_rename: bool = True
    #: The bytes are renamed back before the row is committed as available.
    back_before_commit: bool = True
    #: Each attempt has a nonce that was never used.
    fresh_nonce: bool = True
    #: What is decided may be put back, and what is pending times out.
    can_put_back: bool = True
    can_time_out: bool = True
    #: What was aborted in a batch whose nonce still lives may not join it again.
    no_rejoin: bool = True
    #: Quarantine ends after names were compared with rows.
    names_compared: bool = True
    #: ... and after the site's own entries are back.
    entries_back: bool = True
