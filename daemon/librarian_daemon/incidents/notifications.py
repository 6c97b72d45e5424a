"""Telling people of incidents by channels. Each channel goes on by itself: one that hangs holds up no other.

What was told is committed after it was sent, so a kill in between tells it twice, and never not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from librarian_daemon.catalog import notified
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.channels import Channel
from librarian_daemon.metrics import Metrics
from librarian_daemon.ports import Clock, Incidents
from librarian_protocol import api
from librarian_protocol.backoff import delay_s
from librarian_protocol.errors import NotFound, NotifyFailed
from librarian_protocol.incidents import Severity, State
from librarian_protocol.names import SiteName
from librarian_protocol.notifying import FAILED, Message, message, wait_s, wanted

#: What happens within so many seconds is told together.
GATHER_S = 5.0


class Notifications:
    """A service."""

    def __init__(
        self,
        *,
        channels: Sequence[Channel],
        catalog: Catalog,
        incidents: Incidents,
        metrics: Metrics,
        clock: Clock,
        site: SiteName,
    ) -> None:
        self._channels = {one.settings.label: one for one in channels}
        self._problems = dict.fromkeys(self._channels, "")
        self._catalog = catalog
        self._incidents = incidents
        self._metrics = metrics
        self._clock = clock
        self._site = site
        self._log = structlog.get_logger("notifications")
        for label in self._channels:
            metrics.notifications.labels(channel=label, outcome="sent")  # a rate needs the 0 before the first
            metrics.notifications.labels(channel=label, outcome="failed")

    async def run(self) -> None:
        """Until cancelled."""
        for label in set(await self._incidents.subjects(FAILED)) - set(self._channels):
            await self._incidents.resolve(FAILED, label)  # it is configured no more
        async with asyncio.TaskGroup() as group:
            for one in self._channels.values():
                group.create_task(self._follow(one))

    async def _follow(self, channel: Channel) -> None:
        label, last_s, failures = channel.settings.label, float("-inf"), 0
        while True:
            await self._clock.sleep(delay_s(failures, label) if failures else GATHER_S)
            found = await self._catalog.read(notified.pending, label)
            new = [one for one in found.new if wanted(one, label, channel.settings.level)]
            if new or (found.over and channel.settings.over):
                if wait_s(new, self._clock.boottime_s() - last_s, channel.settings.every_s):
                    continue
                over = found.over if channel.settings.over else []
                try:
                    await self._send(channel, message(self._site, new, over))
                except NotifyFailed:
                    failures += 1
                    continue
                failures, last_s = 0, self._clock.boottime_s()
            if found.new or found.over:
                opened = [one.id for one in new if one.state != State.RESOLVED]
                over_ids = [one.id for one in found.over]
                await self._catalog.write(notified.told, label, opened, over_ids, found.upto)

    async def _send(self, channel: Channel, what: Message) -> None:
        label = channel.settings.label
        try:
            await channel.send(what)
        except NotifyFailed as exc:
            self._metrics.notifications.labels(channel=label, outcome="failed").inc()
            self._problems[label] = exc.message
            await self._incidents.open(FAILED, label, exc.message, f"lbctl notify test {label}")
            raise
        self._metrics.notifications.labels(channel=label, outcome="sent").inc()
        self._problems[label] = ""
        self._log.info("notified", channel=label, title=what.title)
        await self._incidents.resolve(FAILED, label)

    # ---- for operators -----------------------------------------------------------------------------------

    def channels(self) -> list[api.Channel]:
        """All of them, with what was wrong the last time."""
        return [
            api.Channel(
                label=label,
                service=one.service,
                level=one.settings.level.value,
                over=one.settings.over,
                every_s=one.settings.every_s,
                problem=self._problems[label],
            )
            for label, one in self._channels.items()
        ]

    async def test(self, label: str) -> list[api.Channel]:
        """Send a message that says that it is a test, by one channel or, with "", by all; one after the other.

        Raises:
            NotFound: there is no channel of that label.
        """
        if label and label not in self._channels:
            raise NotFound(f"there is no channel {label!r}", hint="`lbctl notify list`")
        chosen = [label] if label else list(self._channels)
        for one in chosen:
            text = Message(
                severity=Severity.INFO,
                title=f"Librarian {self._site}: a test",
                body="Somebody asked whether this channel works. It does.",
            )
            try:
                await self._send(self._channels[one], text)
            except NotifyFailed:
                continue  # it stands in the problem
        return [one for one in self.channels() if one.label in chosen]
