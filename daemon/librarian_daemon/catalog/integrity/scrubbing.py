"""Operations of reading stores again: passes, what they have read, and stores that are frozen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, delete, exists, func, insert, literal, select, update

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.integrity import instances
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import chunks, upsert
from librarian_protocol.digests import Digest
from librarian_protocol.entries import StoreScrubbed, Unit
from librarian_protocol.names import SiteName
from librarian_protocol.scrub import Ages, Budget, Pass, freezes
from librarian_protocol.wanted import InstanceState

#: Others are told so often while a pass goes on, seconds.
TELL_EVERY_S = 86400
#: Rows that one transaction notes when a pass begins.
GATHERED = 2000

_SCRUB, _VERIFIED, _INSTANCE = schema.scrub.c, schema.verified.c, schema.instance.c


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """A store that neither vouches nor evicts."""

    store: str
    reason: str
    at: str


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass reads next, in this order, and what it passes by: gone, set aside, or suspected."""

    holdings: Sequence[Holding]
    gone: Sequence[int]
    passed: Sequence[int]

    @property
    def empty(self) -> bool:
        """Whether the pass has read everything."""
        return not self.holdings and not self.gone and not self.passed


# ---- passes ----------------------------------------------------------------------------------------------


def last_pass(connection: Connection, store: str) -> Pass | None:
    """The pass that goes on, or the last that ended; None: there was none."""
    row = connection.execute(select(schema.scrub).where(_SCRUB.store == store)).first()
    return None if row is None else _pass(row)


def _pass(row: Row[Any]) -> Pass:
    return Pass(
        number=row.number,
        began=row.began,
        ended=row.ended,
        gathered=bool(row.gathered),
        asked=bool(row.asked),
        files=row.files,
        bytes=row.bytes,
        bad=row.bad,
        told=row.told,
    )


def begin(tx: Tx, store: str, now: int, *, asked: bool = False) -> Pass:
    """A pass begins, unless one goes on; then it is only noted that a person asked. Idempotent while it goes on."""
    last = last_pass(tx.connection, store)
    if last is not None and last.ended is None:
        if asked:
            tx.connection.execute(update(schema.scrub).where(_SCRUB.store == store).values(asked=True))
        return msgspec.structs.replace(last, asked=last.asked or asked)
    new = Pass(number=last.number + 1 if last else 1, began=now, asked=asked, told=last.told if last else None)
    tx.connection.execute(delete(schema.scrub).where(_SCRUB.store == store))
    tx.connection.execute(insert(schema.scrub), {"store": store, **msgspec.structs.asdict(new)})
    return new


def gather(tx: Tx, site: SiteName, store: str, after: int) -> int:
    """Note instances that have no time of verification, a page of files behind ``after``.

    Returns behind which file the next page begins; 0: the pass knows of all of them now.
    """
    ids = tx.connection.scalars(
        select(_INSTANCE.file_id)
        .where(_INSTANCE.site == str(site), _INSTANCE.store == store, _INSTANCE.file_id > after)
        .order_by(_INSTANCE.file_id)
        .limit(GATHERED)
    ).all()
    if not ids:
        tx.connection.execute(update(schema.scrub).where(_SCRUB.store == store).values(gathered=True))
        return 0
    known = exists().where(_VERIFIED.file_id == _INSTANCE.file_id, _VERIFIED.store == _INSTANCE.store)
    unread = select(_INSTANCE.file_id, _INSTANCE.store, literal("")).where(
        _INSTANCE.site == str(site),
        _INSTANCE.store == store,
        _INSTANCE.file_id > after,
        _INSTANCE.file_id <= ids[-1],
        _INSTANCE.state == InstanceState.AVAILABLE,
        ~known,
    )
    tx.connection.execute(insert(schema.verified).from_select(["file_id", "store", "at"], unread))
    return int(ids[-1])


