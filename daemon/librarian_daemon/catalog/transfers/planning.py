"""Operations of the planner: which files changed, what is known of them, which transfers follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    bindparam,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy import Row as SqlRow

from librarian_daemon.catalog import schema, statements
from librarian_daemon.catalog.mesh.holders import Holders, holders
from librarian_daemon.catalog.mesh.roster import roster
from librarian_daemon.catalog.meta import get_meta, put_meta
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers.transfers import Row, row_of
from librarian_daemon.catalog.upserts import chunks, expanding, upsert
from librarian_protocol import globs, wire
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Dial, Unit
from librarian_protocol.names import Name, SiteName
from librarian_protocol.transfer import LIVE
from librarian_protocol.wanted import (
    ONE_OFF,
    FileFacts,
    Here,
    InstanceFacts,
    InstanceState,
    Source,
    SubscriptionFacts,
    UnwantedReason,
    local_sources,
    sources,
)

_STORES = wire.decoder(list[str])


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """All that the decision about one file needs."""

    file_id: int
    change: int
    file: FileFacts
    instances: Sequence[InstanceFacts]
    #: Transfers of the file into stores of this site, by store.
    transfers: dict[str, Row]
    #: What a person wants of it, as subscriptions to this one name.
    one_offs: Sequence[SubscriptionFacts] = ()


class Held:
    """Where files were ingested, and their instances, as many files have them. Equal only to itself."""

    def __init__(self, origin: str | None, instances: tuple[InstanceFacts, ...]) -> None:
        self.origin = SiteName(origin) if origin else None
        self.instances = instances


class PlainFile(NamedTuple):
    """A file of which nothing is here, and nothing peculiar is known: only its name, its size and this decide."""

    file_id: int
    change: int
    name: Name
    size_bytes: int
    ingested_at: str
    held: Held


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of files that were looked at, and those of them that a decision is needed for."""

    plain: list[PlainFile]
    known: list[FileState]
    #: Change number and row of the last file looked at; None where there was none.
    last: tuple[int, int] | None
    #: There may be more behind it.
    full: bool


SURROUNDINGS = "surroundings"


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """All that a turn of the planner begins with, of one moment."""

    subscriptions: list[SubscriptionFacts]
    here: Here
    #: What sites, offers and stores were when all files were last tried: a hash that the planner keeps.
    surroundings: str | None
    #: Whether files changed behind the planner's cursor.
    changed: bool
    #: Subscriptions that still page through the catalog, and behind which file they are.
    backfills: list[tuple[str, int]]


def look(connection: Connection, site: SiteName, adapters: Sequence[str]) -> Look:
    """What there is to plan."""
    mine, here = load_here(connection, site, adapters)
    change, file_id = _cursor(connection)
    last, _ = _end(connection, _CHANGED, 1, change=change, file_id=file_id)
    return Look(
        subscriptions=mine,
        here=here,
        surroundings=get_meta(connection, SURROUNDINGS),
        changed=last is not None,
        backfills=backfills(connection),
    )


def settling(subscriptions: Sequence[SubscriptionFacts]) -> list[str]:
    """The stores into which each of the subscriptions brings its files: where a file stands well, none wants it."""
    if not subscriptions:
        return []
    common = set(subscriptions[0].into)
    for subscription in subscriptions:
        common &= set(subscription.into)
    return sorted(common)


def changed_files(connection: Connection, limit: int, matches: Sequence[str], settling: Sequence[str] = ()) -> Page:
    """The next files after the planner's cursor, in the order of their changes.

    It has those that one of the globs matches, and those that have a transfer or a bad own instance.
    ``settling`` are stores into which every subscription brings its files: what stands well in one of them is left out.
    """
    change, file_id = _cursor(connection)
    last, full = _end(connection, _CHANGED, limit, change=change, file_id=file_id)
    if last is None:
        return Page(plain=[], known=[], last=None, full=False)
    last_change, last_id = last
    rows = statements.LOOK_AT_CHANGED.rows(
        connection,
        _counting(connection, settling),
        site=get_meta(connection, "site") or "",
        subscribed=bool(matches),
        change=change,
        file_id=file_id,
        last_change=last_change,
        last_id=last_id,
    )
    return _page(connection, rows, matches, last=last, full=full)


