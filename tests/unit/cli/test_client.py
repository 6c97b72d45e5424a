"""The client: every method asks the right route, and every failure is an error of the protocol."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import control_samples
from tests.support.fake_control import FakeControl, Raw

from librarian_client import Client, locate
from librarian_protocol import api
from librarian_protocol.errors import (
    ConfigInvalid,
    DaemonUnreachable,
    InputError,
    LibrarianError,
    NotFound,
    NotPermitted,
    SiteError,
    StoreFull,
)


@pytest.fixture
def client(config: Path, control: FakeControl) -> Client:
    """A client of the fake daemon."""
    return Client.from_config(config)


Call = Callable[[Client], object]
CALLS: list[tuple[Call, str, dict[str, str], object]] = [
    (lambda c: c.status(), "GET /status", {}, control_samples.status()),
    (lambda c: c.doctor(), "GET /doctor", {}, [api.DoctorCheck(check="a", level="ok", message="b")]),
    (lambda c: c.stores(), "GET /stores", {}, [control_samples.store()]),
    (
        lambda c: c.files("obs/*", after="a b&c", limit=5),
        "GET /files",
        {"match": "obs/*", "after": "a b&c", "limit": "5"},
        api.FilePage(files=[control_samples.summary()], next=None),
    ),
    (lambda c: c.file("obs/ä+%.fits"), "GET /file", {"name": "obs/ä+%.fits"}, control_samples.detail()),
    (
        lambda c: c.verify("a", "blake3:00"),
        "POST /file/verify",
        {"name": "a", "digest": "blake3:00"},
        [control_samples.verify_result(ok=True)],
    ),
    (
        lambda c: c.transfers("parked", after=9, limit=2),
        "GET /transfers",
        {"state": "parked", "after": "9", "limit": "2"},
        api.TransferPage(transfers=[control_samples.transfer()], next=3),
    ),
    (lambda c: c.transfer(12), "GET /transfer", {"id": "12"}, control_samples.transfer()),
    (lambda c: c.retry(12), "POST /transfer/retry", {"id": "12"}, [control_samples.transfer()]),
    (
        lambda c: c.retry_all("timeout"),
        "POST /transfer/retry",
        {"all": "1", "reason": "timeout"},
        [control_samples.transfer()],
    ),
    (lambda c: c.subscriptions(), "GET /subscriptions", {}, [control_samples.subscription()]),
    (lambda c: c.unsubscribe("5e"), "DELETE /subscriptions", {"id": "5e"}, control_samples.subscription()),
    (lambda c: c.keeps(), "GET /keeps", {}, [control_samples.keep_rule()]),
    (lambda c: c.withdraw_keep("i", "r"), "DELETE /keeps", {"id": "i", "reason": "r"}, control_samples.keep_rule()),
    (lambda c: c.holds(), "GET /holds", {}, [control_samples.hold_rule()]),
    (lambda c: c.withdraw_hold("i", "r"), "DELETE /holds", {"id": "i", "reason": "r"}, control_samples.hold_rule()),
    (lambda c: c.sites(), "GET /sites", {}, [control_samples.site()]),
    (
        lambda c: c.invite(),
        "POST /invite",
        {},
        api.Invite(token="t", expires_at="x", inviter="summit", fingerprint="f"),
    ),
    (
        lambda c: c.join_state(),
        "GET /join",
        {},
        api.JoinState(state="asking", inviter="s", fingerprint="f", detail=""),
    ),
]


@pytest.mark.parametrize(("call", "route", "query", "answer"), CALLS, ids=[case[1] for case in CALLS])
def test_a_method_asks_its_route_and_returns_its_structure(
    client: Client, control: FakeControl, call: Call, route: str, query: dict[str, str], answer: object
) -> None:
    control.answer(route, answer)
    assert call(client) == answer
    assert control.requests[-1].route == route
    assert control.requests[-1].query == query


def test_bodies_are_sent_as_json(client: Client, control: FakeControl) -> None:
    control.answer("POST /subscriptions", control_samples.subscription())
    client.subscribe(api.SubscriptionAdd(from_site="summit", into=["main"]))
    assert control.requests[-1].body == (
        b'{"from_site":"summit","match":"**","into":["main"],"new_only":false,"max_bytes":null,"newest_s":null,"on_full":"wait","priority":5}'
    )
    control.answer("POST /join", api.JoinState(state="asking", inviter="s", fingerprint="f", detail=""))
    client.join("lb1.x")
    assert control.requests[-1].body == b'{"token":"lb1.x"}'


def test_events_come_one_by_one(client: Client, control: FakeControl) -> None:
    lines = b"".join(
        b'{"site":"s","epoch":1,"incarnation":"i","seq":%d,"at":"t","kind":"k","position":%d,"entry":{}}\n\n' % (n, n)
        for n in (1, 2)
    )
    control.answer("GET /events", Raw(lines))
    events = client.events(site="s", kind="file.*", after=-1, limit=2, follow=True)
    assert [event.seq for event in events] == [1, 2]
    assert control.requests[-1].query == {
        "site": "s",
        "kind": "file.*",
        "after": "-1",
        "limit": "2",
        "follow": "1",
    }


def test_journal_reports_come_one_by_one(client: Client, control: FakeControl) -> None:
    control.answer("GET /events/verify", lambda _: Raw(b""))
    assert list(client.verify_journals()) == []


def test_a_manifest_comes_byte_for_byte(client: Client, control: FakeControl) -> None:
    text = b"librarian-manifest 1\n" + b"F 1 00 a\r\xc3\xa4\n" * 20_000
    control.answer("GET /file/manifest", Raw(text))
    assert b"".join(client.manifest("book")) == text


def test_no_join_begun_is_none(client: Client) -> None:
    assert client.join_state() is None


# ---- errors --------------------------------------------------------------------------------------------


def test_an_error_of_the_daemon_is_its_class_again(client: Client, control: FakeControl) -> None:
    control.answer("GET /file", NotFound("no file named 'x'", hint="did you mean 'y'?"))
    with pytest.raises(NotFound) as caught:
        client.file("x")
    assert (caught.value.message, caught.value.hint) == ("no file named 'x'", "did you mean 'y'?")
    control.answer("GET /stores", StoreFull("full"))
    with pytest.raises(StoreFull):
        client.stores()


@pytest.mark.parametrize(("code", "kind"), [("E199", InputError), ("E999", LibrarianError)])
def test_an_unknown_code_is_of_its_family(
    client: Client, control: FakeControl, code: str, kind: type[LibrarianError]
) -> None:
    body = b'{"code":"%s","kind":"x","message":"something new"}' % code.encode()
    control.answer("GET /status", Raw(body, 400))
    with pytest.raises(LibrarianError, match=f"{code}: something new") as caught:
        client.status()
    assert type(caught.value) is kind


def test_an_error_that_is_no_json_is_told(client: Client, control: FakeControl) -> None:
    control.answer("GET /status", Raw(b"500 Internal Server Error", 500))
    with pytest.raises(SiteError, match="the daemon answered 500 Internal Server Error to GET /status"):
        client.status()


def test_an_answer_of_another_shape_is_told(client: Client, control: FakeControl) -> None:
    control.answer("GET /status", Raw(b'{"site": 3}'))
    with pytest.raises(SiteError, match="the daemon's answer is not understood"):
        client.status()


def test_no_daemon_hints_at_starting_it(config: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="no daemon answers on") as caught:
        Client.from_config(config).status()
    assert caught.value.hint == f"start it: lbd --config {config}"


def test_a_socket_left_behind_is_no_daemon(config: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(config.parent / "lbd.sock"))
    left.close()
    with pytest.raises(DaemonUnreachable, match="no daemon answers on"):
        Client.from_config(config).status()


def test_an_answer_that_is_cut_short_is_told(client: Client, control: FakeControl) -> None:
    control.answer("GET /file/manifest", Raw(b"librarian-manifest 1\n", cut=True))
    with pytest.raises(DaemonUnreachable, match="went away"):
        list(client.manifest("book"))
    control.answer("GET /status", Raw(b"{", cut=True))
    with pytest.raises(DaemonUnreachable, match="went away"):
        client.status()


def test_a_silent_daemon_is_waited_for_so_long(config: Path) -> None:
    path = config.parent / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(DaemonUnreachable, match=r"did not answer within 0\.05 s"):
            Client(path, timeout_s=0.05).status()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect to every socket")
def test_a_socket_of_another_user_is_told(config: Path, control: FakeControl) -> None:
    (config.parent / "lbd.sock").chmod(0)
    with pytest.raises(NotPermitted, match="not allowed") as refused:
        Client.from_config(config).status()
    assert refused.value.exit_code == 12


# ---- where the socket is -------------------------------------------------------------------------------


def test_a_path_longer_than_sun_path_is_reached(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    with FakeControl(directory / "lbd.sock") as control:
        control.answer("GET /sites", [])
        assert Client(directory / "lbd.sock").sites() == []
    with pytest.raises(DaemonUnreachable):
        Client(tmp_path / ("e" * 120) / "lbd.sock").sites()


@pytest.mark.parametrize(
    ("text", "environ", "state", "socket"),
    [
        ("", {}, ".", "lbd.sock"),
        ('state = "var"', {}, "var", "var/lbd.sock"),
        ('state = "var"\nsocket = "../s"', {}, "var", "../s"),
        ('state = "/abs"', {}, "/abs", "/abs/lbd.sock"),
        ('state = "var"', {"LIBRARIAN_STATE": '"/env"'}, "/env", "/env/lbd.sock"),
        ("", {"LIBRARIAN_SOCKET": "/run/lb"}, ".", "/run/lb"),
    ],
)
def test_the_socket_is_found_without_the_daemon(
    tmp_path: Path, text: str, environ: dict[str, str], state: str, socket: str
) -> None:
    (tmp_path / "site.toml").write_text(text)
    found = locate(tmp_path / "site.toml", environ)
    assert found.state == Path(os.path.normpath(tmp_path / state))
    assert found.socket == Path(os.path.normpath(tmp_path / socket))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"site = ", "not TOML"), (b"\xff", "not TOML"), (b"state = 3", "state: expected text, got int")],
)
def test_a_configuration_that_says_no_place_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "site.toml").write_bytes(content)
    with pytest.raises(ConfigInvalid, match=message):
        locate(tmp_path / "site.toml", {})


def test_a_missing_configuration_hints_at_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no such file") as caught:
        locate(tmp_path / "site.toml", {})
    assert "lbctl init" in caught.value.hint
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        locate(tmp_path, {})
