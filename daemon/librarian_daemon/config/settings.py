"""What can be configured, with defaults. Files and environment are read by ``config.py``; here are only shapes.

Paths are absolute once loaded: relative ones were taken from the directory of ``site.toml``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from librarian_protocol.api import Level
from librarian_protocol.entries import Label, StoreRole
from librarian_protocol.incidents import Severity
from librarian_protocol.names import SiteName

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
    #: Mode of files after commit, octal in quotes.
    file_mode: Annotated[str, Meta(pattern=r"^0[0-7]{3}$")] = "0444"


class IntakeSettings(Settings, frozen=True, kw_only=True):
    """``[[intake]]``: a drop directory."""

    path: str
    #: Label of the store that it feeds.
    store: Label
    unit: Literal["file", "book"] = "file"
    #: Put before the path below the drop directory to make the name; "" or ``a/b``.
    prefix: str = ""
    #: How many directories below the drop directory a book stands (1: directly in it).
    depth: Positive = 1
    #: ``rename``: whatever is visible is complete. ``quiet``: renamed into place, or closed and unchanged for
    #: ``quiet_s``. ``marker`` (books): the file ``marker`` stands in it.
    complete: Literal["rename", "quiet", "marker"] = "quiet"
    quiet_s: Seconds = 5.0
    marker: str = ".complete"
    #: Names that are not looked at: single files, and components above books.
    ignore: list[str] = msgspec.field(default_factory=lambda: [".*", "*.part", "*.tmp"])
    #: A full walk at least so often; events only make it faster.
    walk_every_s: Seconds = 60.0
    #: ``auto``: inotify where the filesystem has it, else polling.
    watch: Literal["auto", "inotify", "poll"] = "auto"
    poll_every_s: Seconds = 2.0
    #: Whether a name that differs from another only in letter case is taken.
    allow_case_twins: bool = False


class DataSettings(Settings, frozen=True, kw_only=True):
    """``[data]``: the TCP side, where peers fetch bytes and Prometheus its figures."""

    listen: str = "127.0.0.1:7400"
    #: ``HOST:PORT`` by which other sites reach it; the address listened on where empty.
    advertise: str = ""
    #: ``auto``: TLS unless the address that others dial is a loopback one.
    tls: Literal["auto", "on", "off"] = "auto"
    #: ``false``: nobody can dial this site; it pushes to those who can be dialled.
    dialable: bool = True


class PageSettings(Settings, frozen=True, kw_only=True):
    """``[page]``: the status page, for browsers on this machine."""

    #: A loopback address; "" where there is to be none. Port 0 takes a free one.
    listen: str = "127.0.0.1:7480"


class NotifySettings(Settings, frozen=True, kw_only=True):
    """``[[notify]]``: whom to tell of incidents, and how."""

    label: Label
    #: As apprise has them (``mailto://…``, ``slack://…``, ``json://…``): a secret. Or a file whose text it is.
    url: str = ""
    url_file: str = ""
    #: Incidents that are as severe, or more.
    level: Severity = Severity.WARNING
    #: Whether to tell also when they are over.
    over: bool = True
    #: At most one message in so many seconds; of critical incidents one a minute.
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
    #: Where other sites' servers dial in by leaf links (TLS); "" where none do. They meet at one site.
    leaf_listen: str = ""
    #: ``HOST:PORT`` by which they reach it; the address listened on where empty.
    leaf_advertise: str = ""
    #: Every site tells the others which journal ends it holds, at least so often.
    heads_every_s: Seconds = 30.0
    #: ``nats://[user:password@]host:port`` of an external server. Tokens carry it as it stands here.
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

    #: Batches in flight at once.
    concurrency: Positive = 4
    batch_files: Positive = 1000
    batch_bytes: Positive = 1 << 30
    #: A batch in which nothing moves for so long is given up.
    stall_s: Seconds = 60.0


class ReconcileSettings(Settings, frozen=True, kw_only=True):
    """``[reconcile]``: stores against the catalog."""

    #: At the start, and then every so often.
    every_s: Seconds = 86400.0
    #: More instances of a store than this are not suspected without a person: the cause is hardly the files.
    limit: Positive = 50


class AdapterLimits(Settings, frozen=True, kw_only=True):
    """``[adapters.limits.NAME]``."""

    #: Batches in flight at once; 0: as ``replicator.concurrency``.
    jobs: Annotated[int, Meta(ge=0, le=100)] = 0
    #: Files and books below that size go by another adapter, where there is one.
    min_bytes: Annotated[int, Meta(ge=0)] = 0


class AdapterSettings(Settings, frozen=True, kw_only=True):
    """``[adapters]``: which ones, in order of preference, and their own settings by name."""

    order: list[str] = msgspec.field(default_factory=lambda: ["http"])
    settings: dict[str, dict[str, Any]] = {}
    limits: dict[str, AdapterLimits] = {}


class LogSettings(Settings, frozen=True, kw_only=True):
    """``[log]``: ``auto`` is console on a terminal and JSON otherwise."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Level = "info"


class SiteSettings(Settings, frozen=True, kw_only=True):
    """The whole of ``site.toml``."""

    site: SiteName
    #: Failure domain that this site, as the first of a mesh, gives itself.
    domain: Label = "default"
    #: Catalog, keys, bus and socket stand here; the directory of the file where empty.
    state: str = ""
    #: The control socket; ``lbd.sock`` in ``state`` where empty.
    socket: str = ""
    catalog: CatalogSettings = CatalogSettings()
    store: list[StoreSettings] = []
    intake: list[IntakeSettings] = []
    data: DataSettings = DataSettings()
    page: PageSettings = PageSettings()
    notify: list[NotifySettings] = []
    tls: TlsSettings = TlsSettings()
    bus: BusSettings = BusSettings()
    mesh: MeshSettings = MeshSettings()
    replicator: ReplicatorSettings = ReplicatorSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    adapters: AdapterSettings = AdapterSettings()
    log: LogSettings = LogSettings()
