"""What tests of whole sites share."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from tests.support.postgres import Postgres, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres]:
    """One server for all tests of this process."""
    with postgres_server() as server:
        yield server
