"""What an evictor commits. Each looks at row and nonce in its own transaction, and does nothing for another attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, delete, update

from librarian_daemon.catalog import eviction_rows as rows
from librarian_daemon.catalog import landings, schema
from librarian_daemon.catalog.eviction_rows import Giving, Kept
from librarian_daemon.catalog.evictions import facts
from librarian_daemon.catalog.evictions.facts import FileFacts
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upserts import chunks, upsert
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    How,
    InstanceRegistered,
    InstanceRemoved,
    StoreRole,
)
from librarian_protocol.eviction.count import Attempt, Place, verdict
from librarian_protocol.eviction.refusal import Refusal
from librarian_protocol.eviction.row import Stage
from librarian_protocol.eviction.voucher import Round, Vouch, refused
from librarian_protocol.names import SiteName
from librarian_protocol.requirement import Requirement, greatest
from librarian_protocol.wanted import InstanceState


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a store wants to give up, and why."""

    store: str
    #: The first word of the reason that is said: ``rule``, ``hand``, ``drain``.
    why: str
    allow_archive: bool = False
    #: An instance in an archive must be left, whatever the rules of the mesh say.
    needs_archive: bool = False
    #: The site's own ``[retention] keep``.
    own: Requirement | None = None


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a wish: how it stands, and why it is refused before anybody is asked; None where it may go."""

    file: FileFacts
    refusal: Refusal | None
    #: It is not an instance that could be given up: not there, bad, or on its way already.
    unfit: bool = False


def look(connection: Connection, site: SiteName, wish: Wish, ids: Sequence[int], now_s: float) -> list[Looked]:
    """How files stand, by rows alone: what would be refused, if everybody answered as rows say."""
    around = facts.surroundings(connection, site, wish.own)
    return [_look(around, wish, file, now_s) for file in facts.files(connection, ids)]


def _look(around: facts.Surroundings, wish: Wish, file: FileFacts, now_s: float) -> Looked:
    row = file.row(around.site, wish.store)
    kept = file.giving.get(wish.store)
    here = around.here(wish.store, file, now_s, allow_archive=wish.allow_archive)
    unfit = (
        row is None
        or row.stage is not Stage.AVAILABLE
        or here.doubted
        or file.withdrawn
        or (kept is not None and kept.kept is not Kept.SINCE)
    )
    refusal = refused(here) or expected(around, wish, file)
    return Looked(file=file, refusal=refusal, unfit=unfit)


def attempt_of(
    around: facts.Surroundings,
    wish: Wish,
    file: FileFacts,
    nonce: str = "",
    proved: Mapping[Place, str] | None = None,
) -> Attempt:
    """What is asked for one file. ``proved``: of round 2, what the vouchers' proofs must be."""
    keep = around.required(file.name)
    return Attempt(
        nonce=nonce,
        round=Round.ROWS if proved is None else Round.BYTES,
        name=file.name,
        digest=file.digest,
        place=(around.site, wish.store),
        keep=greatest([keep, _IN_AN_ARCHIVE]) if wish.needs_archive else keep,
        proofs=proved or {},
    )


_IN_AN_ARCHIVE = Requirement(instances=1, domains=1, role=StoreRole.ARCHIVE)


def expected(around: facts.Surroundings, wish: Wish, file: FileFacts) -> Refusal | None:
    """What the count would be if each store that is said to have a good instance vouched for it."""
    known = around.known_of(file)
    away = {one.store for one in file.giving.values() if one.away or one.kept is Kept.PENDING}
    attempt = attempt_of(around, wish, file)
    vouches = [
        Vouch(nonce="", name=file.name, digest=file.digest, site=site, store=id_, role=one.role, keep=attempt.keep)
        for (site, id_), one in known.items()
        if not (site == around.site and id_ in away)
    ]
    return verdict(attempt, vouches, known)


def intend(tx: Tx, wish: Wish, ids: Sequence[int], nonce: str, now_s: float) -> list[Looked]:
    """Make those pending that may go. Returns all of them as they stood."""
    looked = look(tx.connection, tx.site, wish, ids, now_s)
    going = [one.file.file_id for one in looked if not one.unfit and one.refusal is None]
    if going:
        rows.begin(tx.connection, wish.store, going, nonce=nonce, why=wish.why, needs_archive=wish.needs_archive)
    return looked


