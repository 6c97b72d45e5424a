"""A unit of work inside a group's transaction, and what the group says.

A unit changes local tables directly and says what happened with :meth:`Tx.append`, which applies the entries at once;
when the group ends, they are cut into segments, signed and put into journal and outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import Connection, insert

from librarian_daemon.catalog import eviction_rows as rows
from librarian_daemon.catalog import schema
from librarian_daemon.catalog.apply import Said, apply, conflicts
from librarian_daemon.catalog.cursors import advance
from librarian_daemon.catalog.payloads import compress
from librarian_daemon.catalog.upserts import chunks
from librarian_protocol.entries import (
    Entry,
    FileAttributed,
    FileIngested,
    InstanceHealed,
    InstanceRegistered,
    InstanceSuspected,
)
from librarian_protocol.errors import LibrarianError
from librarian_protocol.journal_state import JournalState
from librarian_protocol.keys import Purpose, SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.segments import NO_HASH, Position, cut, following

#: What sites say of files that land.
_LANDED = (FileAttributed, FileIngested, InstanceRegistered)
#: What this site says of its instances that stand at their names: whatever was open of giving one up is void.
_STANDING = (FileIngested, InstanceHealed, InstanceRegistered, InstanceSuspected)
_WRITE = insert(schema.journal).returning(schema.journal.c.position)
_SEND = insert(schema.outbox)


class OutgoingSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A segment of this site that the bus has not acknowledged."""

    #: In the journal: later ones have greater ones.
    position: int
    kind: str
    hash: str
    signature: str
    payload: bytes


class Tx:
    """One unit of work inside a group's transaction."""

    def __init__(self, connection: Connection, group: Group) -> None:
        self.connection = connection
        self._group = group

    @property
    def now(self) -> str:
        """The time that the group's entries are stamped with."""
        return self._group.at

    @property
    def position(self) -> Position:
        """Where this site's journal ended before the group."""
        return self._group.position

    def append(self, *entries: Entry, planned: bool = True) -> None:
        """Append to this site's journal and apply at once. The entries of one call are of one kind.

        Without ``planned`` the planner does not look at their files again. All of them are known here, and somebody
        was known to have each.
        """
        if entries:
            self._group.append(self.connection, entries, planned=planned)

    def apply_said(self) -> None:
        """Apply once more what the group has appended so far, which is not in the journal yet."""
        self._group.apply_said(self.connection)

    def apply_foreign(self, entries: list[Entry], said_by: Said) -> None:
        """Apply another site's entries, which are in the journal already. They are of one kind."""
        if entries:
            self._group.heard(entries[0], said_by.site)
            self._group.change += 1
            apply(self.connection, entries, msgspec.structs.replace(said_by, change=self._group.change))

    @property
    def site(self) -> SiteName:
        """This site."""
        return self._group.position.site

    def mailed(self) -> None:
        """Note that a letter was written: the publisher is woken when this is committed."""
        self._group.mailed = True

    def recompute_conflicts(self, names: Iterable[str]) -> None:
        """Compute again what these names mean."""
        for page in chunks(names):
            conflicts(self.connection, page, self.next_change())

    def next_change(self) -> int:
        """A change number greater than all before: the planner will look at the files that carry it."""
        self._group.pressing = self._group.beside = True
        self._group.change += 1
        return self._group.change


