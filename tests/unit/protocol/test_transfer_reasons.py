"""Why a transfer waits or is parked: the most specific reason that an error has."""

from __future__ import annotations

import pytest

from librarian_protocol import errors
from librarian_protocol.transfer import Reason
from librarian_protocol.transfer_reasons import reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.StoreFull("x"), Reason.STORE_FULL),
        (errors.NoInodes("x"), Reason.NO_INODES),
        (errors.StoreFault("x"), Reason.STORE_FAULT),
        (errors.ChecksumMismatch("x"), Reason.CHECKSUM_MISMATCH),
        (errors.LibrarianError("x"), Reason.ADAPTER_FAULT),
    ],
)
def test_the_most_specific_reason_is_taken(error: errors.LibrarianError, reason: Reason) -> None:
    assert reason_of(error) is reason
