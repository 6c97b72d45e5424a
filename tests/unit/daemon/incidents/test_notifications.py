"""The service that tells people: what failed is told later, what was told is not told again, none holds up another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.incidents import deliveries
from librarian_daemon.config.settings import NotifySettings
from librarian_daemon.incidents.notifications import Notifications
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Metrics
from librarian_protocol.api import Incident
from librarian_protocol.errors import NotFound, NotifyFailed
from librarian_protocol.names import SiteName
from librarian_protocol.notification_rules import Message

AT = "2026-01-01T00:00:00Z"


class Time:
    """Goes on as fast as the tasks do."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def boottime_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


class Told:
    """The catalog, as far as it is asked, and the incidents that the service itself opens."""

    def __init__(self) -> None:
        self.incidents: list[Incident] = []
        self.seen: dict[str, int] = {}
        self.open_about: list[str] = []
        self.resolved: list[str] = []

    def happens(self, subject: str, severity: str = "warning") -> None:
        self.incidents.append(
            Incident(
                id=len(self.incidents) + 1,
                code="store",
                subject=subject,
                state="open",
                severity=severity,
                title="A store does not work",
                message="it broke",
                hint="",
                opened_at=AT,
                last_at=AT,
                count=1,
                acknowledged_at=None,
                note="",
                resolved_at=None,
            )
        )

    async def read(self, work: object, label: str) -> deliveries.PendingNotices:
        assert work is deliveries.pending
        new = [incident for incident in self.incidents if incident.id > self.seen.get(label, 0)]
        return deliveries.PendingNotices(new=new, over=[], upto=len(self.incidents))

    async def write(self, work: object, label: str, _opened: list[int], _over: list[int], upto: int) -> None:
        assert work is deliveries.told
        self.seen[label] = upto

    async def open(self, code: str, subject: str, _message: str, _hint: str) -> None:
        self.open_about.append(f"{code} {subject}")

    async def resolve(self, code: str, subject: str) -> None:
        self.resolved.append(f"{code} {subject}")

    async def subjects(self, _code: str) -> list[str]:
        return ["gone"]


class Wire:
    """A channel; it fails so many times, or hangs."""

    service = "a wire"

    def __init__(self, label: str, *, fails: int = 0, hangs: bool = False, every_s: float = 300.0) -> None:
        self.settings = NotifySettings(label=label, url="wire://", every_s=every_s)
        self.sent: list[Message] = []
        self.tries = 0
        self._fails = fails
        self._hangs = hangs

    async def send(self, message: Message) -> None:
        self.tries += 1
        if self._hangs:
            await asyncio.Event().wait()
        if self.tries <= self._fails:
            raise NotifyFailed(f"{self.settings.label}: no answer")
        self.sent.append(message)


class World:
    def __init__(self, *wires: Wire) -> None:
        self.time = Time()
        self.told = Told()
        self.metrics = Metrics(SiteName("archive"))
        self.service = Notifications(
            channels=list(wires),
            catalog=cast(Catalog, self.told),
            incidents=cast(Any, self.told),
            metrics=self.metrics,
            clock=cast(Clock, self.time),
            site=SiteName("archive"),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        task = asyncio.create_task(self.service.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)


async def test_what_happens_together_is_told_together() -> None:
    wire = Wire("oncall")
    world = World(wire)
    world.told.happens("main")
    world.told.happens("other")
    async with world.running():
        await world.until(lambda: wire.sent)
        await world.until(lambda: world.time.now_s > 2000)
    (message,) = wire.sent
    assert "2 new" in message.title


async def test_messages_keep_their_distance_and_nothing_is_left_out() -> None:
    wire = Wire("oncall", every_s=600)
    world = World(wire)
    world.told.happens("first")
    async with world.running():
        await world.until(lambda: wire.sent)
        began_s = world.time.now_s
        world.told.happens("second")
        await world.until(lambda: world.time.now_s > began_s + 500)
        world.told.happens("third")
        assert len(wire.sent) == 1
        await world.until(lambda: len(wire.sent) == 2)
        assert world.time.now_s >= began_s + 600
    assert "second" in wire.sent[1].body
    assert "third" in wire.sent[1].body


async def test_what_did_not_go_out_is_told_when_it_works_again() -> None:
    wire = Wire("oncall", fails=3)
    world = World(wire)
    world.told.happens("main")
    async with world.running():
        await world.until(lambda: world.told.open_about)
        assert world.service.channels()[0].problem == "oncall: no answer"
        world.told.happens("other")
        await world.until(lambda: wire.sent)
        await world.until(lambda: world.told.seen)
    assert "2 new" in wire.sent[0].title
    assert world.told.open_about == ["notify-failed oncall"] * 3
    assert "notify-failed oncall" in world.told.resolved
    assert world.service.channels()[0].problem == ""
    text = world.metrics.text().decode()
    assert 'librarian_notifications_total{channel="oncall",outcome="failed",site="archive"} 3.0' in text.replace(
        'site="archive",channel="oncall",outcome="failed"', 'channel="oncall",outcome="failed",site="archive"'
    )


async def test_a_channel_that_hangs_holds_up_no_other() -> None:
    hanging, working = Wire("hanging", hangs=True), Wire("working")
    world = World(hanging, working)
    world.told.happens("main")
    async with world.running():
        await world.until(lambda: working.sent)
        await world.until(lambda: hanging.tries)
    assert world.told.seen == {"working": 1}


async def test_an_incident_of_a_channel_that_is_configured_no_more_is_over() -> None:
    world = World()
    async with world.running():
        await world.until(lambda: world.told.resolved)
    assert world.told.resolved == ["notify-failed gone"]


async def test_trying_says_of_each_channel_how_it_went() -> None:
    world = World(Wire("good"), Wire("bad", fails=1))
    tried = await world.service.test("")
    assert [(result.label, result.problem) for result in tried] == [("good", ""), ("bad", "bad: no answer")]
    assert [result.problem for result in await world.service.test("bad")] == [""]
    with pytest.raises(NotFound):
        await world.service.test("none")
