"""Why a file is, or is not, at a site."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.protocol.samples import ARCHIVE, CAMPUS, INCARNATION, SUMMIT

from librarian_protocol.entries import EntryId
from librarian_protocol.explanation import Facts, InstanceReport, SubscriptionReport, TransferReport, explain
from librarian_protocol.rules import Hold, Keep
from librarian_protocol.wanted import UnwantedReason

AT_SUMMIT = InstanceReport(site=SUMMIT, label="main", state="available", doubted=False)
HERE = InstanceReport(site=ARCHIVE, label="main", state="available", doubted=False)
SUBSCRIPTION = SubscriptionReport(id="5e", match="**", from_site=SUMMIT, unwanted=None)
TRANSFER = TransferReport(
    id=7, state="waiting", reason="timeout", message="silence", hint="wait", attempts=2, source=None, next_try_in_s=40
)
FACTS = Facts(
    here=ARCHIVE,
    at=ARCHIVE,
    digest="blake3:aa",
    origin=SUMMIT,
    withdrawn=False,
    conflict=False,
    kept=None,
    instances=[AT_SUMMIT],
    subscriptions=[SUBSCRIPTION],
)


def unwanted(reason: UnwantedReason) -> list[SubscriptionReport]:
    """One subscription that does not want it."""
    return [msgspec.structs.replace(SUBSCRIPTION, unwanted=reason)]


@pytest.mark.parametrize(
    ("changes", "summary", "step"),
    [
        ({"instances": [AT_SUMMIT, HERE]}, "it is at archive", "nothing"),
        ({"instances": [HERE], "kept": "blake3:bb"}, "set aside: blake3:bb has the name", "nothing"),
        (
            {"instances": [msgspec.structs.replace(HERE, state="suspected", detail="a bit flipped")]},
            "is suspected: a bit flipped",
            "lbctl file heal",
        ),
        (
            {"instances": [AT_SUMMIT, msgspec.structs.replace(HERE, state="suspected", detail="a bit flipped")]},
            "is suspected: a bit flipped",
            "fetches it again from summit by itself",
        ),
        (
            {"instances": [AT_SUMMIT, msgspec.structs.replace(HERE, state="suspected")], "transfer": TRANSFER},
            "it is fetched again",
            "tried again in 40 s",
        ),
        ({"instances": [msgspec.structs.replace(HERE, doubted=True)]}, "is doubted", "reads it again by itself"),
        (
            {"instances": [msgspec.structs.replace(HERE, state="revoked")]},
            "archive is of the mesh no more: what it holds counts nowhere",
            "nothing",
        ),
        ({"conflict": True}, "two digests stand under this name", "lbctl file resolve"),
        ({"withdrawn": True}, "an administrator withdrew it", "it is final"),
        ({"transfer": TRANSFER}, "transfer 7 from summit is waiting (timeout)", "tried again in 40 s"),
        (
            {"transfer": msgspec.structs.replace(TRANSFER, state="parked", next_try_in_s=None)},
            "is parked",
            "wait; then `lbctl transfer retry 7`",
        ),
        (
            {"transfer": msgspec.structs.replace(TRANSFER, state="fetching", reason=None, next_try_in_s=None)},
            "is fetching",
            "it is on its way",
        ),
        ({"transfer": msgspec.structs.replace(TRANSFER, state="cancelled")}, "wanted there", "planned next"),
        ({"transfer": msgspec.structs.replace(TRANSFER, source=None), "origin": None}, "no source yet", "tried again"),
        ({"subscriptions": []}, "has no subscription", "lbctl subscription add --from summit"),
        ({"subscriptions": [], "origin": None}, "has no subscription", "--from SITE"),
        ({}, "it is not at archive yet, and wanted there", "planned next"),
        (
            {"subscriptions": unwanted(UnwantedReason.NAME_DOES_NOT_MATCH)},
            "not wanted there now",
            "a subscription that matches",
        ),
        (
            {"subscriptions": unwanted(UnwantedReason.LARGER_THAN_WANTED)},
            "not wanted there now",
            "a subscription that matches",
        ),
        (
            {"subscriptions": unwanted(UnwantedReason.NO_SOURCE)},
            "not wanted there now",
            "whenever an instance or an offer changes",
        ),
        ({"subscriptions": unwanted(UnwantedReason.EVICTED_HERE)}, "not wanted there now", "see the reasons above"),
        ({"at": CAMPUS}, "campus has never told what it holds", "last heard never"),
        ({"at": CAMPUS, "told": False, "last_heard": "noon"}, "campus has not heard of it", "last heard noon"),
        ({"at": CAMPUS, "told": True}, "it is not at campus yet, and wanted there", "planned next"),
    ],
)
def test_every_case_says_what_is_and_what_to_do(changes: dict[str, Any], summary: str, step: str) -> None:
    found = explain(msgspec.structs.replace(FACTS, **changes))
    assert summary in found.summary
    assert step in found.next


def test_the_lines_say_where_it_came_from_and_who_has_it() -> None:
    found = explain(
        msgspec.structs.replace(
            FACTS,
            instances=[
                AT_SUMMIT,
                msgspec.structs.replace(AT_SUMMIT, site=CAMPUS, doubted=True),
                msgspec.structs.replace(HERE, state="removed", detail="policy"),
            ],
            recovery=["summit has not told what it holds"],
        )
    )
    assert list(found.lines[:4]) == [
        "it was ingested at summit",
        "summit, store main: available",
        "campus, store main: doubted: somebody received wrong bytes",
        "archive, store main: removed (policy)",
    ]
    assert "archive recovers its catalog: summit has not told what it holds" in found.lines


def test_the_rules_that_match_are_named() -> None:
    id_ = EntryId(site=SUMMIT, incarnation=INCARNATION, seq=1)
    keep = Keep(id=id_, match="raw/**", instances=3, domains=2, role="archive", reason="unique", at="")
    hold = Hold(id=id_, match="**", until=None, reason="", at="")
    found = explain(msgspec.structs.replace(FACTS, rules=[keep, hold]))
    assert (
        "keep rule of summit for raw/**: an eviction must leave 3 good instances in 2 failure domains, one of them in a"
        " store of role archive (unique)" in found.lines
    )
    assert "hold rule of summit for **: nobody may evict it" in found.lines


def test_a_file_that_nobody_holds_or_ingested_is_said_to_be_so() -> None:
    found = explain(msgspec.structs.replace(FACTS, origin=None, instances=[]))
    assert "nobody has said yet" in found.lines[0]
    assert found.lines[1] == "no instance of it is known anywhere"


def test_a_link_that_is_down_is_named() -> None:
    found = explain(msgspec.structs.replace(FACTS, transfer=TRANSFER, down={SUMMIT: "no answer"}))
    assert "the link to summit is down: no answer" in found.lines
    quiet = explain(msgspec.structs.replace(FACTS, transfer=msgspec.structs.replace(TRANSFER, message="")))
    assert "tried 2x" in quiet.lines


def test_a_subscription_to_any_site_is_shown_as_one() -> None:
    found = explain(
        msgspec.structs.replace(FACTS, subscriptions=[msgspec.structs.replace(SUBSCRIPTION, from_site=None)])
    )
    assert found.lines[-1] == "subscription 5e (** of any site): wants it"


def test_of_instances_at_sites_that_are_not_heard_or_revoked_it_says_so() -> None:
    gone = msgspec.structs.replace(AT_SUMMIT, site=CAMPUS, state="revoked")
    said = explain(msgspec.structs.replace(FACTS, instances=[AT_SUMMIT, gone], down={SUMMIT: "silent"}))
    assert "summit, store main: available; summit is not heard: silent" in said.lines
    assert "campus, store main: revoked: it counts nowhere" in said.lines


def test_a_wanted_one_says_what_it_waits_for() -> None:
    queued = msgspec.structs.replace(
        TRANSFER,
        state="wanted",
        reason=None,
        message="",
        next_try_in_s=None,
        waits_for="no-free-slot: every one is taken",
    )
    said = explain(msgspec.structs.replace(FACTS, transfer=queued))
    assert "it waits for: no-free-slot: every one is taken" in said.lines


def test_one_that_is_paused_goes_on_when_the_pause_is_over() -> None:
    queued = msgspec.structs.replace(
        TRANSFER,
        state="wanted",
        reason=None,
        next_try_in_s=None,
        waits_for="paused: transfers are paused until tomorrow by anna: new disks",
    )
    assert "goes on when the pause is over" in explain(msgspec.structs.replace(FACTS, transfer=queued)).next
