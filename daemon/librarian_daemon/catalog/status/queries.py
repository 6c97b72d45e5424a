"""What the control API shows: pages of files, one name with all that is known of it, totals."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from librarian_daemon.catalog import attributes, schema
from librarian_daemon.catalog.apply import spoken_of, unanswered
from librarian_daemon.catalog.journal import standings
from librarian_daemon.catalog.mesh.holders import Holders, holders
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_daemon.catalog.transfers import transfers
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.catalog.upserts import chunks
from librarian_protocol import api, globs, wire
from librarian_protocol.attributes import rfc3339
from librarian_protocol.keys import fingerprint
from librarian_protocol.names import SiteName
from librarian_protocol.wanted import InstanceState

_STORES = wire.decoder(list[str])
#: Names looked at for one page of a glob; the page then ends early, and its `next` goes on.
_LOOK_AT = 20_000


# ---- files -----------------------------------------------------------------------------------------------


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Which files are meant, by who holds good instances of them; None where that does not matter."""

    #: By this site, and by no other.
    only_at: str | None = None
    at: str | None = None
    not_at: str | None = None
    #: Exactly so many.
    instances: int | None = None
    #: Some instance, at any site, was found bad and is not mended yet.
    bad: bool = False

    def fits(self, found: list[str]) -> bool:
        """Whether a file is meant; ``found`` has the site of each good instance."""
        return (
            (self.only_at is None or set(found) == {self.only_at})
            and (self.at is None or self.at in found)
            and (self.not_at is None or self.not_at not in found)
            and (self.instances is None or len(found) == self.instances)
        )


ANY = Held()


def files(connection: Connection, *, match: str, after: str, limit: int, held: Held = ANY) -> api.FilePage:
    """A page of files in the order of their names, with the sites that hold a good instance of each."""
    file = schema.file.c
    rows: list[Any] = []
    looked = 0
    position = after
    suspected = select(schema.instance.c.file_id).where(schema.SUSPECTED)
    meant = [spoken_of(), file.id.in_(suspected)] if held.bad else [spoken_of()]
    while len(rows) <= limit and looked < _LOOK_AT:
        page = connection.execute(
            select(schema.file).where(file.name > position, *meant).order_by(file.name, file.id).limit(1000)
        ).all()
        if not page:
            break
        # A name in conflict has several rows: never end a page between them.
        if len(page) == 1000:
            page = [row for row in page if row.name != page[-1].name] or page
        matching = [row for row in page if globs.matches(match, row.name)]
        if held != ANY:
            found = _good(connection, [row.id for row in matching])
            matching = [row for row in matching if held.fits(found[row.id])]
        rows += matching
        looked += len(page)
        position = page[-1].name
    else:
        if len(rows) <= limit:
            return _page(connection, rows, position)
    if len(rows) <= limit:
        return _page(connection, rows, None)
    # A page ends between two names: before the limit, or behind a name that has more digests than a page has room.
    ends = [at for at in range(1, len(rows)) if rows[at - 1].name != rows[at].name]
    end = max((at for at in ends if at <= limit), default=min(ends, default=len(rows)))
    return _page(connection, rows[:end], rows[end - 1].name)


def _page(connection: Connection, rows: list[Any], following: str | None) -> api.FilePage:
    ids = [row.id for row in rows]
    sites = _good(connection, ids)
    conflicts = _conflicts(connection, [row.name for row in rows])
    return api.FilePage(
        files=[
            api.FileSummary(
                name=row.name,
                digest=row.digest,
                size_bytes=row.size_bytes,
                unit=row.unit,
                origin=row.origin_site,
                ingested_at=row.ingested_at,
                sites=sorted(set(sites[row.id])),
                conflict=row.name in conflicts,
            )
            for row in rows
        ],
        next=following,
    )


def _good(connection: Connection, ids: list[int]) -> dict[int, list[str]]:
    """The site of each good instance of these files."""
    found: dict[int, list[str]] = {file_id: [] for file_id in ids}
    instance, known = schema.instance.c, holders(connection)
    for start in range(0, len(ids), 500):
        for file_id, site, store in connection.execute(
            select(instance.file_id, instance.site, instance.store).where(
                instance.file_id.in_(ids[start : start + 500]), instance.state == InstanceState.AVAILABLE
            )
        ):
            if known.counts(site, store):
                found[file_id].append(site)
    return found


