"""Operations of comparing a store with the catalog."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, func, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.eviction_rows import away_in
from librarian_daemon.catalog.integrity import instances
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import chunks
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested, InstanceRegistered, Unit
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import State
from librarian_protocol.wanted import InstanceState


class KnownFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the catalog knows under a name."""

    digest: Digest
    size_bytes: int
    unit: Unit
    #: The store of this site that is said to hold it, removed and suspected instances included; None where none is.
    here: str | None


class Instances(msgspec.Struct, frozen=True):
    """A page of instances, and behind which file the next begins; 0 where there are no more."""

    holdings: list[Holding]
    last: int


def instances_after(connection: Connection, site: SiteName, store: str, file_id: int, limit: int) -> Instances:
    """Instances in a store of this site that stand at their names, or should, in the order of their files."""
    instance = schema.instance.c
    ids = connection.scalars(
        select(instance.file_id)
        .where(
            instance.site == str(site),
            instance.store == store,
            instance.state != InstanceState.REMOVED,
            instance.file_id > file_id,
        )
        .order_by(instance.file_id)
        .limit(limit)
    ).all()
    aside = set(connection.scalars(select(schema.aside.c.file_id).where(schema.aside.c.store == store)))
    aside |= away_in(connection, store, ids)
    found = [
        holding
        for holding in instances.of_files(connection, site, ids)
        if holding.store == store and holding.state != InstanceState.REMOVED and holding.file_id not in aside
    ]
    return Instances(found, ids[-1] if ids else 0)


def suspected(connection: Connection, site: SiteName, store: str, limit: int) -> int:
    """How many instances of a store of this site are suspected; not counted beyond ``limit``."""
    instance = schema.instance.c
    found = (
        select(instance.file_id)
        .where(instance.site == str(site), instance.store == store, instance.state == InstanceState.SUSPECTED)
        .limit(limit)
    )
    return connection.scalar(select(func.count()).select_from(found.subquery())) or 0


def is_above(connection: Connection, name: str) -> bool:
    """Whether a known file's name lies below this one, as below a directory."""
    file = schema.file.c
    statement = select(file.id).where(file.name > f"{name}/", file.name < f"{name}0").limit(1)
    return connection.scalar(statement) is not None


def state(connection: Connection, site: SiteName, store: str, file_id: int) -> str | None:
    """What is said of an instance now."""
    instance = schema.instance.c
    return connection.scalar(
        select(instance.state).where(instance.file_id == file_id, instance.site == str(site), instance.store == store)
    )


def known(connection: Connection, site: SiteName, names: Sequence[str]) -> dict[str, list[KnownFile]]:
    """Files under these names, by name. A name that is just being landed counts as known: its row comes."""
    file, instance, landing = schema.file.c, schema.instance.c, schema.landing.c
    found: dict[str, list[KnownFile]] = {}
    for page in chunks(names):
        rows = connection.execute(
            select(file.name, file.digest, file.size_bytes, file.unit, instance.store, instance.state)
            .outerjoin(schema.instance, (instance.file_id == file.id) & (instance.site == str(site)))
            .where(file.name.in_(page))
        )
        for row in rows:
            found.setdefault(row.name, []).append(
                KnownFile(
                    digest=Digest(row.digest),
                    size_bytes=row.size_bytes,
                    unit=Unit(row.unit),
                    here=row.store if row.state in {InstanceState.AVAILABLE, InstanceState.SUSPECTED} else None,
                )
            )
        for row in connection.execute(select(schema.landing).where(landing.name.in_(page))):
            found.setdefault(row.name, []).append(
                KnownFile(digest=Digest(row.digest), size_bytes=row.size_bytes, unit=Unit(row.unit), here=row.store)
            )
    return found


def is_unclaimed(connection: Connection, site: SiteName, store: str, name: str) -> bool:
    """Whether nothing says that something of this name stands in the store, or is on its way to it.

    The single files of a batch may stand at their names before a row says so (ADR 0037).
    """
    if any(file.here == store for file in known(connection, site, [name]).get(name, [])):
        return False
    transfer, file = schema.transfer.c, schema.file.c
    arriving = (
        select(transfer.id)
        .join(schema.file, file.id == transfer.file_id)
        .where(file.name == name, transfer.store == store, transfer.state == State.FETCHING.value)
    )
    return connection.execute(arriving.limit(1)).first() is None


def state_found(tx: Tx, site: SiteName, entry: InstanceRegistered | FileIngested) -> bool:
    """Say that a file was found, unless an instance at its name in that store is known by now."""
    files = known(tx.connection, site, [str(entry.name)]).get(str(entry.name), [])
    if any(file.here == entry.store for file in files):
        return False
    tx.append(entry)
    return True
