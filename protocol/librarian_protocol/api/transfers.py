"""Files on their way."""

from __future__ import annotations

import msgspec


class FileTransfer(msgspec.Struct, kw_only=True):
    """A transfer into a store of this site."""

    id: int
    name: str
    digest: str
    size_bytes: int
    unit: str
    store: str
    label: str
    state: str
    reason: str | None
    #: What went wrong, in words, and what to do.
    message: str
    hint: str
    source_site: str | None
    adapter: str | None
    attempts: int
    #: Seconds until the next attempt; None where none is planned or it is due.
    next_try_in_s: float | None
    created_at: str
    changed_at: str
    moved_bytes: int
    #: By which adapter it goes, or went, and why that one.
    chosen: str = ""
    #: What a wanted one waits for: a named reason, and in words. Only where one transfer or file is asked for.
    waits_for: str = ""
    #: Among what is wanted of one source: higher goes first, 0 is that of all others.
    priority: int = 0
    #: Seconds until it will have come, at the rate of its source over the last minute and with all that goes before it;
    #: None where it is not queued, nothing was measured, or too much goes before it.
    eta_s: float | None = None


class TransferPage(msgspec.Struct, kw_only=True):
    """A page of transfers, newest first; ``next`` asks for the following one."""

    transfers: list[FileTransfer]
    next: int | None


class TransferAdd(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /transfers``: one file, once. ``into``: a store's label or id, empty for the first ingestable."""

    name: str
    #: Where several files have the name.
    digest: str | None = None
    #: Who is asked first; anyone who holds it where None.
    from_site: str | None = None
    into: str = ""
    #: From -100 to 100; None: as it is, or 0.
    priority: int | None = None
