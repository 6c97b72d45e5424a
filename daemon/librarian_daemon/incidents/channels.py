"""Notification channels, by apprise: one URL each. apprise is imported only if a channel is configured.

A URL is a secret: no part of it is shown, logged or put into an error.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from librarian_daemon.config.settings import NotifySettings
from librarian_protocol.errors import ConfigInvalid, NotifyFailed
from librarian_protocol.incidents import Severity
from librarian_protocol.notification_rules import Message

#: A service answers within seconds, or is tried again.
PATIENCE_S = 60.0
#: Parts of a URL that are shorter than this say nothing.
_TELLING = 4


_HEARING: ContextVar[object] = ContextVar("hearing", default=None)


class Channel(Protocol):
    """One way to notify people."""

    @property
    def settings(self) -> NotifySettings:
        """As configured."""
        ...

    @property
    def service(self) -> str:
        """What kind of service it is, for people."""
        ...

    async def send(self, message: Message) -> None:
        """Send one message. It may arrive twice.

        Raises:
            NotifyFailed: it did not go out, or not within ``PATIENCE_S``.
        """
        ...


class AppriseChannel:
    """Implements the port."""

    def __init__(self, settings: NotifySettings, url: str) -> None:
        """Raises ConfigInvalid where apprise is not installed or knows no such URL."""
        try:
            import apprise  # noqa: PLC0415 - optional, and takes a fifth of a second
        except ImportError as exc:
            raise ConfigInvalid(
                "notify: apprise is not installed", hint="pip install 'librarian-daemon[notify]'"
            ) from exc
        self.settings = settings
        self._url = url
        self._kinds = {
            Severity.CRITICAL: apprise.NotifyType.FAILURE,
            Severity.WARNING: apprise.NotifyType.WARNING,
            Severity.INFO: apprise.NotifyType.INFO,
            None: apprise.NotifyType.SUCCESS,
        }
        self._apprise = apprise.Apprise(
            asset=apprise.AppriseAsset(app_id="Librarian", app_desc="Librarian", async_mode=False)
        )
        with _LogCapture() as heard:
            known = self._apprise.add(url)
        if not known or len(self._apprise) != 1:
            raise ConfigInvalid(
                f"notify {settings.label}: this is no URL of one service: {self._said(heard.lines)}",
                hint="docs/notifications.md has examples",
            )
        self.service = str(self._apprise[0].service_name)

    async def send(self, message: Message) -> None:
        """See the port."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                sent, lines = await asyncio.to_thread(self._send, message)
        except TimeoutError as exc:
            raise NotifyFailed(f"{self.settings.label}: {self.service} did not answer in {PATIENCE_S:.0f} s") from exc
        if not sent:
            raise NotifyFailed(f"{self.settings.label}: {self.service}: {self._said(lines)}")

    def _send(self, message: Message) -> tuple[bool, list[str]]:
        with _LogCapture() as heard:
            sent = self._apprise.notify(
                title=message.title, body=message.body, notify_type=self._kinds[message.severity]
            )
        return bool(sent), heard.lines

    def _said(self, lines: Sequence[str]) -> str:
        """What apprise complained of, without any part of the URL."""
        text = " ".join(lines)[:500] or "no reason was given"
        parts = {self._url, *re.split(r"[/@:?&=]+", self._url.partition("://")[2])}
        for part in sorted(parts | {unquote(text) for text in parts}, key=len, reverse=True):
            if len(part) >= _TELLING:
                text = text.replace(part, "…")
        return text


class _LogCapture(logging.Handler):
    """Captures what apprise logs in this context, also in its own threads. It goes nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._logger = logging.getLogger("apprise")

    def __enter__(self) -> _LogCapture:
        self._logger.propagate = False
        self._logger.addHandler(self)
        _HEARING.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See the base class."""
        if _HEARING.get() is self:
            self.lines.append(record.getMessage())


async def open_channels(settings: Sequence[NotifySettings]) -> list[Channel]:
    """All configured channels.

    Raises:
        ConfigInvalid: a URL cannot be read or is not understood; apprise is not installed.
    """
    return [await asyncio.to_thread(AppriseChannel, channel, _url(channel)) for channel in settings]


def _url(settings: NotifySettings) -> str:
    if settings.url:
        return settings.url
    try:
        return Path(settings.url_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigInvalid(f"notify {settings.label}: url_file {settings.url_file} cannot be read: {exc}") from exc
