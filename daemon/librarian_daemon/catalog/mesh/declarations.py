"""What a site declares of itself when it has changed: its stores, and how others can fetch bytes from it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, func, select, update

from librarian_daemon.catalog import backfills, declared_rows, schema
from librarian_daemon.catalog.mesh.holders import holders, only_in
from librarian_daemon.catalog.stores import attached
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol import wire
from librarian_protocol.entries import SiteAnnounced, StoreDeclared, StoreRetired, StoreRole, SubscriptionDeclared
from librarian_protocol.errors import NotFound, NotPossible
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import RESERVING
from librarian_protocol.wanted import InstanceState


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """An attached store."""

    id: str
    label: str
    role: StoreRole
    ingestable: bool
    active: bool = True


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A store of this site that is not attached, and not retired."""

    id: str
    label: str
    #: Good instances that count as held there; none where the store does not count.
    instances: int


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """A store that is no more, and what counted as held there."""

    id: str
    label: str
    instances: int
    #: Of those, files with no good instance elsewhere.
    nowhere_else: int


_STORE = schema.store.c
_STORES = wire.decoder(list[str])
#: Stores that a subscription may name (docs/events.md).
MAX_INTO = 16


def declare(tx: Tx, site: SiteName, stores: Sequence[Declared], announced: SiteAnnounced) -> None:
    """Append what is new or different, and what was said before this site was admitted again. Idempotent.

    Of a store that is not attached nothing is said: what was said of it stays.
    """
    announcement = schema.announcement.c
    known_holders = holders(tx.connection)
    known = {
        row.id: row
        for row in tx.connection.execute(
            select(schema.store).where(_STORE.site == str(site), _STORE.retired.is_(False))
        ).all()
    }
    for store in stores:
        row = known.get(store.id)
        now = (store.label, store.role.value, store.active, store.ingestable)
        if (
            row is None
            or (row.label, row.role, row.active, row.ingestable) != now
            or not known_holders.store_counts(str(site), store.id)
        ):
            tx.append(_declared(store))
    _redirect(tx, site, [store.id for store in stores])
    said = tx.connection.execute(select(schema.announcement).where(announcement.site == str(site))).first()
    adapters = wire.encode(announced.adapters).decode()
    now_said = (announced.software, adapters, announced.certificate, announced.leaf_address)
    if said is None or (said.software, said.adapters, said.certificate, said.leaf_address) != now_said:
        tx.append(announced)


def _redirect(tx: Tx, site: SiteName, configured: Sequence[str]) -> None:
    """Redirect subscriptions into stores that no longer count: into the other stores that they name, or else into
    all.
    """
    counted = holders(tx.connection)
    subscription = schema.subscription.c
    mine = select(schema.subscription).where(subscription.site == str(site), subscription.withdrawn.is_(False))
    for row in tx.connection.execute(mine.order_by(subscription.id)).all():
        before = _STORES.decode(row.into)
        left = [store for store in before if counted.store_counts(str(site), store)]
        into = left or list(configured)[:MAX_INTO]
        if left == before or not into:  # with no store at all, it waits for the next one
            continue
        tx.append(
            SubscriptionDeclared(
                subscription=row.id,
                from_site=SiteName(row.from_site) if row.from_site else None,
                match=row.match,
                into=into,
                **declared_rows.limits(row),
            )
        )
        backfills.start(tx, row.id)


def attached_now(connection: Connection) -> list[Declared]:
    """What is said of the stores that are attached."""
    return [
        Declared(
            id=store.id,
            label=store.label,
            role=store.role,
            active=store.values.active,
            ingestable=store.values.ingestable,
        )
        for store in attached.attached(connection)
    ]


def _declared(store: Declared) -> StoreDeclared:
    return StoreDeclared(
        store=store.id,
        label=store.label,
        role=store.role,
        technology="posix",
        active=store.active,
        ingestable=store.ingestable,
    )


# ---- stores that are no more -------------------------------------------------------------------------------


