"""Every kind of store under one suite."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.support.stores import MAKERS

from librarian_daemon.ports import Store
from librarian_daemon.store.posix import PosixStore


@pytest.fixture(params=sorted(MAKERS))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    made = MAKERS[request.param](tmp_path / "store")
    await made.open()
    yield made
    if isinstance(made, PosixStore):
        made.close()
