"""The facts about files that the machine of evictions decides on, of one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, select

from librarian_daemon.catalog import eviction_rows as rows
from librarian_daemon.catalog import rule_rows, schema, statements
from librarian_daemon.catalog.eviction_rows import Giving, row_of
from librarian_daemon.catalog.integrity import scrubbing
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.journal import quarantine
from librarian_daemon.catalog.mesh.holders import holders
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_daemon.catalog.mesh.unknown_rules import unknown_kinds
from librarian_daemon.catalog.upserts import chunks
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Access, StoreRole, Unit
from librarian_protocol.eviction.count import Known, Place
from librarian_protocol.eviction.row import Row
from librarian_protocol.eviction.voucher import Here
from librarian_protocol.names import Name, SiteName
from librarian_protocol.requirement import Requirement, carried, is_held, required
from librarian_protocol.rules import Hold, Keep
from librarian_protocol.wanted import InstanceState


class InstanceFacts(msgspec.Struct, frozen=True):
    """One instance of a file, as its owner says."""

    site: SiteName
    store: str
    state: InstanceState
    doubted: bool


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one file."""

    file_id: int
    name: Name
    digest: Digest
    size_bytes: int
    unit: Unit
    withdrawn: bool
    #: Other bytes stand under its name, or another file was decided to have it.
    conflict: bool
    instances: Sequence[InstanceFacts]
    #: Rows of own instances, by store.
    giving: Mapping[str, Giving]

    def instance(self, site: SiteName, store: str) -> InstanceFacts | None:
        """One of its instances."""
        return next((one for one in self.instances if (one.site, one.store) == (site, store)), None)

    def holding(self, own: InstanceFacts) -> Holding:
        """An own instance, as those who say something of it have it."""
        return Holding(
            file_id=self.file_id,
            name=self.name,
            digest=self.digest,
            size_bytes=self.size_bytes,
            unit=self.unit,
            store=own.store,
            state=own.state,
            doubted=own.doubted,
        )

    def row(self, site: SiteName, store: str) -> Row | None:
        """The machine's row of an own instance; None where there is none."""
        instance = self.instance(site, store)
        return row_of(None if instance is None else instance.state.value, self.giving.get(store))


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """This site and the mesh, as far as evictions go."""

    site: SiteName
    access: Access
    quarantine: bool
    unknown_rules: bool
    keeps: Sequence[Keep]
    holds: Sequence[Hold]
    #: The site's own ``[retention] keep``; None where its file says nothing.
    own: Requirement | None
    #: Own stores in which too much was found bad.
    frozen: frozenset[str]
    #: Stores of all sites; ``suspected`` is of each file.
    stores: Mapping[Place, Known]

    def here(self, store: str, file: FileFacts, now_s: float, *, allow_archive: bool = False) -> Here:
        """The machine's view of one own instance. ``now_s``: seconds since 1970."""
        known = self.stores.get((self.site, store))
        instance = file.instance(self.site, store)
        return Here(
            site=self.site,
            store=store,
            role=StoreRole.PROCESSING if known is None else known.role,
            access=self.access,
            active=known is not None and known.active,
            frozen=store in self.frozen,
            quarantine=self.quarantine,
            unknown_rules=self.unknown_rules,
            held=is_held(file.name, self.holds, now_s),
            conflict=file.conflict,
            withdrawn=file.withdrawn,
            doubted=instance is not None and instance.doubted,
            allow_archive=allow_archive,
        )

    def required(self, name: Name) -> Requirement:
        """What must be left of a file, as this site knows."""
        return required(name, self.keeps, self.own)

    def carried(self, name: Name) -> Requirement:
        """What a voucher of this site demands."""
        return carried(name, self.keeps, self.own)

    def known_of(self, file: FileFacts) -> dict[Place, Known]:
        """The stores that have an instance of the file, with what is said of it."""
        found: dict[Place, Known] = {}
        for one in file.instances:
            known = self.stores.get((one.site, one.store))
            if known is not None and one.state is not InstanceState.REMOVED:
                bad = one.state is InstanceState.SUSPECTED or one.doubted
                found[one.site, one.store] = msgspec.structs.replace(known, suspected=True) if bad else known
        return found