def left_out(connection: Connection, site: SiteName, configured: Sequence[str]) -> list[LeftOut]:
    """Stores of this site that are not of the ``configured`` ids."""
    counted = holders(connection)
    rows = connection.execute(
        select(_STORE.id, _STORE.label)
        .where(_STORE.site == str(site), _STORE.retired.is_(False), _STORE.id.not_in(configured))
        .order_by(_STORE.label, _STORE.id)
    ).all()
    return [
        LeftOut(
            id=row.id,
            label=row.label,
            instances=_instances(connection, site, row.id) if counted.store_counts(str(site), row.id) else 0,
        )
        for row in rows
    ]


def _instances(connection: Connection, site: SiteName, store: str) -> int:
    instance = schema.instance.c
    mine = (instance.site == str(site), instance.store == store, instance.state == InstanceState.AVAILABLE)
    return connection.scalar(select(func.count()).where(*mine)) or 0


def is_used(connection: Connection, site: SiteName, store: str) -> bool:
    """Whether anything stands there, whatever its state, or is being brought there."""
    instance, transfer = schema.instance.c, schema.transfer.c
    mine = (instance.site == str(site), instance.store == store, instance.state != InstanceState.REMOVED)
    coming = (transfer.store == store, transfer.state.in_(sorted(state.value for state in RESERVING)))
    return any(
        connection.execute(select(table.c.store).where(*where).limit(1)).first() is not None
        for table, where in ((schema.instance, mine), (schema.transfer, coming))
    )


def retire(tx: Tx, site: SiteName, wanted: str, *, in_use: Sequence[str], lost: bool) -> Retired:
    """Say that a store is no more: nothing counts as held there. Nothing is deleted. Idempotent.

    ``wanted`` is its id or label; ``in_use`` the ids of stores that are attached and there; ``lost``: its bytes are
    gone, or given up.

    Raises:
        NotFound: this site has no such store.
        NotPossible: it is in use, several are meant, or it still holds something and is not lost.
    """
    connection = tx.connection
    rows = connection.execute(
        select(_STORE.id, _STORE.label, _STORE.retired).where(_STORE.site == str(site)).order_by(_STORE.id)
    ).all()
    meant = [row for row in rows if row.id == wanted] or [
        row for row in rows if row.label == wanted and not row.retired
    ]
    if not meant:
        known = ", ".join(f"{row.label or 'retired'} ({row.id})" for row in rows) or "none"
        raise NotFound(f"this site has no store {wanted!a}", hint=f"there are: {known}")
    free = [row for row in meant if row.id not in in_use] or meant
    if len(free) > 1:
        ids = ", ".join(row.id for row in free)
        raise NotPossible(f"{len(free)} stores are called {wanted!a}: {ids}", hint="give the id of one")
    (row,) = free
    if row.id in in_use:
        raise NotPossible(
            f"store {row.label!r} ({row.id}) is configured, and it is there",
            hint="take its [[store]] out of site.toml and restart the daemon first; one that was added by"
            " `lbctl store add` must hold nothing",
        )
    held = _instances(connection, site, row.id)
    alone = only_in(connection, site, row.id, holders(connection)) if held else 0
    if not row.retired:
        if held and not lost:
            raise NotPossible(
                f"store {row.label!r} ({row.id}) holds {held:,} good instances, as far as is known; {alone:,} of their"
                " files have none elsewhere",
                hint=f"mount it again; if its disk is lost: `lbctl store retire {row.id} --lost`",
            )
        tx.append(StoreRetired(store=row.id))
        attached.forget(tx, row.id)
        instance, file = schema.instance.c, schema.file.c
        mine = select(instance.file_id).where(instance.site == str(site), instance.store == row.id)
        # The planner looks at them again.
        connection.execute(update(schema.file).where(file.id.in_(mine)).values(change=tx.next_change()))
    return Retired(id=row.id, label=row.label, instances=held, nowhere_else=alone)