def _mine(tx: Tx, store: str, nonce: str, ids: Sequence[int], kept: Kept) -> dict[int, Giving]:
    """Those of the files whose row is at that stage, of that attempt."""
    found = rows.of_files(tx.connection, ids)
    return {
        id_: one for (id_, where), one in found.items() if where == store and one.nonce == nonce and one.kept is kept
    }


#: Whether the answers are enough for a file, by what is known at a moment; None: they are.
Judge = Callable[[facts.Surroundings, FileFacts], Refusal | None]


def decide(tx: Tx, wish: Wish, nonce: str, ids: Sequence[int], now_s: float, judge: Judge) -> dict[int, Refusal | None]:
    """Round 1 was enough for these: decided, but those that are refused by now. The others are available again."""
    mine = _mine(tx, wish.store, nonce, ids, Kept.PENDING)
    around = facts.surroundings(tx.connection, tx.site, wish.own)
    found: dict[int, Refusal | None] = {}
    for file in facts.files(tx.connection, list(mine)):
        found[file.file_id] = _refused(around, wish, file, now_s) or judge(around, file)
    going = [id_ for id_, refusal in found.items() if refusal is None]
    rows.move(tx.connection, wish.store, going, stage=Kept.DECIDED.value, trash=nonce)
    rows.number(tx.connection, wish.store, {id_: number for number, id_ in enumerate(going)})
    abort(tx, wish.store, nonce, [id_ for id_, refusal in found.items() if refusal is not None])
    return found


def _refused(around: facts.Surroundings, wish: Wish, file: FileFacts, now_s: float) -> Refusal | None:
    return refused(around.here(wish.store, file, now_s, allow_archive=wish.allow_archive))


def abort(tx: Tx, store: str, nonce: str, ids: Sequence[int]) -> None:
    """Too few answers came: what was pending is available again. What was decided, and is not in trash, is put back."""
    _available(tx, store, list(_mine(tx, store, nonce, ids, Kept.PENDING).values()))
    rows.move(tx.connection, store, list(_mine(tx, store, nonce, ids, Kept.DECIDED)), nonce="")


def void(tx: Tx, store: str, some: Sequence[Giving]) -> list[Giving]:
    """The attempts end of what is decided or in trash: nothing acts for them any more. Those of them that still are."""
    now = rows.of_files(tx.connection, [one.file_id for one in some])
    mine = [
        found
        for one in some
        if (found := now.get((one.file_id, store))) is not None and found.away and found.trash == one.trash
    ]
    rows.move(tx.connection, store, [one.file_id for one in mine], nonce="")
    return mine


def _available(tx: Tx, store: str, some: Sequence[Giving]) -> None:
    rows.end(tx.connection, store, [one.file_id for one in some if one.since_s is None])
    since = [one.file_id for one in some if one.since_s is not None]
    rows.move(tx.connection, store, since, stage=Kept.SINCE.value, nonce="", trash="", number=0)


def still_decided(tx: Tx, store: str, nonce: str, ids: Sequence[int]) -> list[Giving]:
    """Those that are to be renamed; asked under the lock of the store's names."""
    return list(_mine(tx, store, nonce, ids, Kept.DECIDED).values())


def trashed(tx: Tx, store: str, nonce: str, ids: Sequence[int], fresh: str, now_s: float) -> None:
    """The bytes of these stand in trash, durably. Round 2 is asked under ``fresh``."""
    mine = _mine(tx, store, nonce, ids, Kept.DECIDED)
    rows.move(tx.connection, store, list(mine), stage=Kept.TRASHED.value, nonce=fresh)
    first = [id_ for id_, one in mine.items() if one.since_s is None or one.since_s > now_s]
    rows.move(tx.connection, store, first, since_s=now_s)


