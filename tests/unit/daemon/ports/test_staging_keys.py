"""Keys in staging: a transfer's keys are told from those of landings and batches."""

from __future__ import annotations

import pytest

from librarian_daemon.ports.staging_keys import is_transfer_key, transfer_keys


def test_a_transfer_stages_bytes_manifest_and_list() -> None:
    assert transfer_keys(7) == ("t7", "t7-manifest", "t7-attributes")
    assert all(is_transfer_key(key) for key in transfer_keys(7))


@pytest.mark.parametrize("key", ["0f" * 16, "0f" * 16 + "-manifest", "t", "t7x", "t7-other", "xt7"])
def test_other_keys_are_not_a_transfers(key: str) -> None:
    assert not is_transfer_key(key)