def due(connection: Connection, site: SiteName, store: str, number: int, limit: int) -> Due:
    """What the pass of that number reads next: the least recently verified first."""
    ids = connection.scalars(
        select(_VERIFIED.file_id)
        .where(_VERIFIED.store == store, _VERIFIED["pass"] < number)
        .order_by(_VERIFIED["pass"], _VERIFIED.at, _VERIFIED.file_id)
        .limit(limit)
    ).all()
    found = {
        holding.file_id: holding for holding in instances.of_files(connection, site, ids) if holding.store == store
    }
    aside = set(
        connection.scalars(
            select(schema.aside.c.file_id).where(schema.aside.c.store == store, schema.aside.c.file_id.in_(ids))
        )
    )
    good = [
        found[id_] for id_ in ids if id_ in found and id_ not in aside and found[id_].state == InstanceState.AVAILABLE
    ]
    gone = [id_ for id_ in ids if id_ not in found or found[id_].state == InstanceState.REMOVED]
    reading = {holding.file_id for holding in good}
    return Due(holdings=good, gone=gone, passed=[id_ for id_ in ids if id_ not in reading and id_ not in set(gone)])


def passed_by(tx: Tx, store: str, number: int, page: Due) -> None:
    """What the pass does not read: it is not asked of again. Idempotent."""
    of = _VERIFIED.store == store
    if page.gone:
        tx.connection.execute(delete(schema.verified).where(of, _VERIFIED.file_id.in_(page.gone)))
    if page.passed:
        tx.connection.execute(
            update(schema.verified).where(of, _VERIFIED.file_id.in_(page.passed)).values({"pass": number})
        )


def read(tx: Tx, store: str, number: int, good: Sequence[Holding], now: int) -> list[Holding]:
    """The pass found these right. Returns those whose bad bytes were kept and need be no longer."""
    if not good:
        return []
    ids = [holding.file_id for holding in good]
    of = _VERIFIED.store == store
    tx.connection.execute(
        update(schema.verified).where(of, _VERIFIED.file_id.in_(ids)).values({"pass": number, "at": tx.now})
    )
    tx.connection.execute(
        update(schema.scrub)
        .where(_SCRUB.store == store, _SCRUB.number == number)
        .values(files=_SCRUB.files + len(good), bytes=_SCRUB.bytes + sum(holding.size_bytes for holding in good))
    )
    _tell_daily(tx, store, now)
    kept = schema.kept_bad.c
    proven = set(
        tx.connection.scalars(
            select(kept.file_id).where(kept.store == store, kept.file_id.in_(ids), kept["pass"] < number)
        )
    )
    return [holding for holding in good if holding.file_id in proven]


def forget_kept(tx: Tx, holding: Holding) -> None:
    """The bad bytes of an instance stand nowhere any more. Idempotent."""
    kept = schema.kept_bad.c
    tx.connection.execute(delete(schema.kept_bad).where(kept.store == holding.store, kept.file_id == holding.file_id))


def shares_bad(connection: Connection, holding: Holding) -> bool:
    """Whether bad bytes kept under this digest may be another instance's, which no pass has found right yet."""
    file, kept, landing = schema.file.c, schema.kept_bad.c, schema.landing.c
    others = select(file.id).where(file.digest == str(holding.digest), file.id != holding.file_id)
    waiting = select(kept.file_id).where(kept.store == holding.store, kept.file_id.in_(others)).limit(1)
    bad = select(_INSTANCE.file_id).where(
        _INSTANCE.store == holding.store, _INSTANCE.file_id.in_(others), _INSTANCE.state == InstanceState.SUSPECTED
    )
    coming = select(landing.id).where(landing.store == holding.store, landing.digest == str(holding.digest))
    return any(connection.execute(query.limit(1)).first() is not None for query in (waiting, bad, coming))


def end(tx: Tx, store: str, now: int) -> None:
    """The pass has read everything, and others are told, if that was anything. Idempotent."""
    ended = tx.connection.execute(
        update(schema.scrub).where(_SCRUB.store == store, _SCRUB.ended.is_(None)).values(ended=now)
    )
    last = last_pass(tx.connection, store)
    if ended.rowcount and last is not None and (last.files or last.bad):
        _tell(tx, store, now)