def files_after(
    connection: Connection, file_id: int, limit: int, matches: Sequence[str], settling: Sequence[str] = ()
) -> Page:
    """The next files in the order of their rows: how a new subscription pages through the catalog."""
    last, full = _end(connection, _AFTER, limit, file_id=file_id)
    if last is None:
        return Page(plain=[], known=[], last=None, full=False)
    rows = statements.LOOK_AT_ROWS.rows(
        connection,
        _counting(connection, settling),
        site=get_meta(connection, "site") or "",
        subscribed=bool(matches),
        file_id=file_id,
        last_id=last[1],
    )
    return _page(connection, rows, matches, last=last, full=full)


def _end(
    connection: Connection, queries: tuple[Any, Any], limit: int, **after: int
) -> tuple[tuple[int, int] | None, bool]:
    """Change number and row of the last file of a page of so many, None without any; and whether it is full.

    The files between are only counted: what is not needed of them is not read.
    """
    nth, newest = queries
    end = connection.execute(nth, {**after, "before": limit - 1}).first()
    found = end or connection.execute(newest, after).first()
    return (None if found is None else (found.change, found.id)), end is not None


def _counting(connection: Connection, stores: Sequence[str]) -> list[str]:
    """Those of this site's stores that count."""
    if not stores:
        return []
    site, holding = get_meta(connection, "site") or "", holders(connection)
    return [store for store in stores if holding.store_counts(site, store)]


def _page(
    connection: Connection, rows: Sequence[Any], matches: Sequence[str], *, last: tuple[int, int], full: bool
) -> Page:
    """``rows``: as of ``statements.LOOK_AT_CHANGED``; those of one file stand together."""
    holdings = _Holdings(connection)
    found: dict[int, tuple[int, str, int, str]] = {}
    rest: list[int] = []
    for id_, change, name, regardless, more, size_bytes, ingested_at, *columns in rows:
        if not regardless and not any(globs.matches(match, name) for match in matches):
            continue
        if more:
            rest.append(id_)
        else:
            found[id_] = change, name, size_bytes, ingested_at or ""
            holdings.add(id_, tuple(columns))
    held = holdings.by_file()
    plain = [
        PlainFile(id_, change, Name(name), size_bytes, ingested_at, held[id_])
        for id_, (change, name, size_bytes, ingested_at) in found.items()
    ]
    known = [state for ids in chunks(dict.fromkeys(rest)) for state in _known_of(connection, ids)]
    return Page(plain=plain, known=known, last=last, full=full)


def _known_of(connection: Connection, ids: Sequence[int]) -> list[FileState]:
    """In the order that is given."""
    rows = {row.id: row for row in connection.execute(_FILES, {"ids": ids})}
    return know(connection, [rows[id_] for id_ in ids])


def _ends(where: Any, *order: Any) -> tuple[Any, Any]:
    """Of the files for which it holds: the one behind so many others in an order, and the last one."""
    found = select(schema.file.c.change, schema.file.c.id).where(where)
    nth = found.order_by(*order).limit(1).offset(bindparam("before", type_=Integer))
    return nth, found.order_by(*(column.desc() for column in order)).limit(1)


_CHANGED = _ends(
    # As one row: with OR the index would be read from its beginning at every look.
    tuple_(schema.file.c.change, schema.file.c.id)
    > tuple_(bindparam("change", type_=BigInteger), bindparam("file_id", type_=BigInteger)),
    schema.file.c.change,
    schema.file.c.id,
)
_AFTER = _ends(schema.file.c.id > bindparam("file_id"), schema.file.c.id)


def replan_suspected(tx: Tx) -> None:
    """Make the planner look again at every file whose own instance is suspected."""
    instance = schema.instance.c
    mine = select(instance.file_id).where(schema.SUSPECTED, instance.site == str(tx.site))
    tx.connection.execute(update(schema.file).where(schema.file.c.id.in_(mine)).values(change=tx.next_change()))


def know(connection: Connection, files: Sequence[SqlRow[Any]]) -> list[FileState]:
    """Everything known of these rows of ``file``.

    Most are plain: no transfer, nothing a person asked for, nothing peculiar about the name.
    """
    return _known(connection, files, _holdings(connection, [row.id for row in files]), _peculiar(connection, files))


def _peculiar(connection: Connection, files: Sequence[SqlRow[Any]]) -> set[int]:
    """The files of which there is more than their row and their instances."""
    if not files:
        return set()
    return {found for (found,) in statements.NOT_PLAIN.rows(connection, [(row.id, row.name) for row in files])}


