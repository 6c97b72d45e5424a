"""Files, their instances, and what an operator says of them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from librarian_protocol.api.transfers import FileTransfer
from librarian_protocol.entries import NO_NUL


class FileSummary(msgspec.Struct, kw_only=True):
    """A file in a list."""

    name: str
    digest: str
    size_bytes: int
    unit: str
    origin: str | None
    ingested_at: str | None
    #: Good instances, by site.
    sites: list[str]
    conflict: bool


class FilePage(msgspec.Struct, kw_only=True):
    """A page of files, in the order of their names; ``next`` asks for the following one."""

    files: list[FileSummary]
    next: str | None


class Instance(msgspec.Struct, kw_only=True):
    """One instance of a file."""

    site: str
    store: str
    label: str
    #: ``verified``, ``suspected``, ``doubted`` or ``removed``.
    state: str
    how: str
    source_site: str | None
    at: str
    #: When it was last read whole, where this site knows.
    verified_at: str | None = None
    detail: str = ""


class FileDetail(msgspec.Struct, kw_only=True):
    """One digest under a name, with all that is known of it."""

    name: str
    digest: str
    size_bytes: int
    unit: str
    origin: str | None
    ingested_at: str | None
    withdrawn: bool
    instances: list[Instance]
    transfers: list[FileTransfer]
    #: Another file was decided to have its name: it is kept, and served to nobody.
    set_aside: bool = False
    #: When it was last modified, as its origin says; of a book, its newest part. None where that is not known.
    modified_at: str | None = None
    #: Of a single file, as its origin says.
    executable: bool = False


class Resolve(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /file/resolve``: which file of a name is to have it, by digest (a beginning will do) or holder."""

    name: str
    keep: str | None = None
    keep_from: str | None = None


class Withdraw(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /file/withdraw``: which file is wanted nowhere, for ever. A beginning of the digest will do."""

    name: str
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern=NO_NUL)]
    digest: str | None = None


class Heal(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /file/heal``."""

    name: str
    digest: str | None = None


class HealResult(msgspec.Struct, kw_only=True):
    """How one instance of this site stands after it was read again."""

    name: str
    digest: str
    store: str
    label: str
    #: ``right``, ``fetching`` (from another site), ``lost`` (no site has it) or ``unknown`` (it could not be read).
    state: str
    message: str


class NameDetail(msgspec.Struct, kw_only=True):
    """The answer of ``/file``: more than one file under a name is a conflict."""

    name: str
    conflict: bool
    files: list[FileDetail]


class VerifyResult(msgspec.Struct, kw_only=True):
    """What reading one local instance found."""

    name: str
    digest: str
    store: str
    label: str
    ok: bool
    size_bytes: int
    found_digest: str | None
    message: str
    #: False where nothing was read, and nothing is said of the bytes: the store is away, or does not answer.
    looked: bool = True


class VerifyEverywhere(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /file/verify/everywhere``: ask every holder of the files whose names match."""

    match: str
    #: Read every byte now; else say what was found last.
    fresh: bool = False


class InstanceVerified(msgspec.Struct, kw_only=True):
    """What its site says of one instance."""

    site: str
    store: str
    label: str
    name: str
    #: As registered.
    digest: str
    size_bytes: int
    #: ``right``, ``bad``, ``unread`` (nothing is said of the bytes), ``absent`` (not held any more) or ``waiting``.
    outcome: str
    #: As they are now, where that is known.
    found_digest: str | None = None
    found_size_bytes: int | None = None
    #: When it was read, and whether for this question.
    read_at: str | None = None
    fresh: bool = False
    message: str = ""


class EverywhereVerified(msgspec.Struct, kw_only=True):
    """How an inquiry stands."""

    inquiry: str
    instances: list[InstanceVerified]
    answered: int
    #: Sites that have not answered everything, and those of them that are away, with the reason.
    waiting: list[str]
    away: dict[str, str]
