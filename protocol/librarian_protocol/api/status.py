"""The state of the site."""

from __future__ import annotations

import msgspec

from librarian_protocol.api.drops import IntakeStatus
from librarian_protocol.api.incidents import Problem
from librarian_protocol.api.pauses import Pause
from librarian_protocol.api.scrub import ScrubStatus
from librarian_protocol.api.stores import StoreStatus


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
    #: Whether it is heard and its stream can be read: ``up``, ``down`` or ``unknown``; since when, and why not.
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
    #: What its recovery waits for, as it told last; empty where its catalog is whole.
    recovering: list[str] = []


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
    #: The first of them: :attr:`problems_total` says how many there are.
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
    #: All problems, listed or not; where ``problems_more`` says so there are even more.
    problems_total: int = 0
    problems_more: bool = False
    #: What a person has put off for maintenance.
    pauses: list[Pause] = []
    #: How reading the stores again stands.
    scrubs: list[ScrubStatus] = []
    schema: str = "lb.status/1"
