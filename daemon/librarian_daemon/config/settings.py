"""What can be configured, with defaults. Files and environment are read by ``config/loader.py``; this module has only
the types.

Paths are absolute once loaded: relative ones were taken from the directory of ``site.toml``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from librarian_protocol import scrub
from librarian_protocol.api import Level
from librarian_protocol.entries import Label, StoreRole
from librarian_protocol.incidents import Severity
from librarian_protocol.names import SiteName
from librarian_protocol.scrub import Budget
from librarian_protocol.store_settings import USUAL_PRIORITY, USUAL_RESERVE, Priority, StoreValues
from librarian_protocol.unfinished import IGNORED

#: Seconds without change by default.
QUIET_S = {"file": 5.0, "book": 60.0}
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table: an unknown key is an error."""


class CatalogSettings(Settings, frozen=True, kw_only=True):
    """``[catalog]``."""

    #: ``sqlite:///catalog.sqlite`` (a relative path is taken from ``state``) or
    #: ``postgresql://user@host/database``.
    url: str = "sqlite:///catalog.sqlite"
    #: A file whose text is the URL's password.
    password_file: str = ""


class StoreSettings(Settings, frozen=True, kw_only=True):
    """``[[store]]``."""

    label: Label
    path: str
    role: StoreRole = StoreRole.ARCHIVE
    #: Whether intake and subscriptions may bring files here.
    ingestable: bool = True
    #: Of several stores that could take a file, the one with the lowest priority does.
    priority: Priority = USUAL_PRIORITY
    #: Free space that stays free: a size, such as "50GiB", or a share of the filesystem, such as "5%".
    reserve: str = USUAL_RESERVE
    #: Mode of files after commit, octal in quotes.
    file_mode: Annotated[str, Meta(pattern=r"^0[0-7]{3}$")] = "0444"
    #: Mode of directories that are made above names and in books, octal in quotes, such as "2750"; "": 0755, and above
    #: names no more than the umask allows.
    dir_mode: Annotated[str, Meta(pattern=r"^(?:|0[0-7]{3}|[0-7]{4})(?!\n)$")] = ""
    #: Group of files and directories; "": as the filesystem gives it.
    group: str = ""
    #: How many files at once become durable: by one ``syncfs``, by an fsync for each, or by what is quicker.
    sync: Literal["auto", "syncfs", "fsync"] = "auto"
    #: What differs from ``[scrub]`` for this store; "" and 0: as there.
    scrub_every: str = ""
    scrub_rate: str = ""
    scrub_hours: str = ""
    scrub_freeze_at: Annotated[int, Meta(ge=0)] = 0

    @property
    def values(self) -> StoreValues:
        """How the store is used, as far as a person sets nothing else while the daemon runs."""
        return StoreValues(ingestable=self.ingestable, priority=self.priority, reserve=self.reserve)


class IntakeSettings(Settings, frozen=True, kw_only=True):
    """``[[intake]]``: a drop directory."""

    path: str
    #: Label of the store that it feeds.
    store: Label
    #: Labels of further stores: each batch goes into the one of all these that is chosen as for transfers.
    others: list[Label] = []
    unit: Literal["file", "book"] = "file"
    #: Put before the path below the drop directory to make the name; "" or ``a/b``.
    prefix: str = ""
    #: Depth of a book below the drop directory (1: directly in it).
    depth: Positive = 1
    #: ``rename``: whatever is visible is complete. ``quiet``: renamed into place, or closed and unchanged for
    #: ``quiet_s``. ``marker`` (books): the file ``marker`` is in it. ``moved``: it was seen to be moved in.
    complete: Literal["rename", "quiet", "marker", "moved"] = "quiet"
    #: 5 for files and 60 for books where None: a book is silent between its members.
    quiet_s: Seconds | None = None
    marker: str = ".complete"
    #: Names that are not looked at: single files, and components above books.
    ignore: list[str] = msgspec.field(default_factory=lambda: list(IGNORED))
    #: Longest time between two full walks; events only make intake faster.
    walk_every_s: Seconds = 60.0
    #: ``auto``: inotify if the filesystem has it, otherwise polling.
    watch: Literal["auto", "inotify", "poll"] = "auto"
    poll_every_s: Seconds = 2.0
    #: Whether a name that differs from another only in letter case is accepted.
    allow_case_twins: bool = False

    def __post_init__(self) -> None:
        if self.quiet_s is None:
            msgspec.structs.force_setattr(self, "quiet_s", QUIET_S[self.unit])

    @property
    def stores(self) -> list[str]:
        """The labels of all stores that it may feed."""
        return [self.store, *self.others]

    @property
    def quiet_for_s(self) -> float:
        """Seconds without change after which something is complete."""
        assert self.quiet_s is not None
        return self.quiet_s


