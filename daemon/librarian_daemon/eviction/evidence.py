"""The signed answers that allowed an eviction, kept as files named by their content (``state/evidence/``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from librarian_adapters.threads import in_thread
from librarian_daemon.catalog.payloads import compress
from librarian_daemon.eviction.inquiry import Heard
from librarian_daemon.fs.beneath import directory, write_file
from librarian_daemon.fs.os_errors import naming
from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.eviction.voucher import Vouch
from librarian_protocol.names import SiteName

VERSION = 1


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What allowed a batch to end. For audits; no later step relies on it instead of asking."""

    v: int = VERSION
    site: SiteName
    store: str
    nonce: str
    #: Letters of other sites, as they came: payloads are base64.
    letters: Sequence[Heard]
    #: What other stores of this site said.
    own: Sequence[Vouch]


class EvidenceKeeper(Protocol):
    """Where it is kept."""

    async def keep(self, evidence: Evidence) -> Digest:
        """Keep it durably, and return the digest that it is found by.

        Raises:
            StoreError: it cannot be written; nothing may be given up then.
        """
        ...


class EvidenceFiles:
    """Files below one directory: ``<hex of the digest>.zst``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def keep(self, evidence: Evidence) -> Digest:
        """See the port."""
        return await in_thread(self._keep, wire.encode(evidence))

    def _keep(self, text: bytes) -> Digest:
        digest = Digest.blake3(text)
        with naming("keeping evidence", str(self._path)):
            os.makedirs(self._path, 0o700, exist_ok=True)
            with directory(str(self._path)) as fd:
                write_file(fd, f"{digest.hex}.zst".encode(), compress(text), 0o600)
        return digest
