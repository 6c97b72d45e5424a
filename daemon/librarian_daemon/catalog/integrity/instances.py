"""Operations on this site's own instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from librarian_daemon.catalog import schema, statements
from librarian_daemon.catalog.apply import unanswered
from librarian_daemon.catalog.mesh import offers
from librarian_daemon.catalog.upserts import CHUNK, chunks
from librarian_daemon.ports.store_capabilities import trash_place
from librarian_protocol.digests import Digest
from librarian_protocol.entries import InstanceHealed, InstanceSuspected, Unit
from librarian_protocol.names import Name, SiteName
from librarian_protocol.wanted import InstanceState

#: Of a digest that many files have, so many are looked at.
_MOST_NAMES = 1000


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """An instance in a store of this site."""

    file_id: int
    name: Name
    digest: Digest
    size_bytes: int
    unit: Unit
    store: str
    #: ``available`` or ``suspected``.
    state: str
    #: Somebody's doubt is not answered yet.
    doubted: bool
    #: Where it stands in trash, as a path below the store; "" where it stands at its name.
    trash: str = ""

    def suspected(self, reason: str) -> InstanceSuspected:
        """The entry that says that it is not what it should be."""
        return InstanceSuspected(
            name=self.name,
            digest=self.digest,
            size_bytes=self.size_bytes,
            unit=self.unit,
            store=self.store,
            reason=reason[:1024],
        )

    def healed(self) -> InstanceHealed:
        """The entry that says that every byte is right."""
        return InstanceHealed(
            name=self.name, digest=self.digest, size_bytes=self.size_bytes, unit=self.unit, store=self.store
        )


def _select(site: SiteName) -> Any:
    file, instance, doubt = schema.file.c, schema.instance.c, schema.doubt.c
    doubted = select(doubt.file_id).where(unanswered()).correlate(schema.instance).exists()
    return (
        select(
            file.id,
            file.name,
            file.digest,
            file.size_bytes,
            file.unit,
            instance.store,
            instance.state,
            doubted.label("doubted"),
        )
        .join(schema.instance, instance.file_id == file.id)
        .where(instance.site == str(site))
    )


def _holdings(rows: Any) -> list[Holding]:
    return [
        Holding(
            file_id=row.id,
            name=Name(row.name),
            digest=Digest(row.digest),
            size_bytes=row.size_bytes,
            unit=Unit(row.unit),
            store=row.store,
            state=row.state,
            doubted=bool(row.doubted),
        )
        for row in rows
    ]


def find(connection: Connection, site: SiteName, digests: Sequence[Digest]) -> dict[Digest, Holding]:
    """A good local instance of each of these bytes: available, and no doubt about it unanswered.

    Where another file has its name by a decision, it is kept here, and served to nobody; nor is one that got its name
    back and does not stand there yet.
    """
    found: dict[Digest, Holding] = {}
    for page in chunks(digests):
        most = 4 * len(page)
        files = statements.OF_DIGESTS.rows(connection, page, most=most)
        if len(files) < most:
            found |= _given(connection, site, files)
            continue
        # Very many files have one of these digests (empty files): they must not hide those with the others.
        for digest in page:
            files = statements.OF_DIGESTS.rows(connection, [digest], most=_MOST_NAMES)
            found |= _given(connection, site, files)
    return found


def _given(connection: Connection, site: SiteName, files: Sequence[Any]) -> dict[Digest, Holding]:
    """Of these rows of ``file``, by digest, those that can be given."""
    if not files:
        return {}
    # Files are looked up first, then their instances: see of_files.
    given = statements.GIVEN.rows(connection, [row[0] for row in files], site=site)
    # What stands at its name goes before what is in trash.
    places = {id_: (store, trash, number) for id_, store, trash, number in sorted(given, key=lambda row: not row[2])}
    found: dict[Digest, Holding] = {}
    for id_, name, digest, size_bytes, unit in files:
        if id_ not in places:
            continue
        store, trash, number = places[id_]
        holding = Holding(
            file_id=id_,
            name=Name(name),
            digest=Digest(digest),
            size_bytes=size_bytes,
            unit=schema.UNITS[unit],
            store=store,
            state=InstanceState.AVAILABLE,
            doubted=False,
            trash=trash_place(trash, number) if trash else "",
        )
        found.setdefault(holding.digest, holding)
    return found


def find_for(
    connection: Connection, site: SiteName, peer: SiteName, digests: Sequence[Digest]
) -> tuple[dict[Digest, Holding], list[str]]:
    """As :func:`find`, and the globs that were set for the peer that is to get them."""
    return find(connection, site, digests), offers.of(connection, peer)


def of_name(connection: Connection, site: SiteName, name: Name) -> list[Holding]:
    """This site's instances under a name, removed ones left out."""
    ids = connection.scalars(select(schema.file.c.id).where(schema.file.c.name == str(name)).limit(CHUNK)).all()
    return [holding for holding in of_files(connection, site, ids) if holding.state != InstanceState.REMOVED]


def of_files(connection: Connection, site: SiteName, ids: Sequence[int]) -> list[Holding]:
    """The site's instances of these files, removed ones included.

    Files are looked up first, by the index that fits: joined in one statement, the database would rather walk through
    all instances of the site.
    """
    if not ids:
        return []
    instance = schema.instance.c
    rows = connection.execute(_select(site).where(instance.file_id.in_(ids)).order_by(instance.file_id, instance.store))
    return _holdings(rows)


def doubted_here(connection: Connection, site: SiteName, limit: int) -> list[Holding]:
    """Own instances with an unanswered doubt, that are still said to be available."""
    doubt = schema.doubt.c
    # The few doubts first: joined in one statement, the database would walk through all instances of the site.
    doubted = sorted(set(connection.scalars(select(doubt.file_id).where(doubt.site == str(site)))))
    found: list[Holding] = []
    for ids in chunks(doubted):
        found += [
            holding
            for holding in of_files(connection, site, ids)
            if holding.doubted and holding.state == InstanceState.AVAILABLE
        ]
        if len(found) >= limit:
            break
    return found[:limit]


def state_of(connection: Connection, site: SiteName, holding: Holding) -> Holding | None:
    """The instance as it stands now."""
    rows = connection.execute(
        _select(site).where(schema.instance.c.file_id == holding.file_id, schema.instance.c.store == holding.store)
    )
    return next(iter(_holdings(rows)), None)
