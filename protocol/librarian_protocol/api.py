"""The control API: what the daemon answers on its unix socket, and what ``lbctl -o json`` prints.

Every structure is plain JSON; times are RFC 3339 UTC, sizes are integer bytes. Adding a field is compatible,
changing one is not.
"""

from __future__ import annotations

from typing import Literal

import msgspec

PREFIX = "/api/v1"
ERROR_SCHEMA = "lb.error/1"


class ErrorBody(msgspec.Struct, kw_only=True):
    """An error as JSON, on the wire and from ``lbctl -o json``."""

    code: str
    kind: str
    message: str
    hint: str = ""
    schema: str = ERROR_SCHEMA


class Problem(msgspec.Struct, kw_only=True):
    """Something an operator must know of: an open incident, or what a check found."""

    code: str
    subject: str
    message: str
    hint: str = ""
    since: str = ""
    count: int = 1
    #: Of the incident; None where it was found just now and is no incident of its own.
    id: int | None = None
    severity: str = "warning"
    #: A person has seen it: it no longer makes the site unhealthy.
    acknowledged: bool = False


class Incident(msgspec.Struct, kw_only=True):
    """Something that happened, from when it was opened to when it was over."""

    id: int
    code: str
    subject: str
    #: ``open``, ``acknowledged`` or ``resolved``.
    state: str
    severity: str
    title: str
    message: str
    hint: str
    opened_at: str
    last_at: str
    count: int
    acknowledged_at: str | None
    note: str
    resolved_at: str | None
    #: Only in the answer about a single one.
    meaning: str = ""
    steps: list[str] = []


class IncidentPage(msgspec.Struct, kw_only=True):
    """A page of incidents, newest first; ``next`` asks for the following one."""

    incidents: list[Incident]
    next: int | None


class Acknowledge(msgspec.Struct, kw_only=True):
    """A person has seen an incident."""

    note: str = ""


class BusStatus(msgspec.Struct, kw_only=True):
    """The bus."""

    mode: str
    connected: bool
    url: str
    server_version: str
    detail: str


class JournalStatus(msgspec.Struct, kw_only=True):
    """This site's own journal."""

    epoch: int
    incarnation: str
    seq: int
    hash: str
    #: Segments that the bus has not acknowledged yet.
    outbox: int


class PeerStatus(msgspec.Struct, kw_only=True):
    """Another site, as seen from here."""

    site: str
    access: str
    #: Last entry of it that is applied here.
    seq: int
    last_heard: str | None
    #: Why its journal does not advance; "" when it does.
    stalled: str
    #: Transfers from it that are not stored yet.
    owed_files: int
    owed_bytes: int
    #: Whether its stream can be read: ``up``, ``down`` or ``unknown``; since when, and why not.
    link: str = "unknown"
    link_since: str = ""
    link_detail: str = ""
    #: Age of the oldest file that is owed, seconds; 0 where nothing is.
    lag_s: float = 0.0
    #: Bytes a second from it, over the last minute.
    rate_bytes_s: int = 0
    #: How long what is owed takes at that rate; None where nothing moves.
    catch_up_s: float | None = None
    #: Up to which entry it holds this site's journal, as it last told.
    holds_ours: int = 0


class StoreStatus(msgspec.Struct, kw_only=True):
    """A store of this site."""

    id: str
    label: str
    role: str
    technology: str
    path: str
    state: str
    instances: int
    size_bytes: int
    total_bytes: int
    free_bytes: int


class WaitingItem(msgspec.Struct, kw_only=True):
    """Something in a drop directory that is not taken yet, and why."""

    name: str
    reason: str


class IntakeStatus(msgspec.Struct, kw_only=True):
    """A drop directory."""

    path: str
    unit: str
    complete: str
    #: ``watching``, ``polling`` or ``paused``.
    state: str
    detail: str
    accepted: int
    refused: int
    waiting: int
    waiting_items: list[WaitingItem]


class Counts(msgspec.Struct, kw_only=True):
    """Totals over the catalog."""

    files: int
    instances_here: int
    instances_elsewhere: int
    conflicts: int
    suspected: int
    doubted: int


class Status(msgspec.Struct, kw_only=True):
    """The answer of ``/status``."""

    site: str
    mesh: str
    software: str
    started_at: str
    healthy: bool
    problems: list[Problem]
    bus: BusStatus
    journal: JournalStatus
    peers: list[PeerStatus]
    stores: list[StoreStatus]
    intake: list[IntakeStatus]
    #: Number of transfers by state.
    transfers: dict[str, int]
    counts: Counts
    #: When transfers, outbox, instances and what is owed were counted.
    counted_at: str
    #: Where the status page is served; "" where it is not.
    page: str = ""
    schema: str = "lb.status/1"


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


