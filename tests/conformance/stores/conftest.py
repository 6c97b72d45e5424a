"""Every kind of store under one suite: ``store`` is one of each kind, ``outside`` works on it past the store.

What only some can is tested on ``keeping`` and ``listing`` of those that say that they can it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.support.store_kinds import KINDS, Kind, Outside

from librarian_daemon.ports.store import SiteStore
from librarian_daemon.ports.store_capabilities import Keeping, Listing


@pytest.fixture(params=sorted(KINDS))
async def kind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Kind]:
    made = KINDS[request.param](tmp_path / "store")
    await made.store.open()
    yield made
    made.store.close()


@pytest.fixture
def store(kind: Kind) -> SiteStore:
    return kind.store


@pytest.fixture
def outside(kind: Kind) -> Outside:
    return kind.outside


@pytest.fixture
def keeping(kind: Kind) -> Keeping:
    if kind.store.can.keeping is None:
        pytest.skip("it cannot set bytes aside")
    return kind.store.can.keeping


@pytest.fixture
def listing(kind: Kind) -> Listing:
    if kind.store.can.listing is None:
        pytest.skip("it cannot list what stands in it")
    return kind.store.can.listing
