"""Operations on own instances of files that an administrator withdrew, and on bad bytes that leave their name."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, exists, select, update

from librarian_daemon.catalog import landings, schema
from librarian_daemon.catalog.eviction_rows import is_away
from librarian_daemon.catalog.integrity.instances import Holding, of_files
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.ports.store import LEAVING, Action, Landing
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileWithdrawn, InstanceRemoved, Unit
from librarian_protocol.names import Name, SiteName
from librarian_protocol.wanted import InstanceState

REASON = "an administrator withdrew the file"


class LeavingInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An own instance whose bytes are to leave their name."""

    holding: Holding
    #: They stand aside, not at the name.
    aside: bool
    #: Another file has the name here by now: what stands there is not this one's.
    replaced: bool


def due(connection: Connection, site: SiteName, limit: int) -> list[LeavingInstance]:
    """Own instances of withdrawn files that are not removed yet."""
    file, instance = schema.file.c, schema.instance.c
    ids = connection.scalars(
        select(file.id)
        .join(schema.instance, instance.file_id == file.id)
        .where(file.withdrawn.is_(True), instance.site == str(site), instance.state != InstanceState.REMOVED)
        .order_by(file.id)
        .limit(limit)
        .distinct()
    ).all()
    held = [
        holding
        for holding in of_files(connection, site, ids)
        # What is given up is put back first.
        if holding.state != InstanceState.REMOVED and not is_away(connection, holding.file_id, holding.store)
    ]
    return [leaving(connection, site, holding) for holding in held]


def leaving(connection: Connection, site: SiteName, holding: Holding) -> LeavingInstance:
    """How it stands."""
    file, instance, aside, landing = schema.file.c, schema.instance.c, schema.aside.c, schema.landing.c
    is_aside = exists().where(aside.file_id == instance.file_id, aside.store == instance.store)
    at_the_name = (
        select(instance.file_id)
        .join(schema.file, file.id == instance.file_id)
        .where(
            file.name == str(holding.name),
            file.id != holding.file_id,
            instance.site == str(site),
            instance.store == holding.store,
            instance.state != InstanceState.REMOVED,
            ~is_aside,
        )
    )
    landing_there = select(landing.id).where(
        landing.name == str(holding.name), landing.store == holding.store, landing.digest != str(holding.digest)
    )
    aside_row = select(aside.file_id).where(aside.file_id == holding.file_id, aside.store == holding.store)
    found = [
        connection.execute(query.limit(1)).first() is not None for query in (at_the_name, landing_there, aside_row)
    ]
    return LeavingInstance(holding=holding, aside=found[2], replaced=found[0] or found[1])


def is_aside(connection: Connection, landing: Landing) -> bool:
    """Whether a landing's instance stands aside."""
    aside, file = schema.aside.c, schema.file.c
    return bool(
        connection.scalar(
            select(aside.file_id)
            .join(schema.file, file.id == aside.file_id)
            .where(file.name == str(landing.name), file.digest == str(landing.digest), aside.store == landing.store)
            .limit(1)
        )
    )


def finish(tx: Tx, landing: Landing) -> None:
    """The bytes left their name: say so where they were withdrawn, and plan every file of the name anew. Idempotent."""
    file = schema.file
    if landing.action is Action.WITHDRAW:
        landings.finish(tx, [landing], verified=False)
        ids = select(file.c.id).where(file.c.name == str(landing.name), file.c.digest == str(landing.digest))
        aside = schema.aside
        tx.connection.execute(delete(aside).where(aside.c.store == landing.store, aside.c.file_id.in_(ids)))
    else:
        landings.abandon(tx, [landing])
    tx.connection.execute(update(file).where(file.c.name == str(landing.name)).values(change=tx.next_change()))


def unfinished(connection: Connection, store: str) -> list[Landing]:
    """Landing rows of bytes that were leaving their name when the daemon ended."""
    return [landing for landing in landings.unfinished(connection, store) if landing.action in LEAVING]


def withdrawn(holding: Holding) -> InstanceRemoved:
    """What is said of an instance that left its name."""
    return InstanceRemoved(
        name=holding.name,
        digest=holding.digest,
        size_bytes=holding.size_bytes,
        unit=holding.unit,
        store=holding.store,
        reason=REASON,
    )


def withdraw(tx: Tx, name: Name, digests: Sequence[str], reason: str) -> list[FileWithdrawn]:
    """Say that these files of a name are withdrawn; those that are already are not said again."""
    file = schema.file.c
    said: list[FileWithdrawn] = []
    rows = tx.connection.execute(
        select(schema.file).where(
            file.name == str(name), file.digest.in_([str(digest) for digest in digests]), file.withdrawn.is_(False)
        )
    )
    for row in rows.all():
        said.append(
            FileWithdrawn(
                name=name, digest=Digest(row.digest), size_bytes=row.size_bytes, unit=Unit(row.unit), reason=reason
            )
        )
    if said:
        tx.append(*said)
    return said