def _known(
    connection: Connection, files: Sequence[SqlRow[Any]], held: Mapping[int, Held], rest: Set[int]
) -> list[FileState]:
    if not files:
        return []
    more = _More(connection, [row for row in files if row.id in rest])
    return [
        FileState(
            file_id=row.id,
            change=row.change,
            file=FileFacts(
                name=Name(row.name),
                digest=Digest(row.digest),
                size_bytes=row.size_bytes,
                unit=schema.UNITS[row.unit],
                origin=SiteName(row.origin_site) if row.origin_site else None,
                withdrawn=bool(row.withdrawn),
                conflict=row.name in more.conflicts,
                set_aside=more.kept.get(row.name, row.digest) != row.digest,
                occupied=bool(more.standing.get(row.name, set()) - {row.digest}),
                ingested_at=row.ingested_at or "",
            ),
            instances=list(held[row.id].instances),
            transfers=more.transfers.get(row.id, {}),
            one_offs=more.one_offs.get(row.id, ()),
        )
        for row in files
    ]


class _More:
    """What is known of files that are not plain."""

    def __init__(self, connection: Connection, files: Sequence[SqlRow[Any]]) -> None:
        rows = {row.id: row for row in files}
        names = sorted({row.name for row in files})
        self.transfers: dict[int, dict[str, Row]] = {key: {} for key in rows}
        for ids in chunks(rows):
            for row in connection.execute(_TRANSFERS, {"ids": ids}):
                self.transfers[row.file_id][row.store] = row_of(*row)
        self.one_offs = _one_offs(connection, rows)
        meanings = [row for some in chunks(names) for row in connection.execute(_MEANINGS, {"names": some})]
        self.kept = {row.name: row.kept for row in meanings if row.kept is not None}
        withdrawn = {row.name for row in meanings if row.withdrawn}
        self.standing = _standing(connection, sorted(withdrawn | self.kept.keys()))
        self.conflicts = {row.name for row in meanings if row.conflict}


class _Holdings:
    """By file: its origin, and its instances in stores that count. What is alike is made once."""

    def __init__(self, connection: Connection) -> None:
        self._counting = holders(connection)
        self._alone: dict[tuple[Any, ...], Held] = {}
        self._found: dict[int, Held] = {}
        self._several: dict[int, list[InstanceFacts]] = {}

    def add(self, id_: int, columns: tuple[Any, ...]) -> None:
        """The origin of a file, and one of its instances."""
        held = self._alone.get(columns)
        if held is None:
            held = self._alone[columns] = _held(columns, self._counting)
        if id_ in self._found:
            self._several.setdefault(id_, [*self._found[id_].instances]).extend(held.instances)
        else:
            self._found[id_] = held

    def by_file(self) -> dict[int, Held]:
        """Of all that were added."""
        known: dict[tuple[Any, ...], Held] = {}
        for id_, facts in self._several.items():
            facts.sort(key=lambda instance: (instance.site, instance.store))
            origin = self._found[id_].origin
            self._found[id_] = known.setdefault((origin, *facts), Held(origin, tuple(facts)))
        return self._found


def _holdings(connection: Connection, ids: Sequence[int]) -> dict[int, Held]:
    holdings = _Holdings(connection)
    for id_, *columns in statements.HOLDINGS.rows(connection, ids) if ids else ():
        holdings.add(id_, tuple(columns))
    return holdings.by_file()


def _held(columns: tuple[Any, ...], counting: Holders) -> Held:
    origin, site, store, state, doubted = columns
    if site is None or not counting.store_counts(site, store):
        return Held(origin, ())
    facts = InstanceFacts(site=SiteName(site), store=store, state=InstanceState(state), doubted=bool(doubted))
    return Held(origin, (facts,))


def _meanings() -> Any:
    """Names that are in conflict, names of which one meaning was kept, and names of which a file was withdrawn."""
    naming, conflict, file = schema.naming.c, schema.conflict.c, schema.file.c
    names, yes, no = expanding("names"), literal(True), literal(False)
    return union_all(
        select(naming.name, naming.kept, no.label("conflict"), no.label("withdrawn")).where(naming.name.in_(names)),
        select(conflict.name, null(), yes, no).where(conflict.name.in_(names)),
        select(file.name, null(), no, yes).where(file.name.in_(names), file.withdrawn.is_(True)),
    )


_IDS = expanding("ids")
_FILES = select(schema.file).where(schema.file.c.id.in_(_IDS))
_TRANSFERS = select(schema.transfer).where(schema.transfer.c.file_id.in_(_IDS))
_ONE_OFFS = select(schema.one_off).where(schema.one_off.c.file_id.in_(_IDS)).order_by(schema.one_off.c.store)
_MEANINGS = _meanings()


