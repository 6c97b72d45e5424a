"""Invitations and joining, before and after the daemon's start."""

from __future__ import annotations

import io
import json
import stat
import time
from pathlib import Path

import msgspec
import pytest
from tests.support import control_samples
from tests.support.fake_control import FakeControl
from tests.unit.cli.conftest import Lbctl

from librarian_protocol import api, tokens
from librarian_protocol.errors import NotFound, NotPossible
from librarian_protocol.names import SiteName

FINGERPRINT = "abab-abab-abab-abab"


def token(*, expires: int | None = None) -> str:
    """An invite token of summit."""
    return tokens.encode(
        tokens.Token(
            mesh="ab" * 16,
            id="ab" * 8,
            inviter=SiteName.parse("summit"),
            key="ed25519:" + "ab" * 32,
            bus_url="nats://127.0.0.1:4222",
            bus_seed=None,
            secret="cd" * 32,
            expires=int(time.time()) + 60 if expires is None else expires,
        )
    )


def state(word: str, detail: str = "") -> api.JoinState:
    """How a join stands."""
    return api.JoinState(state=word, inviter="summit", fingerprint=FINGERPRINT, detail=detail)


def test_the_roster_is_listed_with_fingerprints(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /sites", [control_samples.site()])
    out = lbctl("site", "list").out
    assert FINGERPRINT in out
    assert out.splitlines()[1].endswith("itself        http       0.1.0      never")


def test_an_invitation_prints_the_token_alone(lbctl: Lbctl, control: FakeControl) -> None:
    made = api.Invite(token="lb1.abc", expires_at=control_samples.AT, inviter="summit", fingerprint=FINGERPRINT)
    control.answer("POST /invite", made)
    run = lbctl("site", "invite", "--expires-s", "600")
    assert run.out == "lb1.abc\n"
    assert FINGERPRINT in run.err
    assert "2026-11-20T13:01:07Z" in run.err
    assert msgspec.json.decode(control.requests[-1].body)["expires_s"] == 600
    assert json.loads(lbctl("site", "invite", "-o", "json").out)["fingerprint"] == FINGERPRINT


def test_joining_before_the_start_keeps_the_token(lbctl: Lbctl, config: Path) -> None:
    text = token()
    run = lbctl("site", "join", text)
    assert run.code == 0
    kept = config.parent / "join.token"
    assert kept.read_text() == text + "\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "lbd will use it at its start" in run.err
    assert sorted(path.name for path in config.parent.iterdir()) == ["join.token", "site.toml"]


def test_the_token_is_kept_in_the_state_directory(lbctl: Lbctl, config: Path) -> None:
    config.write_text('state = "var"\n')
    assert lbctl("site", "join", token()).code == 1  # there is no such directory yet
    (config.parent / "var").mkdir()
    assert lbctl("site", "join", token()).code == 0
    assert (config.parent / "var" / "join.token").exists()


def test_joining_waits_for_the_answer(
    lbctl: Lbctl, control: FakeControl, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbctl.site.POLL_S", 0.01)
    control.answer("POST /join", state("asking"))
    here = msgspec.structs.replace(control_samples.site(), site="archive", here=True)
    admitted = msgspec.structs.replace(here, admitted_by="summit")
    answers = iter([state("asking"), NotFound("forgotten"), NotFound("forgotten")])
    control.answer("GET /join", lambda _: next(answers))
    rosters = iter([[here], [admitted, control_samples.site()]])
    control.answer("GET /sites", lambda _: next(rosters))
    text = token()
    run = lbctl("site", "join", text)
    assert run.code == 0
    assert f"joined: admitted by summit, fingerprint {FINGERPRINT}" in run.out
    assert json.loads(control.requests[0].body) == {"token": text}
    assert (config.parent / "join.token").exists()


def test_a_token_may_come_from_stdin(lbctl: Lbctl, control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    text = token()
    monkeypatch.setattr("sys.stdin", io.StringIO(text + "\n"))
    control.answer("POST /join", state("joined"))
    assert lbctl("site", "join", "-").code == 0
    assert json.loads(control.requests[0].body) == {"token": text}


def test_an_answer_that_does_not_come_is_temporary(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("POST /join", state("asking"))
    run = lbctl("site", "join", token(), "--timeout-s", "0")
    assert run.code == 5
    assert "the daemon goes on asking" in run.out
    assert lbctl("site", "join", token(), "--no-wait").code == 0
    assert json.loads(lbctl("site", "join", token(), "--no-wait", "-o", "json").out)["state"] == "asking"


def test_a_refusal_exits_with_12(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("POST /join", state("refused", "the token was used"))
    run = lbctl("site", "join", token())
    assert run.code == 12
    assert "error[E206]: summit refused: the token was used" in run.err


def test_a_token_that_the_daemon_refuses_is_not_kept(lbctl: Lbctl, control: FakeControl, config: Path) -> None:
    control.answer("POST /join", NotPossible("this site is in another mesh"))
    run = lbctl("site", "join", token())
    assert run.code == 11
    assert "another mesh" in run.err
    assert not (config.parent / "join.token").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "this is not an invite token"),
        (token()[:-9], "does not decode"),
        (token(expires=1), "has expired"),
    ],
    ids=["other text", "cut", "expired"],
)
def test_a_token_that_is_none_is_not_kept(lbctl: Lbctl, config: Path, text: str, said: str) -> None:
    run = lbctl("site", "join", text)
    assert run.code == 12
    assert said in run.err
    assert not (config.parent / "join.token").exists()