class TransferPage(msgspec.Struct, kw_only=True):
    """A page of transfers, newest first; ``next`` asks for the following one."""

    transfers: list[FileTransfer]
    next: int | None


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


class Resolve(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /file/resolve``: which file of a name is to have it, by digest (a beginning will do) or holder."""

    name: str
    keep: str | None = None
    keep_from: str | None = None


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


class Subscription(msgspec.Struct, kw_only=True):
    """A subscription; ``site`` is whose it is."""

    id: str
    site: str
    from_site: str | None
    match: str
    into: list[str]
    #: Labels of the stores, where they are this site's.
    labels: list[str]


class SubscriptionAdd(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /subscriptions``; ``into`` are labels or ids of stores, empty for all ingestable ones."""

    from_site: str | None
    match: str = "**"
    into: list[str] = []
    #: Only files that are heard of from now on.
    new_only: bool = False


class TransferAdd(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /transfers``: one file, once. ``into``: a store's label or id, empty for the first ingestable."""

    name: str
    #: Where several files have the name.
    digest: str | None = None
    #: Who is asked first; anyone who holds it where None.
    from_site: str | None = None
    into: str = ""


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


class Offer(msgspec.Struct, kw_only=True):
    """What a peer may be given here; no globs were set where the list is empty. Also the body of ``POST /offers``."""

    peer: str
    access: str = ""
    globs: list[str]


class Explanation(msgspec.Struct, kw_only=True):
    """Why a file is, or is not, at a site; in plain words, with the next step."""

    name: str
    at: str
    summary: str
    lines: list[str]
    next: str


class JournalRecord(msgspec.Struct, kw_only=True):
    """A segment as text, exactly as received, and its signature."""

    payload: str
    signature: str


class JournalPage(msgspec.Struct, kw_only=True):
    """Segments, none before its predecessor; ``next`` asks for the following page."""

    records: list[JournalRecord]
    next: str | None


class JournalRecords(msgspec.Struct, kw_only=True):
    """Body of ``POST /journal``."""

    records: list[JournalRecord]


class JournalTaken(msgspec.Struct, kw_only=True):
    """What became of them: how many by verdict, and why some were not believed."""

    verdicts: dict[str, int]
    problems: list[str]


class ExportSeal(msgspec.Struct, kw_only=True):
    """Body of ``POST /journal/seal``: what the file holds."""

    segments: int
    chain: str


class ExportLine(msgspec.Struct, kw_only=True):
    """A line that the daemon makes for an exported file."""

    line: str


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


class Event(msgspec.Struct, kw_only=True):
    """One journal entry in ``/events``."""

    site: str
    epoch: int
    incarnation: str
    seq: int
    at: str
    kind: str
    #: Position for ``after``: the row of its segment in this catalog.
    position: int
    entry: msgspec.Raw


class JournalReport(msgspec.Struct, kw_only=True):
    """What re-checking one site's journal found; ``problems`` is empty where it is whole."""

    site: str
    segments: int
    entries: int
    last_seq: int
    hash: str
    problems: list[str]


class Reconciled(msgspec.Struct, kw_only=True):
    """What holding one store against the catalog found."""

    store: str
    label: str
    #: Rows and names.
    looked: int = 0
    #: Available instances that are missing or have another size, and the first of them.
    wrong: int = 0
    examples: list[str] = []
    #: False where they were too many to be believed: nothing was said of them.
    acted: bool = True
    #: What stands there and is of no file that should, and the first of it.
    unknown: int = 0
    unknown_examples: list[str] = []
    #: Staged for transfers that have ended, and removed.
    removed: int = 0
    seconds: float = 0.0
    #: Why the store could not be looked at; nothing is concluded then.
    error: str = ""


class Recovering(msgspec.Struct, kw_only=True):
    """How the recovery of a lost or restored catalog stands."""

    #: None where there is none.
    since: str | None = None
    reasons: list[str] = []
    waits_for: list[str] = []
    #: The catalog knows of no mesh: a token, or a person's word that the site is alone, is needed.
    without_mesh: bool = False


Level = Literal["debug", "info", "warning", "error"]


class LogLevel(msgspec.Struct, kw_only=True):
    """What the daemon logs: of that level or above."""

    level: Level


class Channel(msgspec.Struct, kw_only=True):
    """By what people are told of incidents. ``level`` is the least severity."""

    label: str
    #: The kind of service, never its URL.
    service: str
    level: str
    #: Whether it tells also that one is over.
    over: bool
    every_s: float
    #: Why the last message did not go out; "" where it did, or none was sent.
    problem: str = ""


class DoctorCheck(msgspec.Struct, kw_only=True):
    """One line of ``lbctl doctor``. ``level`` is ``ok``, ``warning`` or ``error``."""

    check: str
    level: str
    message: str
    hint: str = ""