class Group:
    """What a transaction has said so far."""

    def __init__(self, position: Position, change: int, at: str, pressing: Container[SiteName] | None = None) -> None:
        """``pressing``: sites whose files the planner waits for; None: all."""
        self._pressing_sites = pressing
        self.position = position
        self.change = change
        self.at = at
        self.entries: list[Entry] = []
        self.sealed: list[OutgoingSegment] = []
        self.kinds: set[type[Entry]] = set()
        self.mailed = False
        #: More changed than that files landed at sites that no subscription here is to.
        self.pressing = False
        #: Something else changed than that files landed.
        self.beside = False

    def heard(self, entry: Entry, by: SiteName) -> None:
        """Note that entries like this one are applied, and that the planner is to look at their files."""
        self.kinds.add(type(entry))
        self.beside |= not isinstance(entry, _LANDED)
        self.pressing |= self.beside or self._pressing_sites is None or by in self._pressing_sites

    def append(self, connection: Connection, entries: tuple[Entry, ...], *, planned: bool = True) -> None:
        first = self.position.seq + len(self.entries) + 1
        numbered = [msgspec.structs.replace(entry, seq=first + i, at=self.at) for i, entry in enumerate(entries)]
        if planned:
            self.change += 1
            self.heard(entries[0], self.position.site)
        else:
            self.kinds.add(type(entries[0]))
        said = Said(
            site=self.position.site,
            epoch=self.position.epoch,
            incarnation=self.position.incarnation,
            change=self.change,
        )
        apply(connection, numbered, said, planned=planned)
        if isinstance(entries[0], _STANDING):
            rows.void(connection, numbered)
        self.entries.extend(numbered)

    def apply_said(self, connection: Connection) -> None:
        self.pressing = self.beside = True
        for _, same in groupby(self.entries, key=type):
            self.change += 1
            said = Said(
                site=self.position.site,
                epoch=self.position.epoch,
                incarnation=self.position.incarnation,
                change=self.change,
            )
            apply(connection, list(same), said)

    def seal(self, connection: Connection, key: SiteKey) -> Position:
        """Cut, sign and write the segments; where the journal ends now."""
        position = self.position
        for done in cut(position, self.entries, self.at):
            signature = key.sign(Purpose.SEGMENT, done.payload)
            row = {
                "site": str(position.site),
                "epoch": position.epoch,
                "incarnation": position.incarnation,
                "first_seq": done.segment.first_seq,
                "last_seq": done.segment.last_seq,
                "kind": done.segment.kind,
                "prev": done.segment.prev,
                "hash": done.hash,
                "signature": signature,
                "key": key.public,
                "payload": compress(done.payload),
                "state": JournalState.APPLIED,
                "received_at": self.at,
            }
            at = connection.execute(_WRITE, row).scalar_one()
            connection.execute(_SEND, {"position": at})
            self.sealed.append(
                OutgoingSegment(
                    position=at,
                    kind=done.segment.kind,
                    hash=done.hash,
                    signature=signature,
                    payload=done.payload,
                )
            )
            position = following(position, done)
        if position.seq > self.position.seq:
            advance(connection, position.site, position.epoch, position.incarnation, position.seq, position.hash)
        return position


def silent(connection: Connection, site: SiteName, change: int, at: str) -> Tx:
    """A transaction that appends no entries: for replaying journals into a catalog that no daemon runs on."""
    position = Position(site=site, epoch=0, incarnation="0" * 16, seq=0, hash=NO_HASH)
    return Tx(connection, Group(position, change, at))


class Failed(msgspec.Struct, frozen=True):
    """How a unit of work ended when it raised."""

    error: LibrarianError


class Refused(Exception):
    """A unit that was alone raised: nothing is committed."""

    def __init__(self, error: LibrarianError) -> None:
        self.error = error


def run_alone(connection: Connection, group: Group, work: Callable[[Tx], Any]) -> Any:
    """Run the only unit of a group, which needs no savepoint."""
    try:
        return work(Tx(connection, group))
    except LibrarianError as exc:
        raise Refused(exc) from exc


def run_unit(connection: Connection, group: Group, work: Callable[[Tx], Any]) -> Any:
    """Run one unit under a savepoint. A refusal by our own rules concerns only this unit; an error of the database,
    all.
    """
    entries, change = len(group.entries), group.change
    savepoint = connection.begin_nested() if connection.dialect.name != "sqlite" else None
    if savepoint is None:
        connection.exec_driver_sql("SAVEPOINT unit")
    try:
        outcome = work(Tx(connection, group))
    except LibrarianError as exc:
        if savepoint is None:
            connection.exec_driver_sql("ROLLBACK TO unit")
            connection.exec_driver_sql("RELEASE unit")
        else:
            savepoint.rollback()
        del group.entries[entries:]
        group.change = change
        return Failed(exc)
    if savepoint is None:
        connection.exec_driver_sql("RELEASE unit")
    else:
        savepoint.commit()
    return outcome
