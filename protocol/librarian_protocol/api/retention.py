"""What the API says of giving up instances."""

from __future__ import annotations

import msgspec

from librarian_protocol.names import SiteName


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a plan."""

    name: str
    digest: str
    store: str
    size_bytes: int
    #: Why it is not given up (docs/errors.md); None where it would be.
    refusal: str | None
    #: In words.
    message: str = ""
    #: Sites that are said to have a good instance in a store that counts.
    holders: list[SiteName] = []


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A page of what would go, by rows alone."""

    items: list[Planned]
    #: Of this page: how much room that makes.
    files: int
    size_bytes: int
    #: Looked at on this page.
    looked: int
    #: Where the next page begins; None where there is none.
    next: str | None = None


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of this site, and how its present or last pass goes."""

    store: str
    match: str
    after_s: int | None
    #: Percent.
    fuller_than: int | None
    down_to: int | None
    needs_role: str | None
    allow_archive: bool
    looked: int
    given_up: int
    size_bytes: int
    #: How many were refused, by reason.
    refused: dict[str, int]
    #: When the last pass ended; None before the first did.
    ended_at: str | None


class Evict(msgspec.Struct, frozen=True, kw_only=True):
    """Ask to give up an instance by hand."""

    name: str
    store: str
    digest: str | None = None
    dry_run: bool = False
    allow_archive: bool = False


class Evicted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    name: str
    digest: str
    store: str
    #: ``in-trash``, ``refused``; of a dry run ``would-go``.
    outcome: str
    refusal: str | None = None
    message: str = ""
    #: Who said what, in words.
    said: list[str] = []


class Trashed(msgspec.Struct, frozen=True, kw_only=True):
    """One instance in trash."""

    name: str
    digest: str
    store: str
    size_bytes: int
    why: str
    #: When it came there (RFC 3339); "" while it is on its way.
    since: str
    #: When the others are asked for the last time, at the earliest.
    until: str


class TrashPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the trash of one store or of all."""

    items: list[Trashed]
    next: str | None = None


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """Put a file back from trash."""

    name: str
