"""Commands that ask the daemon and print what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from tests.support import control_samples
from tests.support.fake_control import FakeControl, Raw, Request
from tests.unit.cli.conftest import Lbctl

from librarian_protocol import api, wire
from librarian_protocol.errors import NotPossible

# ---- lists, in each format -----------------------------------------------------------------------------


def pages_of_files(total: int) -> Callable[[Request], object]:
    """A catalog of files f0000, f0001, …, by pages."""

    def answer(request: Request) -> api.FilePage:
        first = int(request.query["after"][1:]) + 1 if "after" in request.query else 0
        last = min(first + int(request.query["limit"]), total)
        files = [control_samples.summary(f"f{number:04}") for number in range(first, last)]
        return api.FilePage(files=files, next=f"f{last - 1:04}" if last < total else None)

    return answer


def test_a_list_is_a_table(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /files", api.FilePage(files=[control_samples.summary()], next=None))
    run = lbctl("file", "list")
    assert run.out.splitlines() == [
        "NAME         UNIT       SIZE   ORIGIN   SITES",
        "obs/a.fits   book   18.2 GiB   summit   archive,summit",
    ]
    assert run.err == ""


def test_names_in_a_table_are_escaped_and_never_markup(lbctl: Lbctl, control: FakeControl) -> None:
    found = control_samples.summary("a\u202e[red]b[/red]")
    control.answer("GET /files", api.FilePage(files=[found], next=None))
    assert r"a\u202e[red]b[/red] " in lbctl("file", "list").out
    assert json.loads(lbctl("file", "list", "-o", "json").out)[0]["name"] == "a\u202e[red]b[/red]"


def test_a_long_name_is_not_cut_where_a_program_reads(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /files", api.FilePage(files=[control_samples.summary("n" * 1000)], next=None))
    assert "n" * 1000 in lbctl("file", "list").out


@pytest.mark.parametrize("total", [0, 1, 2500])
def test_pages_make_one_array_or_one_line_each(lbctl: Lbctl, control: FakeControl, total: int) -> None:
    control.answer("GET /files", pages_of_files(total))
    names = [f"f{number:04}" for number in range(total)]
    array = json.loads(lbctl("file", "list", "--limit", "0", "-o", "json").out)
    assert [found["name"] for found in array] == names
    rows = lbctl("file", "list", "--limit", "0", "-o", "jsonl").out.splitlines()
    assert [json.loads(row)["name"] for row in rows] == names
    table = lbctl("file", "list", "--limit", "0").out.splitlines()
    assert [row.split()[0] for row in table if row[0] != "N"] == names
    assert sum(row.startswith("NAME") for row in table) == (total > 0)


def test_a_limit_says_how_to_go_on(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /files", pages_of_files(10))
    run = lbctl("file", "list", "--limit", "4", "-o", "jsonl")
    assert len(run.out.splitlines()) == 4
    assert run.err == "more follow: --after 'f0003', or --limit 0 for all\n"
    run = lbctl("file", "list", "--limit", "4", "--after", "f0005", "--match", "f*")
    assert run.err == ""
    assert control.requests[-1].query == {"match": "f*", "after": "f0005", "limit": "4"}


def test_an_empty_list_says_so_on_stderr(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /stores", [])
    run = lbctl("store", "list")
    assert (run.out, run.err) == ("", "no stores\n")
    assert lbctl("store", "list", "-o", "json").out == "[]\n"


# ---- file ----------------------------------------------------------------------------------------------


def test_a_file_is_shown_with_instances_and_transfers(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /file", control_samples.detail())
    shown = lbctl("file", "show", "obs/a.fits").out.splitlines()
    assert shown[0] == (
        f"obs/a.fits   file   5.0 MiB   {control_samples.DIGEST}   ingested 2026-11-20T13:01:07Z at summit"
    )
    assert shown[2].split() == [
        "summit", "ssd", "verified", "ingested", "2026-11-20T13:01:07Z", "2026-11-20T13:01:07Z",
    ]  # fmt: skip
    assert "waiting (source-unreachable)" in shown[4]
    assert shown[5] == "  hint: nothing to do: it is tried again"
    assert json.loads(lbctl("file", "show", "obs/a.fits", "-o", "jsonl").out)["name"] == "obs/a.fits"


def test_a_conflict_is_shown(lbctl: Lbctl, control: FakeControl) -> None:
    """Two digests stand under one name; one of them was withdrawn and is held nowhere."""
    detail = control_samples.detail()
    gone = msgspec.structs.replace(
        detail.files[0], instances=[], transfers=[], withdrawn=True, origin=None, ingested_at=None
    )
    control.answer("GET /file", api.NameDetail(name="a", conflict=True, files=[*detail.files, gone]))
    out = lbctl("file", "show", "a").out
    assert "conflict: 2 digests under one name" in out
    assert "origin not known yet" in out
    assert "withdrawn" in out
    assert "no instance anywhere" in out


def test_a_name_that_breaks_a_rule_is_refused_before_it_is_asked_for(lbctl: Lbctl, control: FakeControl) -> None:
    run = lbctl("file", "show", "a//b")
    assert run.code == 2
    assert "error[E101]" in run.err
    assert control.requests == []


def test_a_manifest_is_printed_byte_for_byte(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /file/manifest", Raw(b"librarian-manifest 1\nF 1 00 a\n"))
    assert lbctl("file", "manifest", "book", "-o", "json").out == "librarian-manifest 1\nF 1 00 a\n"


def test_verifying_right_bytes_exits_with_0(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("POST /file/verify", [control_samples.verify_result(ok=True)])
    run = lbctl("file", "verify", "obs/a.fits", "--digest", control_samples.DIGEST)
    assert run.code == 0
    assert "right" in run.out
    assert control.requests[-1].query == {"name": "obs/a.fits", "digest": control_samples.DIGEST}


def test_verifying_wrong_bytes_exits_with_6(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer(
        "POST /file/verify", [control_samples.verify_result(ok=True), control_samples.verify_result(ok=False)]
    )
    run = lbctl("file", "verify", "obs/a.fits")
    assert run.code == 6
    assert "WRONG" in run.out


def test_verifying_what_cannot_be_looked_at_says_nothing_of_its_bytes(lbctl: Lbctl, control: FakeControl) -> None:
    away = msgspec.structs.replace(control_samples.verify_result(ok=False), looked=False)
    control.answer("POST /file/verify", [control_samples.verify_result(ok=True), away])
    run = lbctl("file", "verify", "obs/a.fits")
    assert run.code == 1
    assert "not looked at" in run.out
    assert "WRONG" not in run.out


def test_verifying_nothing_is_no_success(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("POST /file/verify", [])
    assert lbctl("file", "verify", "obs/a.fits").code == 4


# ---- transfer ------------------------------------------------------------------------------------------


def test_transfers_are_listed_with_what_they_wait_for(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /transfers", api.TransferPage(transfers=[control_samples.transfer()], next=11))
    run = lbctl("transfer", "list", "--state", "waiting", "--limit", "1")
    assert run.out == (
        "ID   NAME            SIZE   FROM     INTO   STATE                          PRIO   TRIED   NEXT    ETA\n"
        "12   obs/a.fits   5.0 MiB   summit   main   waiting (source-unreachable)      -      2x   1m04s   -\n"
    )
    assert run.err == "more follow: --after 11, or --limit 0 for all\n"


def test_a_transfer_is_shown_with_its_hint(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /transfer", control_samples.transfer())
    assert lbctl("transfer", "show", "12").out == (
        "transfer 12   obs/a.fits   file   5.0 MiB   summit -> main\n"
        "  waiting (source-unreachable) since 2026-11-20T13:01:07Z\n"
        "  1.0 MiB moved by http\n"
        "  tried 2x, again in 1m04s\n"
        "  summit does not answer on 127.0.0.1:7400\n"
        "  hint: nothing to do: it is tried again\n"
    )
    assert json.loads(lbctl("transfer", "show", "12", "-o", "json").out)["id"] == 12


def test_retrying_some_of_several_is_partly_done(lbctl: Lbctl, control: FakeControl) -> None:
    def answer(request: Request) -> object:
        return [control_samples.transfer()] if request.query["id"] == "12" else NotPossible("it is stored")

    control.answer("POST /transfer/retry", answer)
    assert lbctl("transfer", "retry", "12").code == 0
    run = lbctl("transfer", "retry", "12", "13")
    assert run.code == 3
    assert "error[E110]: it is stored" in run.err
    assert "12" in run.out
    assert lbctl("transfer", "retry", "13").code == 11


def test_retrying_all_may_name_a_reason(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("POST /transfer/retry", [])
    run = lbctl("transfer", "retry", "--all", "--reason", "timeout")
    assert (run.code, run.err) == (0, "nothing is parked\n")
    assert control.requests[-1].query == {"all": "1", "reason": "timeout"}


@pytest.mark.parametrize("arguments", [[], ["12", "--all"], ["12", "--reason", "timeout"]])
def test_retry_wants_ids_or_all(lbctl: Lbctl, arguments: list[str]) -> None:
    run = lbctl("transfer", "retry", *arguments)
    assert run.code == 2
    assert "error[E108]" in run.err


# ---- keep, hold ------------------------------------------------------------------------------------------


def test_a_keep_rule_is_added_as_it_was_said(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("POST /keeps", control_samples.keep_rule())
    run = lbctl("keep", "add", "--match", "raw/**", "--instances", "3", "--role", "archive", "--reason", "unique")
    assert run.code == 0
    asked = {"match": "raw/**", "instances": 3, "domains": 2, "role": "archive", "reason": "unique"}
    assert json.loads(control.requests[-1].body) == asked
    lbctl("keep", "add", "--match", "raw/**", "--instances", "1")
    assert json.loads(control.requests[-1].body)["domains"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["keep", "add", "--match", "[a"],
        ["keep", "add", "--match", "a", "--domains", "3"],
        ["keep", "add", "--match", "a", "--role", "attic"],
        ["keep", "rm", "21", "--reason", "x"],
        ["keep", "rm", "summit/0f1e2d3c4b5a6978/21", "--reason", " "],
        ["keep", "rm", "summit/0f1e2d3c4b5a6978/21"],
        ["hold", "add", "--match", "[a", "--reason", "x"],
        ["hold", "add", "--match", "a", "--reason", ""],
        ["hold", "add", "--match", "a", "--reason", "x", "--until", "tomorrow"],
        ["hold", "rm", "summit/23", "--reason", "x"],
    ],
)
def test_a_malformed_rule_is_refused_here(lbctl: Lbctl, control: FakeControl, arguments: list[str]) -> None:
    assert lbctl(*arguments).code == 2
    assert control.requests == []


def test_rules_are_listed_with_the_ids_by_which_they_are_removed(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /keeps", [control_samples.keep_rule()])
    assert lbctl("keep", "list").out.splitlines()[1].split() == [
        "summit/0f1e2d3c4b5a6978/21", "raw/**", "3", "2", "any", "unique",
    ]  # fmt: skip
    until = "2027-01-31T00:00:00Z"
    holds = [control_samples.hold_rule(), control_samples.hold_rule(until), control_samples.hold_rule(until, over=True)]
    control.answer("GET /holds", holds)
    shown = [line.split(maxsplit=2)[2] for line in lbctl("hold", "list").out.splitlines()[1:]]
    assert [" ".join(line.split()) for line in shown] == [
        "withdrawn review", f"{until} review", f"{until} (over) review",
    ]  # fmt: skip


def test_a_hold_is_added_and_removed(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("POST /holds", control_samples.hold_rule())
    control.answer("DELETE /holds", control_samples.hold_rule())
    lbctl("hold", "add", "--match", "raw/**", "--until", "2027-01-31", "--reason", "review")
    asked = {"match": "raw/**", "until": "2027-01-31T00:00:00Z", "reason": "review"}
    assert json.loads(control.requests[-1].body) == asked
    assert lbctl("hold", "rm", "summit/0f1e2d3c4b5a6978/23", "--reason", "done").code == 0
    assert control.requests[-1].query == {"id": "summit/0f1e2d3c4b5a6978/23", "reason": "done"}


# ---- subscription --------------------------------------------------------------------------------------


def test_a_subscription_is_added_as_it_was_said(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("POST /subscriptions", control_samples.subscription())
    run = lbctl("subscription", "add", "--from", "summit", "--match", "obs/**", "--into", "a", "--into", "b")
    assert run.code == 0
    assert json.loads(control.requests[-1].body) == {
        "from_site": "summit",
        "match": "obs/**",
        "into": ["a", "b"],
        "new_only": False,
        "max_bytes": None,
        "newest_s": None,
        "on_full": "wait",
        "priority": 5,
    }
    lbctl(
        "subscription",
        "add",
        "--from",
        "any",
        "--max-bytes",
        "50GiB",
        "--newest",
        "90d",
        "--on-full",
        "deactivate",
        "--priority",
        "9",
    )
    assert json.loads(control.requests[-1].body) == {
        "from_site": None,
        "match": "**",
        "into": [],
        "new_only": False,
        "max_bytes": 50 << 30,
        "newest_s": 90 * 86400,
        "on_full": "deactivate",
        "priority": 9,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "Summit"],
        ["--from", "summit", "--match", "[a"],
        ["--from", "summit", "--max-bytes", "large"],
        ["--from", "summit", "--newest", "90"],
        ["--from", "summit", "--priority", "10"],
    ],
)
def test_a_malformed_subscription_is_refused_here(lbctl: Lbctl, arguments: list[str]) -> None:
    assert lbctl("subscription", "add", *arguments).code == 2


def test_a_subscription_is_removed_by_the_beginning_of_its_id(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /subscriptions", [control_samples.subscription(), control_samples.subscription("5f" * 8)])
    control.answer("DELETE /subscriptions", control_samples.subscription())
    assert lbctl("subscription", "rm", "5e").code == 0
    assert control.requests[-1].query == {"id": "5e1f0c2b9a7d4e63"}
    ambiguous = lbctl("subscription", "rm", "5")
    assert ambiguous.code == 2
    assert "the beginning of 2 ids" in ambiguous.err
    assert lbctl("subscription", "rm", "6").code == 4
    assert lbctl("subscription", "rm", "").code == 4


def test_subscriptions_of_other_sites_show_the_ids_of_their_stores(lbctl: Lbctl, control: FakeControl) -> None:
    other = msgspec.structs.replace(
        control_samples.subscription(), from_site=None, labels=[], max_bytes=50 << 30, newest_s=7200, priority=9
    )
    control.answer("GET /subscriptions", [control_samples.subscription(), other])
    out = lbctl("subscription", "list").out.splitlines()
    assert out[1].split()[2:] == ["summit", "**", "main", "5", "-", "-"]
    assert out[2].split()[2:] == ["any", "site", "**", "00000000", "9", "50.0", "GiB", "2h00m"]


# ---- events --------------------------------------------------------------------------------------------


def test_events_are_told_one_a_line(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /events", Raw(wire.encode(control_samples.event()) + b"\n"))
    run = lbctl("events", "tail", "--site", "summit", "--kind", "file.*")
    assert run.out == (f"{control_samples.AT}  summit        file.ingested           obs/a.fits  1.0 MiB  unit=file\n")
    assert control.requests[-1].query == {"site": "summit", "kind": "file.*", "after": "-1", "follow": "1"}


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_a_stream_of_events_is_one_object_a_line(lbctl: Lbctl, control: FakeControl, form: str) -> None:
    control.answer(
        "GET /events", Raw(wire.encode(control_samples.event(1)) + b"\n" + wire.encode(control_samples.event(2)))
    )
    run = lbctl("events", "tail", "--no-follow", "-o", form)
    assert [json.loads(row)["position"] for row in run.out.splitlines()] == [1, 2]
    assert control.requests[-1].query == {"after": "0", "follow": "0"}


def test_events_stop_at_a_limit(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer(
        "GET /events", Raw(wire.encode(control_samples.event(1)) + b"\n" + wire.encode(control_samples.event(2)))
    )
    assert len(lbctl("events", "tail", "--limit", "1", "--after", "0").out.splitlines()) == 1


def test_a_journal_that_is_not_whole_exits_with_6(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /events/verify", Raw(wire.encode(control_samples.report()) + b"\n"))
    run = lbctl("events", "verify")
    assert run.code == 0
    assert " whole " in run.out
    control.answer("GET /events/verify", Raw(wire.encode(control_samples.report("segment 2: bad signature"))))
    run = lbctl("events", "verify", "--site", "summit")
    assert run.code == 6
    assert "segment 2: bad signature" in run.out
