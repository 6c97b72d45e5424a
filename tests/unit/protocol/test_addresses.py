"""Only what cannot be another machine counts as loopback."""

from __future__ import annotations

import pytest

from librarian_protocol.addresses import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "[::]", "10.0.0.1", "localhost.example", "127.0.0.1.example", "loop"])
def test_perhaps_another(host: str) -> None:
    assert not is_loopback(host)
