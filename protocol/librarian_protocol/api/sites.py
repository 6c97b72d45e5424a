"""The roster, inviting and joining."""

from __future__ import annotations

import msgspec


class Site(msgspec.Struct, kw_only=True):
    """A site of the roster."""

    site: str
    here: bool
    key: str
    fingerprint: str
    access: str
    domain: str
    admitted_by: str | None
    software: str
    adapters: list[str]
    last_heard: str | None
    grants: list[str] = []
    may_admit: bool = False
    #: Why it was revoked; None for a site that was not.
    revoked: str | None = None
    #: ``INCARNATION:SEQ`` of the last entries that are believed under keys that ended.
    tips: list[str] = []
    #: Segments and entries of it that are held here and do not count, since their key ended before.
    segments_beyond: int = 0
    entries_beyond: int = 0


class SiteTip(msgspec.Struct, kw_only=True):
    """An end of a site's journal that counts here: its last entry, and the hash of the segment."""

    incarnation: str
    seq: int
    hash: str


class Invite(msgspec.Struct, kw_only=True):
    """The answer of ``POST /invite``."""

    token: str
    expires_at: str
    inviter: str
    fingerprint: str


class InviteTerms(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /invite``: what the newcomer will be."""

    expires_s: int = 86400
    access: str = "full"
    domain: str = ""
    grants: list[str] = msgspec.field(default_factory=lambda: ["**"])
    may_admit: bool = False
    confirm: bool = False


class PendingJoin(msgspec.Struct, kw_only=True):
    """A newcomer that waits for a person."""

    site: str
    key: str
    fingerprint: str


class SiteChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /site``: what is to be said of a site; what is None stays."""

    site: str
    access: str | None = None
    domain: str | None = None
    grants: list[str] | None = None
    may_admit: bool | None = None


class SiteEnd(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /site/revoke`` and ``/site/readmit``."""

    site: str
    reason: str = ""
    #: Another key, for a site that lost its own.
    key: str | None = None
    #: ``INCARNATION:SEQ``: the last entry that is believed.
    cutoff: str | None = None
    #: The same, of a journal with several ends.
    cutoffs: list[str] = []


class Offer(msgspec.Struct, kw_only=True):
    """What a peer may be given here; no globs were set where the list is empty. Also the body of ``POST /offers``."""

    peer: str
    access: str = ""
    globs: list[str]


class Statement(msgspec.Struct, kw_only=True):
    """Body of ``POST /statement``: an entry that the administrator signed, and its kind."""

    kind: str
    entry: msgspec.Raw


class Join(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /join``."""

    token: str


class JoinState(msgspec.Struct, kw_only=True):
    """How a join stands: ``joined``, ``asking`` or ``refused``."""

    state: str
    inviter: str
    fingerprint: str
    detail: str
    #: This site's own, for the inviter's people to compare.
    own_fingerprint: str = ""
