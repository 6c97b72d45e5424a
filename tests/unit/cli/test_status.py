"""``lbctl status``: what it says, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from tests.support import control_samples
from tests.support.fake_control import FakeControl, Raw, Request
from tests.unit.cli.conftest import Lbctl

from librarian_protocol import wire


def test_a_healthy_site_exits_with_0(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /status", control_samples.status())
    run = lbctl("status")
    assert run.code == 0
    for said in (
        "archive   mesh abababab   lbd 0.1.0   started ",
        "bus: connected, join, nats://127.0.0.1:4222, nats-server 2.15.1",
        "journal: 12 entries, epoch 1; all sent",
        "summit   ok      unknown   full",
        "2.0 TiB of 8.0 TiB",
        "transfers: 1,200 stored, 2 parked, 1 new-state",
        "no problems. 1,204 files; 1,200 instances here, 1,204 elsewhere; 1 conflict; 0 suspected, 0 doubted.",
    ):
        assert said in run.out


def test_an_unhealthy_site_exits_with_1_and_says_why(lbctl: Lbctl, control: FakeControl) -> None:
    control.answer("GET /status", control_samples.status(healthy=False))
    run = lbctl("status")
    assert run.code == 1
    for said in (
        "bus: NOT CONNECTED",
        "1 segment not sent yet",
        "STALLED: signature does not fit",
        "1 file (1.0 GiB)",
        "  waits: b4: still being written",
        "  waits: 2 more in /data/drop",
        "  ! peer-stalled summit: its journal does not advance (3x), since ",
        "      hint: lbctl events verify --site summit",
        "1 problem, NOT HEALTHY.",
        "0 suspected, 0 doubted; counted 2m00s ago.",
    ):
        assert said in run.out


def test_an_empty_site_is_told_in_few_lines(lbctl: Lbctl, control: FakeControl) -> None:
    empty = msgspec.structs.replace(control_samples.status(), peers=[], stores=[], intake=[], transfers={}, mesh="")
    control.answer("GET /status", empty)
    out = lbctl("status").out
    assert "transfers: none" in out
    assert len(out.splitlines()) == 6


@pytest.mark.parametrize(("form", "lines"), [("json", 40), ("jsonl", 1)])
def test_the_status_is_the_structure_of_the_api(lbctl: Lbctl, control: FakeControl, form: str, lines: int) -> None:
    status = control_samples.status(healthy=False)
    control.answer("GET /status", status)
    run = lbctl("status", "-o", form)
    assert run.code == 1
    assert json.loads(run.out) == json.loads(wire.encode(status))
    assert (len(run.out.splitlines()) >= lines) if form == "json" else (len(run.out.splitlines()) == lines)


def test_watching_outlives_a_daemon_that_is_down(lbctl: Lbctl, control: FakeControl) -> None:
    answers: list[object] = [control_samples.status(), Raw(b"{", cut=True), control_samples.status(healthy=False)]

    def answer(_: Request) -> object:
        if not answers:
            raise ConnectionError  # the connection ends, and with the next line the test
        return answers.pop(0)

    control.answer("GET /status", answer)

    def enough(seconds: float) -> None:
        if not answers:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", enough)
        run = lbctl("status", "--watch", "--every-s", "0.01")
    assert run.code == 130
    assert run.out.count("transfers:") == 2
    assert "error[E501]" in run.err


def test_without_a_daemon_it_exits_with_10(lbctl: Lbctl, config: Path) -> None:
    assert lbctl("status").code == 10