def _one_offs(connection: Connection, files: Mapping[int, SqlRow[Any]]) -> dict[int, list[SubscriptionFacts]]:
    found: dict[int, list[SubscriptionFacts]] = {}
    for ids in chunks(files):
        for row in connection.execute(_ONE_OFFS, {"ids": ids}):
            found.setdefault(row.file_id, []).append(one_off_facts(files[row.file_id].name, row.store, row.from_site))
    return found


def one_off_facts(name: str, store: str, from_site: str | None) -> SubscriptionFacts:
    """What a person wants, as a subscription to one name."""
    return SubscriptionFacts(
        id=ONE_OFF, from_site=SiteName(from_site) if from_site else None, match=globs.literal(name), into=[store]
    )


def add_one_off(tx: Tx, file_id: int, store: str, from_site: SiteName | None) -> None:
    """A person wants this file here. Idempotent; the last word on the source counts."""
    values = {"file_id": file_id, "store": store, "from_site": from_site and str(from_site), "asked_at": tx.now}
    statement = upsert(tx.connection, schema.one_off).values(**values)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["file_id", "store"], set_=values))


def named(connection: Connection, name: Name) -> list[FileState]:
    """All files of a name."""
    rows = connection.execute(select(schema.file).where(schema.file.c.name == str(name)).order_by(schema.file.c.digest))
    return know(connection, rows.all())


def _standing(connection: Connection, names: Sequence[str]) -> dict[str, set[str]]:
    """Digests of which own instances stand at these names: not removed, and not set aside."""
    file, instance, aside = schema.file.c, schema.instance.c, schema.aside.c
    found: dict[str, set[str]] = {}
    site = get_meta(connection, "site") or ""
    for some in chunks(names):
        rows = connection.execute(
            select(file.name, file.digest)
            .join(schema.instance, instance.file_id == file.id)
            .outerjoin(schema.aside, (aside.file_id == instance.file_id) & (aside.store == instance.store))
            .where(
                file.name.in_(some),
                instance.state != InstanceState.REMOVED,
                aside.file_id.is_(None),
                instance.site == site,
            )
        )
        for row in rows:
            found.setdefault(row.name, set()).add(row.digest)
    return found


def _cursor(connection: Connection) -> tuple[int, int]:
    change, _, file_id = (get_meta(connection, "planned") or "0,0").partition(",")
    return int(change), int(file_id)


def planned_until(tx: Tx, change: int, file_id: int) -> None:
    """Advance the planner's cursor; in the transaction that writes what followed."""
    put_meta(tx.connection, "planned", f"{change},{file_id}")


# ---- subscriptions ---------------------------------------------------------------------------------------


def subscriptions(connection: Connection, site: SiteName) -> list[SubscriptionFacts]:
    """The rules of a site that are not withdrawn, in the order in which they were made."""
    rows = connection.execute(_SUBSCRIPTIONS, {"mine": str(site)})
    return [
        SubscriptionFacts(
            id=row.id,
            from_site=SiteName(row.from_site) if row.from_site else None,
            match=row.match,
            into=_STORES.decode(row.into),
            after_file=row.after_file or 0,
            max_bytes=row.max_bytes,
            newest_s=row.newest_s,
            priority=row.priority,
        )
        for row in rows
    ]


_SUBSCRIPTIONS = (
    select(schema.subscription, schema.new_only.c.after_file)
    .outerjoin(schema.new_only, schema.new_only.c.subscription == schema.subscription.c.id)
    .where(schema.subscription.c.site == bindparam("mine"), schema.subscription.c.withdrawn.is_(False))
    .order_by(schema.subscription.c.seq)
)


def only_new(tx: Tx, subscription: str) -> None:
    """The subscription is to files that are heard of from now on. Kept here only; without it, it is to all."""
    newest = tx.connection.scalar(select(func.max(schema.file.c.id))) or 0
    tx.connection.execute(insert(schema.new_only), {"subscription": subscription, "after_file": newest})


def deactivate_full(tx: Tx, subscription: str) -> None:
    """A store that is too full for a file of the subscription is set inactive. Kept here only."""
    tx.connection.execute(insert(schema.deactivating), {"subscription": subscription})


def deactivating(connection: Connection) -> set[str]:
    """The subscriptions for which that is so."""
    return set(connection.scalars(select(schema.deactivating.c.subscription)))


