"""Hosts with ports, as they stand in the configuration and on the command line."""

from __future__ import annotations

import pytest

from librarian_protocol import host_port


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:7400", "127.0.0.1", 7400),
        ("[::1]:7400", "::1", 7400),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("summit.example:0", "summit.example", 0),
    ],
)
def test_what_was_taken_apart_is_put_together_again(text: str, host: str, port: int) -> None:
    assert host_port.parse(text) == (host, port)
    assert host_port.joined(host, port) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "summit",
        "summit:",
        ":7400",
        "::1:7400",
        "[::1]",
        "[summit]:7400",
        "a b:1",
        "u@h:1",
        "h/x:1",
        "h:65536",
        "h:1\n",
        "h:１",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not of the form HOST:PORT"):
        host_port.parse(text)


def test_port_0_is_one_where_it_is_listened_on_alone() -> None:
    assert host_port.parse("localhost:0") == ("localhost", 0)
    with pytest.raises(ValueError, match="not of the form HOST:PORT"):
        host_port.parse("localhost:0", least_port=1)