def _tell_daily(tx: Tx, store: str, now: int) -> None:
    last = last_pass(tx.connection, store)
    if last is not None and not 0 <= now - (last.told if last.told is not None else last.began) < TELL_EVERY_S:
        _tell(tx, store, now)


def _tell(tx: Tx, store: str, now: int) -> None:
    last = last_pass(tx.connection, store)
    if last is None:
        return
    tx.append(
        StoreScrubbed(
            store=store,
            number=last.number,
            until=oldest(tx.connection, store) or "",
            files=last.files,
            bytes=last.bytes,
            bad=last.bad,
        )
    )
    tx.connection.execute(update(schema.scrub).where(_SCRUB.store == store).values(told=now))


# ---- how it stands ---------------------------------------------------------------------------------------


def oldest(connection: Connection, store: str) -> str | None:
    """When the instance was verified that the next pass, or the present one, reads first; None where there is none."""
    return connection.scalar(
        select(_VERIFIED.at).where(_VERIFIED.store == store).order_by(_VERIFIED["pass"], _VERIFIED.at).limit(1)
    )


def ages(connection: Connection, store: str, now: int, held_bytes: int) -> Ages:
    """Of what the present pass has not read. ``held_bytes``: how much the store holds.

    What was never verified counts from when the pass began.
    """
    last = last_pass(connection, store)
    if last is None or last.ended is not None:
        first = oldest(connection, store)
        return Ages(first_s=_age(first, now, now))
    left = and_(_VERIFIED.store == store, _VERIFIED["pass"] < last.number)
    first = connection.scalar(select(_VERIFIED.at).where(left).order_by(_VERIFIED["pass"], _VERIFIED.at).limit(1))
    youngest = connection.scalar(
        select(_VERIFIED.at).where(left).order_by(_VERIFIED["pass"].desc(), _VERIFIED.at.desc()).limit(1)
    )
    if first is None:
        return Ages()
    return Ages(
        first_s=_age(first, now, last.began),
        last_s=_age(youngest, now, last.began),
        left_bytes=max(0, held_bytes - last.bytes),
    )


def _age(at: str | None, now: int, never: int) -> float:
    since = datetime.fromisoformat(at).timestamp() if at else float(never)
    return max(0.0, now - since)


def is_busy(connection: Connection) -> bool:
    """Whether transfers or intake work."""
    batch, landing = select(schema.batch.c.id).limit(1), select(schema.landing.c.id).limit(1)
    return any(connection.execute(query).first() is not None for query in (batch, landing))


def held_bytes(connection: Connection, site: SiteName, store: str) -> int:
    """How much the store holds, as the totals count it."""
    total = select(func.coalesce(func.sum(_INSTANCE.size_bytes), 0)).where(
        _INSTANCE.site == str(site), _INSTANCE.store == store, _INSTANCE.state == InstanceState.AVAILABLE
    )
    return int(connection.scalar(total) or 0)


# ---- bad instances ---------------------------------------------------------------------------------------


def note_bad(tx: Tx, store: str, budget: Budget) -> bool:
    """One more bad instance was found in a store. Returns whether that freezes it, in this very transaction."""
    tx.connection.execute(update(schema.scrub).where(_SCRUB.store == store).values(bad=_SCRUB.bad + 1))
    last = last_pass(tx.connection, store)
    if last is None or not freezes(last.bad, budget):
        return False
    return freeze(tx, store, f"{last.bad} bad instances were found in it within pass {last.number}")


def freeze(tx: Tx, store: str, reason: str) -> bool:
    """It neither vouches nor evicts from now on. Returns whether that is new. Idempotent: the first reason stays."""
    row = {"store": store, "reason": reason, "at": tx.now}
    done = tx.connection.execute(upsert(tx.connection, schema.frozen).on_conflict_do_nothing(), row)
    return bool(done.rowcount)


def thaw(tx: Tx, store: str) -> bool:
    """A person has looked: it counts again, and bad instances are counted anew. Returns whether it was frozen."""
    done = tx.connection.execute(delete(schema.frozen).where(schema.frozen.c.store == store))
    if done.rowcount:
        tx.connection.execute(update(schema.scrub).where(_SCRUB.store == store).values(bad=0))
    return bool(done.rowcount)


