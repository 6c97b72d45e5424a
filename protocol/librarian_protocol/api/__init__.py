"""The control API: what the daemon answers on its unix socket, and what ``lbctl -o json`` prints.

Every structure is plain JSON; times are RFC 3339 UTC, sizes are integer bytes. Adding a field is compatible,
changing one is not.
"""

from __future__ import annotations

from librarian_protocol.api.channels import Channel
from librarian_protocol.api.doctor import DoctorCheck
from librarian_protocol.api.drops import Ignored, IntakeStatus, Refused, RefusedChoice, RefusedMoved, WaitingItem
from librarian_protocol.api.errors import ERROR_SCHEMA, ErrorBody
from librarian_protocol.api.explanations import Explanation
from librarian_protocol.api.files import (
    EverywhereVerified,
    FileDetail,
    FilePage,
    FileSummary,
    Heal,
    HealResult,
    Instance,
    InstanceVerified,
    NameDetail,
    Resolve,
    VerifyEverywhere,
    VerifyResult,
    Withdraw,
)
from librarian_protocol.api.incidents import Acknowledge, Acknowledged, AcknowledgeMany, Incident, IncidentPage, Problem
from librarian_protocol.api.journals import (
    Event,
    ExportLine,
    ExportSeal,
    JournalPage,
    JournalRecord,
    JournalRecords,
    JournalReport,
    JournalTaken,
)
from librarian_protocol.api.log import Level, LogLevel
from librarian_protocol.api.pauses import Pause, PauseSet
from librarian_protocol.api.recovery import Reconciled, Recovering
from librarian_protocol.api.retention import (
    Evict,
    Evicted,
    Plan,
    Planned,
    Restore,
    RetentionRule,
    Trashed,
    TrashPage,
)
from librarian_protocol.api.rules import HoldAdd, HoldRule, KeepAdd, KeepRule
from librarian_protocol.api.scrub import ScrubRun, ScrubStatus, StoreThaw
from librarian_protocol.api.sites import (
    Invite,
    InviteTerms,
    Join,
    JoinState,
    Offer,
    PendingJoin,
    Site,
    SiteChange,
    SiteEnd,
    SiteTip,
    Statement,
)
from librarian_protocol.api.status import BusStatus, Counts, JournalStatus, PeerStatus, Status
from librarian_protocol.api.stores import (
    StoreAdd,
    StoreMark,
    StoreMarked,
    StoreRetire,
    StoreRetired,
    StoreSet,
    StoreSetting,
    StoreShown,
    StoreStatus,
    StoreUnset,
)
from librarian_protocol.api.subscriptions import OnFull, Subscription, SubscriptionAdd
from librarian_protocol.api.transfers import FileTransfer, TransferAdd, TransferPage

PREFIX = "/api/v1"

__all__ = [
    "ERROR_SCHEMA",
    "PREFIX",
    "Acknowledge",
    "AcknowledgeMany",
    "Acknowledged",
    "BusStatus",
    "Channel",
    "Counts",
    "DoctorCheck",
    "ErrorBody",
    "Event",
    "EverywhereVerified",
    "Evict",
    "Evicted",
    "Explanation",
    "ExportLine",
    "ExportSeal",
    "FileDetail",
    "FilePage",
    "FileSummary",
    "FileTransfer",
    "Heal",
    "HealResult",
    "HoldAdd",
    "HoldRule",
    "Ignored",
    "Incident",
    "IncidentPage",
    "Instance",
    "InstanceVerified",
    "IntakeStatus",
    "Invite",
    "InviteTerms",
    "Join",
    "JoinState",
    "JournalPage",
    "JournalRecord",
    "JournalRecords",
    "JournalReport",
    "JournalStatus",
    "JournalTaken",
    "KeepAdd",
    "KeepRule",
    "Level",
    "LogLevel",
    "NameDetail",
    "Offer",
    "OnFull",
    "Pause",
    "PauseSet",
    "PeerStatus",
    "PendingJoin",
    "Plan",
    "Planned",
    "Problem",
    "Reconciled",
    "Recovering",
    "Refused",
    "RefusedChoice",
    "RefusedMoved",
    "Resolve",
    "Restore",
    "RetentionRule",
    "ScrubRun",
    "ScrubStatus",
    "Site",
    "SiteChange",
    "SiteEnd",
    "SiteTip",
    "Statement",
    "Status",
    "StoreAdd",
    "StoreMark",
    "StoreMarked",
    "StoreRetire",
    "StoreRetired",
    "StoreSet",
    "StoreSetting",
    "StoreShown",
    "StoreStatus",
    "StoreThaw",
    "StoreUnset",
    "Subscription",
    "SubscriptionAdd",
    "TransferAdd",
    "TransferPage",
    "TrashPage",
    "Trashed",
    "VerifyEverywhere",
    "VerifyResult",
    "WaitingItem",
    "Withdraw",
]