class DataSettings(Settings, frozen=True, kw_only=True):
    """``[data]``: the TCP side, where peers fetch bytes."""

    listen: str = "127.0.0.1:7400"
    #: ``HOST:PORT`` by which other sites reach it; the address listened on where empty.
    advertise: str = ""
    #: ``auto``: TLS unless the address that others dial is a loopback one.
    tls: Literal["auto", "on", "off"] = "auto"
    #: ``false``: nobody can dial this site; it pushes to those who can be dialled.
    dialable: bool = True
    #: Whether other sites are on this machine, so that their loopback addresses are dialled. ``auto``: as the
    #: address by which others dial this site is a loopback one; a site that nobody can dial has none.
    loopback_peers: Literal["auto", "on", "off"] = "auto"


class PageSettings(Settings, frozen=True, kw_only=True):
    """``[page]``: the status page, for browsers on this machine."""

    #: A loopback address; "" for none. Port 0 takes a free one.
    listen: str = "127.0.0.1:7480"


class MetricsSettings(Settings, frozen=True, kw_only=True):
    """``[metrics]``: the address for Prometheus, plain HTTP without accounts."""

    #: "" for none. Port 0 takes a free one. Beyond loopback, everybody who reaches it can read it.
    listen: str = "127.0.0.1:7401"


class NotifySettings(Settings, frozen=True, kw_only=True):
    """``[[notify]]``: a channel for notifications about incidents."""

    label: Label
    #: As apprise has them (``mailto://…``, ``slack://…``, ``json://…``): a secret. Or a file whose text it is.
    url: str = ""
    url_file: str = ""
    #: Lowest severity of incidents.
    level: Severity = Severity.WARNING
    #: Whether to notify also when they are over.
    over: bool = True
    #: Seconds between two messages, at least; one a minute for critical incidents.
    every_s: Seconds = 300.0


class TlsSettings(Settings, frozen=True, kw_only=True):
    """``[tls]``: an authority for the certificates of data addresses. All empty: each site's own one is pinned."""

    #: Certificates of authorities, PEM, by which sites that announce no certificate of their own are verified.
    ca_file: str = ""
    #: This site's certificate, with its chain, and its key, PEM; both or none. It is not announced.
    cert_file: str = ""
    key_file: str = ""


class BusSettings(Settings, frozen=True, kw_only=True):
    """``[bus]``: ``embedded`` runs a nats-server as a child; ``external`` uses ``url``; ``join``: a token brings it."""

    mode: Literal["embedded", "external", "join"] = "embedded"
    #: Where the embedded server listens.
    listen: str = "127.0.0.1:4222"
    #: ``HOST:PORT`` by which invited sites reach it; the address listened on where empty.
    advertise: str = ""
    #: Where other sites' servers dial in by leaf links (TLS); "" if none do. They meet at one site.
    leaf_listen: str = ""
    #: ``HOST:PORT`` by which they reach it; the address listened on where empty.
    leaf_advertise: str = ""
    #: Longest time between two messages that tell other sites which journal ends this site holds.
    heads_every_s: Seconds = 30.0
    #: ``nats://[user:password@]host:port`` of an external server. Tokens contain it unchanged.
    url: str = ""
    #: A file whose text is the password or token of the URL.
    password_file: str = ""
    #: ``http://HOST:PORT``, the external server's monitoring address: by it sync_interval is verified.
    monitor_url: Annotated[str, Meta(pattern=r"^(https?://\S+)?$")] = ""


class MeshSettings(Settings, frozen=True, kw_only=True):
    """``[mesh]``."""

    #: The public key of the administrator, whose own is kept offline; set at the first site, tokens carry it on.
    administrator: Annotated[str, Meta(pattern=r"^(ed25519:[0-9a-f]{64})?$")] = ""


class ReplicatorSettings(Settings, frozen=True, kw_only=True):
    """``[replicator]``."""

    #: Batches in flight at once, of each adapter; no source has the last one, unless it has no other.
    concurrency: Positive = 5
    batch_files: Positive = 1000
    batch_bytes: Positive = 1 << 30
    #: A batch without progress for this time is given up.
    stall_s: Seconds = 60.0
    #: Bytes a second: a batch that brings less over ``min_rate_over_s`` seconds is given up. 0: no limit.
    min_rate: Annotated[int, Meta(ge=0)] = 1024
    min_rate_over_s: Seconds = 120.0


class ReconcileSettings(Settings, frozen=True, kw_only=True):
    """``[reconcile]``: stores against the catalog."""

    #: Interval; also done at the start.
    every_s: Seconds = 86400.0
    #: Without a person at most this many instances of a store are suspected: more have another cause.
    limit: Positive = 50


