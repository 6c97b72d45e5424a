"""Subjects, by the kind of server."""

from __future__ import annotations

from librarian_daemon.bus import routing
from librarian_protocol.names import SiteName

A, B = SiteName("a"), SiteName("b-1")


def test_a_shared_server_is_asked_through_service_imports() -> None:
    shared = routing.Shared()
    assert shared.pull(A, B) == "lb.pull.a.b-1"
    assert shared.reset(A, B) == "lb.reset.a.b-1"
    assert shared.inbox(B, A, "00ff") == "lb.inbox.b-1.a.00ff"
    assert shared.request_inbox(B) == "_INBOX_b-1"


def test_an_external_server_is_asked_by_jetstreams_own_names() -> None:
    external = routing.External()
    assert external.pull(A, B) == "$JS.API.CONSUMER.MSG.NEXT.LB_a.a_to_b-1"
    assert external.reset(A, B) == "$JS.API.CONSUMER.RESET.LB_a.a_to_b-1"
    assert external.inbox(B, A, "00ff") == "_INBOX.b-1.a.00ff"
    assert external.request_inbox(B) == "_INBOX.b-1"


def test_each_connection_is_allowed_what_it_needs_and_no_more() -> None:
    assert routing.journal_publish(A) == [
        "lb.a.>",
        "$JS.API.STREAM.CREATE.LB_a",
        "$JS.API.STREAM.UPDATE.LB_a",
        "$JS.API.STREAM.INFO.LB_a",
        "$JS.API.CONSUMER.CREATE.LB_a.*",
    ]
    assert routing.journal_subscribe(A) == ["_INBOX_a.>"]
    assert routing.link_publish(B, "full", local=False) == [
        "lb.pull.*.b-1",
        "lb.reset.*.b-1",
        "lb.inbox.*.b-1.>",
        "lb.head.b-1",
        "lb.rpc.*.b-1.>",
    ]
    assert routing.link_subscribe(B, "full", local=False) == ["lb.inbox.b-1.>", "lb.rpc.b-1.>", "lb.head.*"]
    assert routing.link_subscribe(A, "full", local=True)[3:] == ["lb.join.a", "lb.joined.>"]
    assert routing.link_publish(A, "full", local=True)[5:] == ["lb.join.*", "lb.joined.a.*"]
    assert routing.leaf_subscribe(B, "full")[:2] == ["lb.pull.b-1.*", "lb.reset.b-1.*"]


def test_a_callback_site_neither_asks_nor_hears_heads() -> None:
    said = routing.leaf_publish(B, "callback")
    assert not any(subject.startswith("lb.rpc.") for subject in said)
    assert not any(subject.startswith("lb.head.") for subject in routing.leaf_subscribe(B, "callback"))
    assert "lb.head.b-1" in said, "it tells its own, so that its journal can be made whole"


def test_an_invited_user_asks_and_hears_its_own_answer() -> None:
    assert routing.invited_publish(A) == ["lb.join.a"]
