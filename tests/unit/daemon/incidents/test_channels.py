"""Messages go out by apprise, for real, to a server on loopback; no part of a URL is ever shown."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from librarian_daemon.config.settings import NotifySettings
from librarian_daemon.incidents.channels import open_channels
from librarian_protocol.errors import ConfigInvalid, NotifyFailed
from librarian_protocol.incidents import Severity
from librarian_protocol.notification_rules import Message

SECRET = "hunter2hunter2"
TOKEN = "T0KENT0KENT0KEN"


@contextmanager
def server(status: int) -> Generator[tuple[str, list[dict[str, str]]]]:
    """A webhook that answers with a status; its address, and what it was sent."""
    heard: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class calls it
            """Quiet."""

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.server_address[1]}", heard
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def settings(url: str) -> NotifySettings:
    return NotifySettings(label="oncall", url=url)


def a_message(severity: Severity | None = Severity.CRITICAL) -> Message:
    return Message(severity=severity, title="it broke", body="mend it")


@pytest.mark.parametrize(
    ("severity", "kind"),
    [(Severity.CRITICAL, "failure"), (Severity.WARNING, "warning"), (Severity.INFO, "info"), (None, "success")],
)
async def test_a_message_arrives(severity: Severity | None, kind: str) -> None:
    with server(200) as (address, heard):
        (channel,) = await open_channels([settings(f"json://user:{SECRET}@{address}/{TOKEN}")])
        await channel.send(a_message(severity))
    (posted,) = heard
    assert (posted["title"], posted["message"], posted["type"]) == ("it broke", "mend it", kind)
    assert channel.service == "JSON"


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_a_service_that_refuses_is_an_error_without_secrets(
    status: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with server(status) as (address, heard):
        (channel,) = await open_channels([settings(f"json://user:{SECRET}@{address}/{TOKEN}")])
        with pytest.raises(NotifyFailed) as caught:
            await channel.send(a_message())
    assert heard
    assert caught.value.message.startswith("oncall: JSON: ")
    shown = caught.value.message + caught.value.hint + caplog.text + "".join(capfd.readouterr())
    for secret in (SECRET, TOKEN, address):
        assert secret not in shown


async def test_nobody_there_is_an_error_without_secrets() -> None:
    with server(200) as (address, _):
        pass
    (channel,) = await open_channels([settings(f"json://user:{SECRET}@{address}/{TOKEN}")])
    with pytest.raises(NotifyFailed) as caught:
        await channel.send(a_message())
    assert "onnection" in caught.value.message
    assert TOKEN not in caught.value.message


@pytest.mark.parametrize("url", ["nonsense", f"nosuch://{SECRET}/{TOKEN}", f"slack://{TOKEN}", ""])
async def test_what_is_no_url_of_a_service_is_refused_at_the_start(
    url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "url").write_text(url)
    with pytest.raises(ConfigInvalid) as caught:
        await open_channels([NotifySettings(label="oncall", url_file=str(tmp_path / "url"))])
    assert "notify oncall: this is no URL of one service" in caught.value.message
    shown = caught.value.message + caught.value.hint + "".join(capfd.readouterr())
    assert TOKEN not in shown
    assert SECRET not in shown


async def test_a_url_may_stand_in_a_file(tmp_path: Path) -> None:
    with server(200) as (address, heard):
        (tmp_path / "url").write_text(f"json://{address}/\n")
        (channel,) = await open_channels([NotifySettings(label="oncall", url_file=str(tmp_path / "url"))])
        await channel.send(a_message())
    assert heard


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"url_file .*missing cannot be read"):
        await open_channels([NotifySettings(label="oncall", url_file=str(tmp_path / "missing"))])


async def test_no_handler_stays_behind() -> None:
    """A failed message is explained by what apprise logs; the handler that collects it is removed afterwards."""
    before = list(logging.getLogger("apprise").handlers)
    with server(500) as (address, _):
        (channel,) = await open_channels([settings(f"json://{address}/")])
        with pytest.raises(NotifyFailed):
            await channel.send(a_message())
    assert logging.getLogger("apprise").handlers == before
