"""Operations of recovery: the state of the quarantine, and saying again what was decided since a restore."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, func, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.journal.heads import missing
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_daemon.catalog.meta import get_meta, put_meta
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol import quarantine, segments, wire
from librarian_protocol.entries import Entry, SiteAdmitted, SiteRevoked, SubscriptionDeclared, SubscriptionWithdrawn
from librarian_protocol.journal_state import COUNTING, JournalState
from librarian_protocol.names import SiteName
from librarian_protocol.quarantine import Recovery

_RECOVERY = wire.decoder(Recovery)
_META = "recovery"
_RESTATED = "restated"
_DECLARING = ("subscription.declared", "subscription.withdrawn", "site.admitted", "site.revoked")


def state(connection: Connection) -> Recovery | None:
    """The state of recovery; None if there is none."""
    text = get_meta(connection, _META)
    return _RECOVERY.decode(text) if text else None


def may_vouch(connection: Connection) -> bool:
    """Whether this site may vouch for instances or evict them now. Asked in the transaction that does it."""
    return quarantine.may_vouch(state(connection))


def begin(tx: Tx, reason: str) -> None:
    """The catalog turned out to be older than what it has said. Idempotent; names will be compared once more."""
    _put(tx, quarantine.begin(state(tx.connection), reason, tx.now))


def twin(tx: Tx, incarnation: str) -> None:
    """Another daemon runs as this site. Idempotent."""
    _put(tx, quarantine.with_twin(state(tx.connection), incarnation, tx.now))


def at_start(tx: Tx) -> None:
    """Forget a twin. If there still is one, its heads will show it."""
    known = state(tx.connection)
    if known is not None and known.twin:
        _put(tx, quarantine.at_start(known, tx.now))


def heard(tx: Tx, peer: SiteName) -> None:
    """A peer has told what it holds."""
    known = state(tx.connection)
    if known is not None and peer not in known.heard:
        _put(tx, msgspec.structs.replace(known, heard=known.heard | {peer}))


def compared(tx: Tx) -> None:
    """Every name was compared with the catalog."""
    known = state(tx.connection)
    if known is not None:
        _put(tx, msgspec.structs.replace(known, compared=True))


def end(tx: Tx) -> None:
    """It is over."""
    put_meta(tx.connection, _META, "")


def waits_for(connection: Connection, site: SiteName, away: Collection[SiteName] = ()) -> list[str] | None:
    """What the quarantine waits for; None if there is none. ``away`` are sites that are down or silent."""
    known = state(connection)
    if known is None:
        return None
    lacking = [tip.hash for tip in missing(connection)]
    return quarantine.waits_for(known, site, known_members(connection), lacking, away)


def _put(tx: Tx, recovery: Recovery) -> None:
    put_meta(tx.connection, _META, wire.encode(recovery).decode())


# ---- what came back --------------------------------------------------------------------------------------


def greatest_returned_epoch(connection: Connection, site: SiteName) -> int:
    """The greatest epoch of own segments that came back from others and count; 0 where none did."""
    journal = schema.journal.c
    returned = journal.site == str(site), journal.returned.is_(True), journal.state.in_(COUNTING)
    return connection.scalar(select(func.max(journal.epoch)).where(*returned)) or 0


def unrestated(connection: Connection) -> bool:
    """Whether own segments came back since this site last stated again what it had decided."""
    return _last_returned(connection) > int(get_meta(connection, _RESTATED) or 0)


def _last_returned(connection: Connection) -> int:
    journal = schema.journal.c
    return connection.scalar(select(func.max(journal.position)).where(journal.returned.is_(True))) or 0


def restate(tx: Tx) -> int:
    """Append again what was declared since the restore and lost against what came back. Returns how many.

    The registers keep the greatest version, whichever branch it is of; what an operator decided last counts.
    """
    connection, journal = tx.connection, schema.journal.c
    site = str(tx.site)
    fork = connection.scalar(
        select(func.min(journal.first_seq)).where(journal.site == site, journal.returned.is_(True))
    )
    said: dict[tuple[str, str], Entry] = {}
    if fork is not None:
        rows = connection.execute(
            select(journal.payload)
            .where(
                journal.site == site,
                journal.returned.is_(False),
                journal.state == JournalState.APPLIED,
                journal.first_seq >= fork,
                journal.kind.in_(_DECLARING),
            )
            .order_by(journal.position)
        )
        for row in rows.all():
            segment = segments.decode(decompress(row.payload))
            for entry in segments.entries_of(segment) or ():
                if isinstance(entry, SubscriptionDeclared | SubscriptionWithdrawn):
                    said["subscription", entry.subscription] = entry
                elif isinstance(entry, SiteAdmitted | SiteRevoked):
                    said["admission", str(entry.site)] = entry
    lost = [entry for (table, key), entry in sorted(said.items()) if not _stands(connection, site, table, key, entry)]
    for entry in lost:
        tx.append(msgspec.structs.replace(entry, seq=0, at=""))
    put_meta(connection, _RESTATED, str(_last_returned(connection)))
    return len(lost)


def _stands(connection: Connection, site: str, table: str, key: str, entry: Entry) -> bool:
    """Whether the register still has what the entry said: its own number wrote it, or a later one did here."""
    if table == "subscription":
        row = connection.execute(
            select(schema.subscription.c.seq, schema.subscription.c.incarnation).where(
                schema.subscription.c.site == site, schema.subscription.c.id == key
            )
        ).first()
    else:
        row = connection.execute(
            select(schema.admission.c.seq, schema.admission.c.incarnation).where(
                schema.admission.c.admitter == site, schema.admission.c.site == key
            )
        ).first()
    if row is None or row.seq != entry.seq:
        return False
    returned = connection.scalar(
        select(schema.journal.c.returned).where(
            schema.journal.c.site == site,
            schema.journal.c.incarnation == row.incarnation,
            schema.journal.c.first_seq <= row.seq,
            schema.journal.c.last_seq >= row.seq,
        )
    )
    return returned is False