def backfills(connection: Connection) -> list[tuple[str, int]]:
    """Subscriptions that still page through the catalog, and behind which file they are."""
    return [(row.subscription, row.after_file) for row in connection.execute(_BACKFILLS)]


_BACKFILLS = select(schema.backfill).order_by(schema.backfill.c.subscription)


def backfilled(tx: Tx, subscription: str, after_file: int | None) -> None:
    """Advance a back-fill; None ends it."""
    backfill = schema.backfill
    mine = backfill.c.subscription == subscription
    if after_file is None:
        tx.connection.execute(delete(backfill).where(mine))
    else:
        tx.connection.execute(update(backfill).where(mine).values(after_file=after_file))


def active_stores(connection: Connection, site: SiteName) -> list[tuple[str, str]]:
    """Ids and labels of the site's stores that are active, in the order of their labels."""
    return [(row.id, row.label) for row in connection.execute(_ACTIVE_STORES, {"mine": str(site)})]


_ACTIVE_STORES = (
    select(schema.store.c.id, schema.store.c.label)
    .where(schema.store.c.site == bindparam("mine"), schema.store.c.active.is_(True), schema.store.c.retired.is_(False))
    .order_by(schema.store.c.label)
)


def load_here(connection: Connection, site: SiteName, adapters: Sequence[str]) -> tuple[list[SubscriptionFacts], Here]:
    """This site's subscriptions, and itself as a decision needs it."""
    members = roster(connection)
    here = Here(
        site=site,
        active_stores=frozenset(store for store, _ in active_stores(connection, site)),
        adapters=adapters,
        offers={member.site: member.offers for member in members.values()},
        dialable=site in members and any(offer.dial is not Dial.SOURCE for offer in members[site].offers),
    )
    return subscriptions(connection, site), here


def frozen(connection: Connection, file_ids: Sequence[int]) -> set[int]:
    """Those of the files that must not be placed now: in conflict, or withdrawn."""
    if not file_ids:
        return set()
    return {found for (found,) in statements.FROZEN.rows(connection, file_ids)}


def counting(instances: Sequence[InstanceFacts], here: Here) -> list[InstanceFacts]:
    """Those at sites that are in the roster."""
    return [instance for instance in instances if instance.site in here.offers or instance.site == here.site]


def admitted(known: FileState, here: Here) -> FileState:
    """The same file without instances at sites that are not in the roster."""
    return msgspec.structs.replace(known, instances=counting(known.instances, here))


def find_sources(
    connection: Connection, site: SiteName, adapters: Sequence[str], file_ids: Sequence[int]
) -> dict[int, Sequence[Source] | UnwantedReason]:
    """For each file, its possible sources, or why there is none. A file may be named several times."""
    _, here = load_here(connection, site, adapters)
    found: dict[int, Sequence[Source] | UnwantedReason] = {}
    known: dict[Held, Sequence[Source] | UnwantedReason] = {}
    for id_, held in _holdings(connection, sorted(set(file_ids))).items():
        if held not in known:
            known[held] = sources(counting(held.instances, here), here, first=held.origin)
        found[id_] = known[held]
        if known[held] is UnwantedReason.NO_SOURCE and _is_book(connection, id_):
            found[id_] = sources(counting(held.instances, here), here, first=held.origin, unit=Unit.BOOK)
    return found


def _is_book(connection: Connection, file_id: int) -> bool:
    return bool(connection.scalar(select(schema.file.c.unit == Unit.BOOK.value).where(schema.file.c.id == file_id)))


def find_local_sources(
    connection: Connection, site: SiteName, file_ids: Sequence[int]
) -> dict[int, Sequence[Source] | UnwantedReason]:
    """For each file, the stores of this site from which it can be brought into another one, or why there is none."""
    held = _holdings(connection, sorted(set(file_ids)))
    return {id_: local_sources(known.instances, site) for id_, known in held.items()}


def local_subscriptions(connection: Connection, site: SiteName) -> set[str]:
    """Ids of this site's subscriptions to itself: from one store into another."""
    return {rule.id for rule in subscriptions(connection, site) if rule.from_site == site}


def replan_live(tx: Tx) -> None:
    """Make the planner look again at every file that a transfer still has to bring."""
    transfer = schema.transfer.c
    live = select(transfer.file_id).where(transfer.state.in_(sorted(state.value for state in LIVE)))
    tx.connection.execute(update(schema.file).where(schema.file.c.id.in_(live)).values(change=tx.next_change()))
