"""The control API: the routes of every noun, put together."""

from __future__ import annotations

from collections.abc import Callable

from librarian_daemon.api.application import Control
from librarian_daemon.api.declared.rules import RuleControl
from librarian_daemon.api.declared.subscriptions import SubscriptionControl
from librarian_daemon.api.drops import DropControl
from librarian_daemon.api.events import EventFeed
from librarian_daemon.api.explain import ExplainControl
from librarian_daemon.api.files import FileControl, ResolveControl
from librarian_daemon.api.incidents import IncidentControl
from librarian_daemon.api.instances import KeepControl
from librarian_daemon.api.journals import JournalControl
from librarian_daemon.api.log import LogControl
from librarian_daemon.api.notify import NotifyControl
from librarian_daemon.api.pauses import PauseControl
from librarian_daemon.api.reconcile import ReconcileControl
from librarian_daemon.api.sites import SiteControl
from librarian_daemon.api.status import StatusControl
from librarian_daemon.api.stores.control import StoreChoice, StoreControl
from librarian_daemon.api.stores.retention import RetentionControl
from librarian_daemon.api.stores.scrubs import ScrubControl, VerifyControl
from librarian_daemon.api.transfer_add import AddControl
from librarian_daemon.api.transfers import TransferControl
from librarian_daemon.assembly.eviction import Eviction
from librarian_daemon.assembly.incidents import Watch
from librarian_daemon.assembly.inquiries import Inquiries
from librarian_daemon.assembly.integrity import Integrity
from librarian_daemon.assembly.journal import Journal
from librarian_daemon.assembly.mesh import Mesh
from librarian_daemon.assembly.ports import Ports
from librarian_daemon.assembly.recovery import Recovery
from librarian_daemon.assembly.status import Status
from librarian_daemon.assembly.stores import directories
from librarian_daemon.assembly.transfers import Transfers
from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.intake.intakes import Intakes
from librarian_daemon.integrity.store_marker import StoreMarker
from librarian_daemon.mesh.attachments import Attachments
from librarian_daemon.runtime.logs import LogLevel
from librarian_daemon.status.doctor import Doctor
from librarian_daemon.status.status import Views


def build_control(
    *,
    ports: Ports,
    settings: SiteSettings,
    mesh: Mesh,
    journal: Journal,
    integrity: Integrity,
    eviction: Eviction,
    inquiries: Inquiries,
    transfers: Transfers,
    recovery: Recovery,
    intakes: Intakes,
    watch: Watch,
    status: Status,
    attachments: Attachments,
    doctor: Doctor,
    log_level: LogLevel,
    bus_config: Callable[[], str],
) -> Control:
    """``bus_config`` renders the configuration of the site's own bus server; "" if it has none."""
    catalog, clock, site, views = ports.catalog, ports.clock, ports.site, status.views
    membership, adapters = mesh.membership, list(transfers.adapters)
    choice = StoreChoice(ports.stores, catalog)
    return Control(
        [
            *StatusControl(views, doctor).routes(),
            *FileControl(catalog, views, integrity.custodian, ports.stores, site).routes(),
            *ResolveControl(catalog, views, site).routes(),
            *_keeping(ports, views, integrity, adapters).routes(),
            *ExplainControl(
                catalog=catalog,
                presences=mesh.presences,
                clock=clock,
                site=site,
                adapters=adapters,
                detail=views.transfers.name,
            ).routes(),
            *SubscriptionControl(
                catalog=catalog, members=lambda: membership.members, choice=choice, rng=ports.rng, site=site
            ).routes(),
            *RuleControl(catalog, clock, site).routes(),
            *TransferControl(catalog, views, clock, transfers.changed).routes(),
            *AddControl(
                catalog=catalog,
                views=views,
                clock=clock,
                site=site,
                adapters=adapters,
                choice=choice,
                wake=transfers.changed,
            ).routes(),
            *PauseControl(transfers.pauses, clock, lambda: membership.members.keys() - {site}).routes(),
            *StoreControl(views, StoreMarker(catalog, ports.stores, site), attachments).routes(),
            *ScrubControl(views, integrity.scrubber, integrity.freezing, choice).routes(),
            *_giving_up(ports, choice, eviction).routes(),
            *VerifyControl(inquiries.asking, inquiries.answering, mesh.presences).routes(),
            *DropControl(intakes.services, directories(ports.stores)).routes(),
            *ReconcileControl(integrity.reconciler, recovery.recoverer).routes(),
            *SiteControl(
                catalog=catalog,
                membership=membership,
                inviter=mesh.inviter,
                joiner=mesh.joiner,
                roster=views.peers.sites,
                bus_config=bus_config,
            ).routes(),
            *JournalControl(catalog, journal.inbound.receiver, clock, site, ports.key).routes(),
            *EventFeed(site=site, own_key=ports.key.public, catalog=catalog, views=views).routes(),
            *IncidentControl(catalog).routes(),
            *NotifyControl(watch.notifications).routes(),
            *LogControl(log_level).routes(),
        ]
    )


def _giving_up(ports: Ports, choice: StoreChoice, eviction: Eviction) -> RetentionControl:
    return RetentionControl(
        catalog=ports.catalog,
        clock=ports.clock,
        site=ports.site,
        stores=ports.by_id,
        choice=choice,
        evictor=eviction.evictor,
        trash=eviction.trash,
        rules=eviction.retention,
    )


def _keeping(ports: Ports, views: Views, integrity: Integrity, adapters: list[str]) -> KeepControl:
    return KeepControl(
        catalog=ports.catalog,
        views=views,
        stores=ports.by_id,
        custodian=integrity.custodian,
        withdrawals=integrity.withdrawals,
        site=ports.site,
        adapters=adapters,
    )
