"""The client's public types, held fast: mypy and pyright check the assertions, pytest checks that they import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import assert_type

from librarian_client import Client
from librarian_protocol import api


def uses(client: Client) -> None:
    """Never called: what it says is checked by the type checkers."""
    assert_type(client.status(), api.Status)
    assert_type(client.file("a/b"), api.NameDetail)
    assert_type(client.verify("a/b"), list[api.VerifyResult])
    assert_type(client.stores(), list[api.StoreStatus])
    assert_type(client.sites(), list[api.Site])
    assert_type(client.subscriptions(), list[api.Subscription])
    assert_type(client.doctor(), list[api.DoctorCheck])
    assert_type(client.transfer(1), api.FileTransfer)
    events: Iterator[api.Event] = client.events()
    del events


def test_the_client_is_typed() -> None:
    """The module imports, and the function above exists for the checkers."""
    checked: Callable[[Client], None] = uses
    assert callable(checked)