def _conflicts(connection: Connection, names: list[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(names), 500):
        page = names[start : start + 500]
        found.update(connection.scalars(select(schema.conflict.c.name).where(schema.conflict.c.name.in_(page))))
    return found


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """A name with its files; transfers are still rows, the service knows how many bytes have come."""

    name: str
    conflict: bool
    files: list[tuple[api.FileDetail, list[TransferView]]]


def detail(connection: Connection, name: str) -> Detail | None:
    """All that is known of a name; None where nothing is."""
    file = schema.file.c
    rows = connection.execute(select(schema.file).where(file.name == name).order_by(file.digest)).all()
    if not rows:
        return None
    labels, known = store_labels(connection), holders(connection)
    found: list[tuple[api.FileDetail, list[TransferView]]] = []
    kept = connection.scalar(select(schema.naming.c.kept).where(schema.naming.c.name == name))
    kept_of = attributes.of_files(connection, [row.id for row in rows])
    for row in rows:
        beside = kept_of[row.id]
        shown = api.FileDetail(
            set_aside=kept is not None and kept != row.digest,
            name=row.name,
            digest=row.digest,
            size_bytes=row.size_bytes,
            unit=row.unit,
            origin=row.origin_site,
            ingested_at=row.ingested_at,
            withdrawn=row.withdrawn,
            modified_at=None if beside.mtime_ns is None else rfc3339(beside.mtime_ns),
            executable=beside.executable,
            instances=_instances(connection, row.id, labels, known),
            transfers=[],
        )
        found.append((shown, transfers.of_file(connection, row.id)))
    return Detail(name=name, conflict=bool(_conflicts(connection, [name])), files=found)


def _instances(
    connection: Connection, file_id: int, labels: dict[tuple[str, str], str], known: Holders
) -> list[api.Instance]:
    instance, doubt, verified = schema.instance.c, schema.doubt.c, schema.verified.c
    doubts = {
        (row.site, row.store): f"{row.reason} (said by {row.doubter})"
        for row in connection.execute(
            select(doubt.site, doubt.store, doubt.reason, doubt.doubter)
            .join(schema.instance, unanswered())
            .where(doubt.file_id == file_id)
        )
    }
    reads = connection.execute(select(verified.store, verified.at).where(verified.file_id == file_id))
    read = {row.store: row.at for row in reads}
    found: list[api.Instance] = []
    for row in connection.execute(
        select(schema.instance).where(instance.file_id == file_id).order_by(instance.site, instance.store)
    ):
        state: str = "verified" if row.state == InstanceState.AVAILABLE else row.state
        doubted = doubts.get((row.site, row.store))
        if state == "verified" and doubted is not None:
            state = "doubted"
        why_not = known.why_not(row.site, row.store)
        if why_not and state != "removed":
            state = why_not
        found.append(
            api.Instance(
                site=row.site,
                store=row.store,
                label=labels.get((row.site, row.store), ""),
                state=state,
                how=row.how,
                source_site=row.source_site,
                at=row.at,
                # Whoever registers an instance has read it whole; here it may have been read again since.
                verified_at=None
                if row.state != InstanceState.AVAILABLE or why_not
                else max(read.get(row.store, ""), row.at),
                detail=_NOT_COUNTED.get(state) or row.detail or doubted or "",
            )
        )
    return found


_NOT_COUNTED = {
    "revoked": "its site is no longer in the mesh: it does not count",
    "retired": "its store is retired: it does not count",
    "undeclared": "its site was admitted again, and has not declared this store since: it does not count",
}


def store_labels(connection: Connection) -> dict[tuple[str, str], str]:
    """The label of every store that was ever declared, by (site, id)."""
    store = schema.store.c
    return {(row.site, row.id): row.label for row in connection.execute(select(store.site, store.id, store.label))}


# ---- troubles --------------------------------------------------------------------------------------------


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """A name with a problem."""

    name: str
    site: str
    detail: str


def open_doubts(connection: Connection, limit: int) -> list[Trouble]:
    """Instances of any site with an unanswered doubt.

    Doubts are few: they are read first, and the instances by their keys. Joined in one statement, the database would
    rather walk through all instances that are available.
    """
    doubt, file, instance = schema.doubt.c, schema.file.c, schema.instance.c
    doubted = sorted(set(connection.scalars(select(doubt.file_id))))
    known = holders(connection)
    found: list[Trouble] = []
    for ids in chunks(doubted):
        rows = connection.execute(
            select(file.name, doubt.site, doubt.store, doubt.reason, doubt.doubter, instance.state)
            .join(schema.file, file.id == doubt.file_id)
            .join(schema.instance, unanswered())
            .where(doubt.file_id.in_(ids), instance.file_id.in_(ids))
            .order_by(file.name, doubt.site, doubt.doubter)
        )
        found += [
            Trouble(name=row.name, site=row.site, detail=f"{row.reason} (said by {row.doubter})")
            for row in rows
            if row.state == InstanceState.AVAILABLE and known.counts(row.site, row.store)
        ]
        if len(found) >= limit:
            break
    return found[:limit]


def suspected(connection: Connection, limit: int) -> list[Trouble]:
    """Instances that their owner no longer vouches for."""
    instance, file, known = schema.instance.c, schema.file.c, holders(connection)
    rows = connection.execute(
        select(file.name, instance.site, instance.store, instance.detail)
        .join(schema.file, file.id == instance.file_id)
        .where(schema.SUSPECTED)
        .order_by(file.name)
    )
    counting = (row for row in rows if known.counts(row.site, row.store))
    return [Trouble(name=row.name, site=row.site, detail=row.detail) for row in islice(counting, limit)]


def conflicts(connection: Connection, limit: int) -> list[Trouble]:
    """Names with two digests, and the sites that ingested them."""
    file = schema.file.c
    names = connection.scalars(select(schema.conflict.c.name).order_by(schema.conflict.c.name).limit(limit)).all()
    rows = connection.execute(
        select(file.name, file.digest, file.origin_site)
        .where(file.name.in_(names), file.withdrawn.is_(False))
        .order_by(file.name, file.digest)
    ).all()
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.name, []).append(f"{row.digest[:19]}… from {row.origin_site or 'an unknown site'}")
    return [Trouble(name=name, site="", detail=" and ".join(lines)) for name, lines in found.items()]