def close(
    tx: Tx,
    wish: Wish,
    nonce: str,
    evidence: Digest,
    said: Mapping[int, str],
    now_s: float,
    judge: Judge,
) -> dict[int, Refusal | None]:
    """Round 2 was enough for these: they are gone, but those that are refused by now. ``said``: the reason of each."""
    mine = _mine(tx, wish.store, nonce, list(said), Kept.TRASHED)
    around = facts.surroundings(tx.connection, tx.site, wish.own)
    known = facts.files(tx.connection, list(mine))
    found = {file.file_id: _refused(around, wish, file, now_s) or judge(around, file) for file in known}
    going = [file for file in known if found[file.file_id] is None]
    if going:
        tx.append(
            *(
                InstanceRemoved(
                    name=file.name,
                    digest=file.digest,
                    size_bytes=file.size_bytes,
                    unit=file.unit,
                    store=wish.store,
                    reason=said[file.file_id],
                    evidence=evidence,
                )
                for file in going
            )
        )
        rows.move(tx.connection, wish.store, [file.file_id for file in going], stage=Kept.GONE.value, nonce="")
        _forget_verified(tx, wish.store, [file.file_id for file in going])
    return found


def _forget_verified(tx: Tx, store: str, ids: Sequence[int]) -> None:
    verified = schema.verified.c
    for some in chunks(ids):
        tx.connection.execute(delete(schema.verified).where(verified.store == store, verified.file_id.in_(some)))


def emptied(tx: Tx, store: str, some: Sequence[Giving]) -> None:
    """What these left in trash is unlinked."""
    now = rows.of_files(tx.connection, [one.file_id for one in some])
    done = [
        one.file_id
        for one in some
        if (left := now.get((one.file_id, store))) is not None
        and left.kept in (Kept.GONE, Kept.LANDED)
        and left.trash == one.trash
    ]
    rows.end(tx.connection, store, done)


class Back(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that stand at their name again, and were read."""

    giving: Giving
    #: Why they are bad; "" where they are right.
    wrong: str = ""
    #: They stand aside: another file has the name.
    aside: bool = False


def put_back(tx: Tx, site: SiteName, store: str, some: Sequence[Back]) -> None:
    """The bytes of these stand at their names again: available, or suspected."""
    mine = rows.of_files(tx.connection, [one.giving.file_id for one in some])
    known = {file.file_id: file for file in facts.files(tx.connection, [one.giving.file_id for one in some])}
    good: list[Giving] = []
    for back in some:
        now = mine.get((back.giving.file_id, store))
        if now is None or not now.away or now.trash != back.giving.trash:
            continue
        file = known[back.giving.file_id]
        instance = file.instance(site, store)
        if instance is None or instance.state is InstanceState.REMOVED:
            rows.end(tx.connection, store, [file.file_id])
            continue
        if back.aside:
            tx.connection.execute(
                upsert(tx.connection, schema.aside).on_conflict_do_nothing(),
                {"file_id": file.file_id, "store": store},
            )
        if back.wrong:
            rows.end(tx.connection, store, [file.file_id])
            if instance.state is InstanceState.AVAILABLE:
                tx.append(file.holding(instance).suspected(f"put back from trash: {back.wrong}"))
        else:
            good.append(now)
            landings.note_verified(tx, store, [(file.name, file.digest)])
            if instance.doubted or instance.state is InstanceState.SUSPECTED:
                tx.append(file.holding(instance).healed())
    _available(tx, store, good)


def at_start(tx: Tx, store: str) -> None:
    """No attempt outlives the incarnation that asked: what was pending is available, what is away is put back."""
    while some := rows.in_stage(tx.connection, store, [Kept.PENDING], 500):
        _available(tx, store, some)
    eviction = schema.eviction
    tx.connection.execute(
        update(eviction).where(eviction.c.store == store, eviction.c.stage.in_(rows.AWAY)).values(nonce="")
    )


def found_at_start(tx: Tx, store: str, file_id: int, wrong: str) -> None:
    """Bytes came back from trash of which the catalog did not know that they were there: it is older.

    Said is what it knows otherwise.
    """
    (file,) = facts.files(tx.connection, [file_id])
    instance = file.instance(tx.site, store)
    gone = instance is None or instance.state is InstanceState.REMOVED
    if wrong and instance is not None and instance.state is InstanceState.AVAILABLE:
        tx.append(file.holding(instance).suspected(f"put back from trash: {wrong}"))
    elif not wrong and gone:
        tx.append(
            InstanceRegistered(
                name=file.name,
                digest=file.digest,
                size_bytes=file.size_bytes,
                unit=file.unit,
                store=store,
                source_site=tx.site,
                how=How.FOUND,
            )
        )