def surroundings(connection: Connection, site: SiteName, own: Requirement | None) -> Surroundings:
    """As they are now."""
    members = known_members(connection)
    counting = holders(connection)
    mine = members.get(site)
    store = schema.store.c
    stores: dict[Place, Known] = {}
    for row in connection.execute(select(store.site, store.id, store.role, store.active, store.retired)):
        member = members.get(SiteName(row.site))
        if member is None and row.site != site:
            continue
        stores[SiteName(row.site), row.id] = Known(
            domain=site if member is None else member.domain,
            role=StoreRole(row.role),
            access=Access.FULL if member is None else Access(member.access),
            revoked=member is not None and member.revoked,
            active=bool(row.active) and not row.retired and counting.counts(row.site, row.id),
        )
    return Surroundings(
        site=site,
        access=Access.FULL if mine is None else Access(mine.access),
        quarantine=not quarantine.may_vouch(connection),
        unknown_rules=bool(unknown_kinds(connection)),
        keeps=rule_rows.keeps(connection),
        holds=rule_rows.holds(connection),
        own=own,
        frozen=frozenset(scrubbing.frozen(connection)),
        stores=stores,
    )


def files(connection: Connection, ids: Sequence[int]) -> list[FileFacts]:
    """What is known of these files, in their order; those that are unknown are left out."""
    found: dict[int, FileFacts] = {}
    for some in chunks(ids):
        found |= _files(connection, some)
    return [found[id_] for id_ in ids if id_ in found]


def of_name(connection: Connection, name: Name) -> list[FileFacts]:
    """What is known of the files of a name."""
    return files(connection, list(connection.scalars(select(schema.file.c.id).where(schema.file.c.name == str(name)))))


def by_name(connection: Connection, wanted: Sequence[tuple[Name, Digest]]) -> dict[tuple[Name, Digest], FileFacts]:
    """What is known of these files."""
    file = schema.file.c
    ids: list[int] = []
    asked = {(str(name), str(digest)) for name, digest in wanted}
    for some in chunks(sorted({name for name, _ in asked})):
        for row in connection.execute(select(file.id, file.name, file.digest).where(file.name.in_(some))):
            if (row.name, row.digest) in asked:
                ids.append(row.id)
    return {(one.name, one.digest): one for one in files(connection, ids)}


def load(
    connection: Connection, site: SiteName, own: Requirement | None, wanted: Sequence[tuple[Name, Digest]]
) -> tuple[Surroundings, dict[tuple[Name, Digest], FileFacts]]:
    """This site, and these files, of one moment."""
    return surroundings(connection, site, own), by_name(connection, wanted)


def sizes(connection: Connection, wanted: Sequence[tuple[Name, Digest]]) -> list[int]:
    """Bytes of these files, in order; 0 of those that are unknown."""
    known = by_name(connection, wanted)
    return [known[file].size_bytes if file in known else 0 for file in wanted]


def _files(connection: Connection, ids: Sequence[int]) -> dict[int, FileFacts]:
    file, conflict, naming, aside = schema.file.c, schema.conflict.c, schema.naming.c, schema.aside.c
    known = connection.execute(select(schema.file).where(file.id.in_(ids))).all()
    names = [row.name for row in known]
    conflicts = set(connection.scalars(select(conflict.name).where(conflict.name.in_(names))))
    kept = {row.name: row.kept for row in connection.execute(select(schema.naming).where(naming.name.in_(names)))}
    set_aside = set(connection.scalars(select(aside.file_id).where(aside.file_id.in_(ids))))
    instances: dict[int, list[InstanceFacts]] = {}
    for id_, _, site, store, state, doubted in statements.HOLDINGS.rows(connection, list(ids)):
        if site is not None:
            instances.setdefault(id_, []).append(
                InstanceFacts(SiteName(site), store, InstanceState(state), bool(doubted))
            )
    giving: dict[int, dict[str, Giving]] = {}
    for (id_, store), one in rows.of_files(connection, ids).items():
        giving.setdefault(id_, {})[store] = one
    return {
        row.id: FileFacts(
            file_id=row.id,
            name=Name(row.name),
            digest=Digest(row.digest),
            size_bytes=row.size_bytes,
            unit=Unit(row.unit),
            withdrawn=bool(row.withdrawn),
            conflict=row.name in conflicts or kept.get(row.name, row.digest) != row.digest or row.id in set_aside,
            instances=instances.get(row.id, []),
            giving=giving.get(row.id, {}),
        )
        for row in known
    }
