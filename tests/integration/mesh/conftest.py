"""What tests of whole meshes share: they need network namespaces."""

from __future__ import annotations

import pytest
from tests.support.network import not_permitted
from tests.support.programs import needs


@pytest.fixture(autouse=True)
def hosts() -> None:
    """Skip where hosts cannot be made, and say why."""
    needs("ip")
    why = not_permitted()
    if why:
        pytest.skip(f"network namespaces cannot be made here: {why}")
