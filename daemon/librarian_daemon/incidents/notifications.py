"""Notifies people of incidents by channels. Channels are independent: one that hangs does not delay the others.

What was sent is committed after it was sent. So a kill in between sends it twice, but never loses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.incidents import deliveries
from librarian_daemon.incidents.channels import Channel
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.metrics import Metrics
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import api
from librarian_protocol.backoff import delay_s
from librarian_protocol.errors import NotFound, NotifyFailed
from librarian_protocol.incidents import Severity, State
from librarian_protocol.names import SiteName
from librarian_protocol.notification_rules import FAILED, Message, message, wait_s, wanted

#: Seconds. Incidents within this time are sent together.
GATHER_S = 5.0
_FOREVER_S = 86400.0


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
        self._channels: dict[str, Channel] = {}
        self._problems: dict[str, str] = {}
        #: Set when there are other channels.
        self._others = Signal()
        self._catalog = catalog
        self._incidents = incidents
        self._metrics = metrics
        self._clock = clock
        self._site = site
        self._log = structlog.get_logger("notifications")
        self._take(channels)

    def _take(self, channels: Sequence[Channel]) -> None:
        self._channels = {channel.settings.label: channel for channel in channels}
        self._problems = {label: self._problems.get(label, "") for label in self._channels}
        for label in self._channels:
            self._metrics.notifications.labels(channel=label, outcome="sent")  # a rate needs the 0 before the first
            self._metrics.notifications.labels(channel=label, outcome="failed")

    def replace(self, channels: Sequence[Channel]) -> None:
        """Use these channels from now on. What a channel of the same label has sent is not sent again."""
        self._take(channels)
        self._others.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for label in set(await self._incidents.subjects(FAILED)) - set(self._channels):
                await self._incidents.resolve(FAILED, label)  # it is no longer configured
            async with asyncio.TaskGroup() as group:
                following = [group.create_task(self._follow(channel)) for channel in self._channels.values()]
                while not await self._others.wait(_FOREVER_S):
                    pass
                for task in following:
                    task.cancel()

    async def _follow(self, channel: Channel) -> None:
        label, last_s, failures = channel.settings.label, float("-inf"), 0
        while True:
            await self._clock.sleep(delay_s(failures, label) if failures else GATHER_S)
            found = await self._catalog.read(deliveries.pending, label)
            new = [incident for incident in found.new if wanted(incident, label, channel.settings.level)]
            if new or (found.over and channel.settings.over):
                if wait_s(new, self._clock.boottime_s() - last_s, channel.settings.every_s):
                    continue
                over = found.over if channel.settings.over else []
                try:
                    await self._send(channel, message(self._site, new, over, more=found.more))
                except NotifyFailed:
                    failures += 1
                    continue
                failures, last_s = 0, self._clock.boottime_s()
            if found.new or found.over:
                opened = [incident.id for incident in new if incident.state != State.RESOLVED]
                over_ids = [incident.id for incident in found.over]
                await self._catalog.write(deliveries.told, label, opened, over_ids, found.upto)

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
        """All channels, with the problem of the last attempt."""
        return [
            api.Channel(
                label=label,
                service=channel.service,
                level=channel.settings.level.value,
                over=channel.settings.over,
                every_s=channel.settings.every_s,
                problem=self._problems[label],
            )
            for label, channel in self._channels.items()
        ]

    async def test(self, label: str) -> list[api.Channel]:
        """Send a message that says that it is a test, by one channel or, with "", by all; one after the other.

        Raises:
            NotFound: there is no channel of that label.
        """
        if label and label not in self._channels:
            raise NotFound(f"there is no channel {label!r}", hint="`lbctl notify list`")
        chosen = [label] if label else list(self._channels)
        for name in chosen:
            text = Message(
                severity=Severity.INFO,
                title=f"Librarian {self._site}: a test",
                body="Somebody asked whether this channel works. It does.",
            )
            try:
                await self._send(self._channels[name], text)
            except NotifyFailed:
                continue  # it stands in the problem
        return [channel for channel in self.channels() if channel.label in chosen]