class KeepSettings(Settings, frozen=True, kw_only=True):
    """``[retention.keep]``: what an eviction of this site leaves at least, in place of 2 and 2."""

    instances: Annotated[int, Meta(ge=1, le=1000)] = 2
    domains: Annotated[int, Meta(ge=1, le=1000)] = 2


class RetentionRuleSettings(Settings, frozen=True, kw_only=True):
    """``[[retention.rule]]``: what a store gives up. Whether an instance may go, the others decide."""

    #: Label of the store.
    store: Label
    match: str = "**"
    #: Since the instance was stored, such as "28d"; "": of any age.
    after: str = ""
    #: Begin once so much of the store is in use, such as "85%", and end at ``down_to``; "": however full it is.
    fuller_than: str = ""
    down_to: str = ""
    #: "archive": an instance in an archive must be left.
    needs_role: str = ""
    #: Give up instances of a store of role archive, too.
    allow_archive: bool = False


class RetentionSettings(Settings, frozen=True, kw_only=True):
    """``[retention]``: what may be given up. Without a rule nothing is, but by hand."""

    keep: KeepSettings | None = None
    #: How long what was given up stands in trash, and how long where the store is fuller than a rule allows.
    trash: str = "7d"
    trash_at_least: str = "1h"
    #: Seconds between two passes of a rule that goes by age.
    every_s: Seconds = 3600.0
    rule: list[RetentionRuleSettings] = []


class ScrubSettings(Settings, frozen=True, kw_only=True):
    """``[scrub]``: reading what is stored again (``protocol/scrub.py``)."""

    #: Within this time every byte is read.
    every: str = "30d"
    #: Bytes a second, of each store.
    rate: str = "50MiB/s"
    #: Hours of the day in which it reads, UTC, such as "20:00-06:00"; "": all.
    hours: str = ""
    #: More bad instances than this, found in a store within a pass, freeze the store.
    freeze_at: Positive = 3

    def budget(self, store: StoreSettings | None = None) -> Budget:
        """Those of one store, or of one that says nothing else.

        Raises:
            ArgumentInvalid: one is written otherwise.
        """
        of = store or StoreSettings(label="any", path="")
        return Budget(
            every_s=scrub.period_s(of.scrub_every or self.every),
            rate=scrub.rate_of(of.scrub_rate or self.rate),
            hours=scrub.hours_of(of.scrub_hours or self.hours),
            freeze_at=of.scrub_freeze_at or self.freeze_at,
        )


class AdapterLimits(Settings, frozen=True, kw_only=True):
    """``[adapters.limits.NAME]``."""

    #: Batches in flight at once; 0: as ``replicator.concurrency``.
    jobs: Annotated[int, Meta(ge=0, le=100)] = 0
    #: Files and books below that size use another adapter, if there is one.
    min_bytes: Annotated[int, Meta(ge=0)] = 0


class AdapterSettings(Settings, frozen=True, kw_only=True):
    """``[adapters]``: which ones, in order of preference, and their own settings by name."""

    order: list[str] = msgspec.field(default_factory=lambda: ["http"])
    settings: dict[str, dict[str, Any]] = {}
    limits: dict[str, AdapterLimits] = {}


class ControlSettings(Settings, frozen=True, kw_only=True):
    """``[control]``: who may read besides the daemon's user."""

    #: A group whose members may read and change nothing, by name or number; "" for none.
    readers: str = ""
    #: Their socket; if empty, ``lbd-read.sock`` beside the control socket.
    read_socket: str = ""


class LogSettings(Settings, frozen=True, kw_only=True):
    """``[log]``: ``auto`` is console on a terminal and JSON otherwise."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Level = "info"


class SiteSettings(Settings, frozen=True, kw_only=True):
    """The whole of ``site.toml``."""

    site: SiteName
    #: Failure domain that this site, as the first of a mesh, gives itself.
    domain: Label = "default"
    #: Directory of catalog, keys, bus and socket; if empty, the directory of the file.
    state: str = ""
    #: The control socket; if empty, ``lbd.sock`` in ``state``.
    socket: str = ""
    control: ControlSettings = ControlSettings()
    catalog: CatalogSettings = CatalogSettings()
    store: list[StoreSettings] = []
    intake: list[IntakeSettings] = []
    data: DataSettings = DataSettings()
    page: PageSettings = PageSettings()
    metrics: MetricsSettings = MetricsSettings()
    notify: list[NotifySettings] = []
    tls: TlsSettings = TlsSettings()
    bus: BusSettings = BusSettings()
    mesh: MeshSettings = MeshSettings()
    replicator: ReplicatorSettings = ReplicatorSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    retention: RetentionSettings = RetentionSettings()
    scrub: ScrubSettings = ScrubSettings()
    adapters: AdapterSettings = AdapterSettings()
    log: LogSettings = LogSettings()