def readings(connection: Connection) -> dict[str, tuple[str | None, str]]:
    """When each peer was last heard, and why its journal does not advance."""
    return {row.site: (row.heard_at, row.stalled) for row in connection.execute(select(schema.reading))}


def heads(connection: Connection) -> dict[str, int]:
    """The last applied entry of each peer."""
    cursor = schema.cursor.c
    rows = connection.execute(select(cursor.site, func.max(cursor.seq).label("seq")).group_by(cursor.site))
    return {row.site: row.seq for row in rows}


# ---- sites, subscriptions --------------------------------------------------------------------------------


def sites(connection: Connection, here: SiteName, key: str) -> list[api.Site]:
    """The roster, this site included even before it is admitted anywhere."""
    heard = readings(connection)
    members = known_members(connection)
    beyond = {member.site: standings.left_out(connection, member.site) for member in members.values() if member.ends}
    found = [
        api.Site(
            site=member.site,
            here=member.site == here,
            key=member.key,
            fingerprint=fingerprint(member.key),
            access="" if member.revoked else member.access,
            domain=member.domain,
            admitted_by=member.admitter,
            software=member.software,
            adapters=[offer.name for offer in member.offers],
            last_heard=heard.get(member.site, (None, ""))[0],
            grants=member.grants,
            may_admit=member.may_admit,
            revoked=member.reason if member.revoked else None,
            tips=[f"{tip.incarnation}:{tip.seq}" for tip in member.tips],
            segments_beyond=beyond[member.site][0] if member.site in beyond else 0,
            entries_beyond=beyond[member.site][1] if member.site in beyond else 0,
        )
        for member in members.values()
    ]
    if here not in members:
        found.append(
            api.Site(
                site=here,
                here=True,
                key=key,
                fingerprint=fingerprint(key),
                access="",
                domain="",
                admitted_by=None,
                software="",
                adapters=[],
                last_heard=None,
            )
        )
    return sorted(found, key=lambda site: site.site)


def subscriptions(connection: Connection) -> list[api.Subscription]:
    """Rules that are not withdrawn, of all sites that count."""
    subscription, known = schema.subscription.c, holders(connection)
    labels = store_labels(connection)
    deactivating = set(connection.scalars(select(schema.deactivating.c.subscription)))
    rows = connection.execute(
        select(schema.subscription)
        .where(subscription.withdrawn.is_(False))
        .order_by(subscription.site, subscription.seq)
    )
    found: list[api.Subscription] = []
    for row in rows:
        if not known.counts(row.site):
            continue
        into = _STORES.decode(row.into)
        found.append(
            api.Subscription(
                id=row.id,
                site=row.site,
                from_site=row.from_site,
                match=row.match,
                into=into,
                labels=[labels.get((row.site, store), "") for store in into],
                max_bytes=row.max_bytes,
                newest_s=row.newest_s,
                on_full="deactivate" if row.id in deactivating else "wait",
                priority=row.priority,
            )
        )
    return found


def known_to_peers(connection: Connection, site: SiteName) -> dict[str, int]:
    """Up to which entry each peer holds this site's journal, as it last told."""
    head = schema.peer_head.c
    rows = connection.execute(select(head.peer, func.max(head.seq)).where(head.origin == str(site)).group_by(head.peer))
    return {row[0]: int(row[1]) for row in rows}