def frozen(connection: Connection) -> dict[str, Frozen]:
    """The stores of this site that neither vouch nor evict, by their ids."""
    rows = connection.execute(select(schema.frozen).order_by(schema.frozen.c.store))
    return {row.store: Frozen(store=row.store, reason=row.reason, at=row.at) for row in rows}


def is_frozen(connection: Connection, store: str) -> bool:
    """Whether the store neither vouches nor evicts."""
    return connection.execute(select(schema.frozen.c.store).where(schema.frozen.c.store == store)).first() is not None


def set_bad_members(tx: Tx, holding: Holding, members: Sequence[str]) -> None:
    """Which members of a suspected book are bad; none where it is right, or nothing is known. Replaces the earlier."""
    bad = schema.bad_member
    tx.connection.execute(delete(bad).where(bad.c.file_id == holding.file_id, bad.c.store == holding.store))
    if members:
        of = {"file_id": holding.file_id, "store": holding.store}
        tx.connection.execute(insert(bad), [of | {"member": member} for member in sorted(set(members))])


def bad_members(connection: Connection, file_id: int, store: str) -> frozenset[str]:
    """Those of a suspected book. None are named where it is not known which are good."""
    bad = schema.bad_member.c
    return frozenset(connection.scalars(select(bad.member).where(bad.file_id == file_id, bad.store == store)))


def salvage(
    connection: Connection, site: SiteName, digests: Sequence[Digest]
) -> dict[Digest, tuple[Holding, frozenset[str]]]:
    """Own bad instances of these books of which no site has a good one, with the members that are bad.

    Only those of which it is known which members are good.
    """
    file, other = schema.file.c, schema.instance.alias().c
    good = exists().where(other.file_id == _INSTANCE.file_id, other.state == InstanceState.AVAILABLE)
    found: dict[Digest, tuple[Holding, frozenset[str]]] = {}
    for page in chunks(digests):
        ids = connection.scalars(
            select(file.id)
            .join(schema.instance, file.id == _INSTANCE.file_id)
            .where(
                file.digest.in_(page),
                file.unit == Unit.BOOK.value,
                file.withdrawn.is_(False),
                _INSTANCE.site == str(site),
                _INSTANCE.state == InstanceState.SUSPECTED,
                ~good,
            )
        ).all()
        for holding in instances.of_files(connection, site, ids):
            bad = bad_members(connection, holding.file_id, holding.store)
            if holding.state == InstanceState.SUSPECTED and bad and "" not in bad:
                found[holding.digest] = holding, bad
    return found


def bad_names(connection: Connection, site: SiteName, names: Sequence[str]) -> set[str]:
    """Those of the names under which an own instance is suspected."""
    file = schema.file.c
    found: set[str] = set()
    for page in chunks(names):
        found.update(
            connection.scalars(
                select(file.name)
                .join(schema.instance, file.id == _INSTANCE.file_id)
                .where(
                    file.name.in_(page),
                    _INSTANCE.site == str(site),
                    _INSTANCE.state == InstanceState.SUSPECTED,
                )
            )
        )
    return found


def alone(connection: Connection, site: SiteName, limit: int) -> list[tuple[str, str]]:
    """Name and store of own suspected instances of files of which no site has a good one."""
    file, other = schema.file.c, schema.instance.alias().c
    # By the index of the suspected: with the site beside, the database would walk through all instances of the site.
    suspected = connection.execute(
        select(_INSTANCE.file_id, _INSTANCE.site, _INSTANCE.store).where(schema.SUSPECTED).order_by(_INSTANCE.file_id)
    )
    mine = {row.file_id: row.store for row in suspected if row.site == str(site)}
    good = exists().where(other.file_id == file.id, other.state == InstanceState.AVAILABLE)
    found: list[tuple[str, str]] = []
    for page in chunks(mine):
        rows = connection.execute(
            select(file.id, file.name).where(file.id.in_(page), file.withdrawn.is_(False), ~good).order_by(file.name)
        )
        found += [(row.name, mine[row.id]) for row in rows]
        if len(found) >= limit:
            break
    return found[:limit]
