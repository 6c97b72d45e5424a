"""From errors to the closed list of reasons that a transfer waits or is parked for."""

from __future__ import annotations

from librarian_protocol import errors
from librarian_protocol.transfer import Reason

_REASONS: dict[type[errors.LibrarianError], Reason] = {
    errors.ChecksumMismatch: Reason.CHECKSUM_MISMATCH,
    errors.SizeMismatch: Reason.SIZE_MISMATCH,
    errors.ManifestInvalid: Reason.MANIFEST_INVALID,
    errors.SourceMissing: Reason.SOURCE_MISSING,
    errors.SourceUnreachable: Reason.SOURCE_UNREACHABLE,
    errors.TransferTimeout: Reason.TIMEOUT,
    errors.TransferSlow: Reason.TOO_SLOW,
    errors.SourceRefused: Reason.SOURCE_REFUSED,
    errors.SourceInvalid: Reason.SOURCE_INVALID,
    errors.NotOffered: Reason.NOT_OFFERED,
    errors.SourceIdentity: Reason.SOURCE_IDENTITY,
    errors.AdapterCredentials: Reason.ADAPTER_CREDENTIALS,
    errors.StoreFull: Reason.STORE_FULL,
    errors.NoInodes: Reason.NO_INODES,
    errors.StoreNotMounted: Reason.STORE_NOT_MOUNTED,
    errors.NameOccupied: Reason.NAME_OCCUPIED,
    errors.CaseTwin: Reason.CASE_TWIN,
    errors.StoreError: Reason.STORE_FAULT,
}


def reason_of(error: errors.LibrarianError) -> Reason:
    """The most specific reason; ``adapter-fault`` for what no rule names."""
    for kind in type(error).__mro__:
        reason = _REASONS.get(kind)
        if reason is not None:
            return reason
    return Reason.ADAPTER_FAULT
