"""The steps of one claimed batch, from the first look to "accepted" (docs/architecture.md)::

    examine ─► standing ─► copy where needed ─► seal ─► begin ─► place ─► accept ─► tidy
       │           │                              │               │
       └ put back  └ refuse, or present already   └ pause         └ refuse, or pause

At every arrow a crash may come. What it leaves is landing rows and things in ``.claimed``: both are finished by
the same code at the next start, and after every pause.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress

import msgspec
from structlog.typing import FilteringBoundLogger

from librarian_adapters import tasks
from librarian_daemon.config.settings import IntakeSettings
from librarian_daemon.fs.threads import Threads
from librarian_daemon.intake.copier import SMALL_BYTES, Copier, file_item, list_item, manifest_item, whole_item
from librarian_daemon.intake.directory import claims
from librarian_daemon.intake.directory.claimed import Claimed
from librarian_daemon.intake.directory.claims import NotClaimed
from librarian_daemon.intake.directory.drop import Drop, shown
from librarian_daemon.intake.directory.examination import BookExamination, Examined, Gone, Read, examine_files, odd
from librarian_daemon.intake.directory.lease import StillWritten
from librarian_daemon.intake.directory.scanner import Candidate, Kind
from librarian_daemon.intake.examined import Ready, landing_of
from librarian_daemon.intake.exits import Exits
from librarian_daemon.intake.presence import altered, is_in_store
from librarian_daemon.intake.refusal_reasons import case_twin, refusal
from librarian_daemon.landing import commit
from librarian_daemon.landing.commit import Ends
from librarian_daemon.ports.ledger import Ledger, NameStatus
from librarian_daemon.ports.store import LEAVING, Landing, NotPlaced, Store
from librarian_daemon.ports.time import Rng
from librarian_protocol.digests import Digest
from librarian_protocol.errors import (
    CaseTwin,
    InputError,
    LibrarianError,
    NameOccupied,
    SiteError,
    StoreError,
    TransferError,
)
from librarian_protocol.names import Name

#: Files that are accepted in one commit after a crash; each is durable at its name before.
RECOVERED_TOGETHER = 100
#: Errors of placing that concern the file itself, not the store.
_REFUSED = (NameOccupied, CaseTwin, InputError, TransferError)

#: What is known of a claimed file: that it goes on, or why it does not.
Found = Ready | InputError | StillWritten | Gone


class Batch(msgspec.Struct, frozen=True):
    """A batch that was claimed."""

    #: Id of the store into which it goes.
    store: str
    claimed: Sequence[Claimed] = ()
    #: What was not claimed, and why.
    left: Sequence[NotClaimed] = ()
    #: Small files that were read already, by path.
    known: Mapping[bytes, Found] = {}
    #: Whether files that are ours alone can be renamed into the store; None: that was not looked at.
    may_rename: bool | None = None


class Sealed(msgspec.Struct):
    """What is durable of a batch, and has no landing rows yet."""

    #: By landing id.
    files: dict[str, Ready] = {}
    landings: Sequence[Landing] = ()
    #: Why some of it could not be sealed, which pauses intake once the others are placed.
    failures: list[LibrarianError] = []

    def decides(self, others: Sequence[Ready]) -> bool:
        """Whether what a name of the others means depends on this: it is the same in all cases, or lies below one."""
        mine = {file.folded for file in self.files.values()}
        return any(file.folded in mine for file in others) or not mine.isdisjoint(
            above for directory in {file.name.rpartition("/")[0] for file in others} for above in _and_above(directory)
        )


def _and_above(directory: str) -> Iterator[str]:
    """The folded forms of a directory and of all that it lies in."""
    while directory:
        yield Name(directory).folded
        directory = directory.rpartition("/")[0]


class Ingest:
    """Ingests claimed batches of one drop directory into one store."""

    def __init__(
        self,
        settings: IntakeSettings,
        drop: Drop,
        store: Store,
        ledger: Ledger,
        exits: Exits,
        rng: Rng,
        threads: Threads,
        logger: FilteringBoundLogger,
        others: Sequence[Store] = (),
    ) -> None:
        """``others``: further stores of the drop directory. What stands there already is not taken once more."""
        self._settings = settings
        self._others = others
        self._drop = drop
        self._store = store
        self._ledger = ledger
        self._exits = exits
        self._rng = rng
        self._threads = threads
        self._log = logger
        self._copier = Copier(drop, store.staging, threads)
        self._marker = os.fsencode(settings.marker) if settings.complete == "marker" else b""
        self._prefix = os.fsencode(settings.prefix.strip("/")) + b"/" if settings.prefix.strip("/") else b""
        #: Prefix of the landing ids of this drop directory: several drop directories may feed one store.
        self._mark = f"i{Digest.blake3(os.fsencode(drop.path)).hex[:8]}-"
        #: Some landings may be begun but neither accepted nor abandoned: they must be finished first after a pause.
        self._unsure = False
        #: Landing ids with bytes in staging and without a landing row.
        self._staged: set[str] = set()
        #: Files whose fsync failed in place: only newly written bytes can be trusted, so they are copied.
        self._copy_always: set[bytes] = set()
        self.accepted = 0

    def _new_id(self) -> str:
        return self._mark + self._rng.hex(32)

    # ---- a batch -----------------------------------------------------------------------------------------

    async def seal(self, examined: Sequence[Ready], batch: Batch) -> Sealed:
        """Make what goes on of a batch that was examined durable, and its claims; the others are refused, or put back.

        What a name means depends on the batches before: those of which :meth:`Sealed.decides` says so were placed.

        Raises:
            StoreError, SiteError: work cannot go on now. What is unfinished remains in ``.claimed`` and in landing
                rows, for :meth:`finish` and another call.
        """
        sealed = Sealed()
        if not examined:
            return sealed
        durable = asyncio.create_task(self._threads.run(claims.make_durable, self._drop, batch.claimed))
        try:
            ready = await self._standing(examined)
            may_rename = batch.may_rename
            if may_rename is None:
                may_rename = await self._threads.run(self._may_rename)
            ready = await self._copy(ready, may_rename)
            await self._remove_markers(ready)
            sealed.files = {file.id: file for file in ready}

            async def not_sealed(failed: Sequence[NotPlaced]) -> None:
                for failure in failed:
                    error = await self._not_sealed(sealed.files[failure.landing.id], failure.error)
                    if error is not None:
                        sealed.failures.append(error)

            if ready:
                landings = [landing_of(file, self._store, self._drop) for file in ready]
                sealed.landings = await commit.seal(self._store, landings, not_sealed)
            await durable
        except (StoreError, SiteError):
            await self._discard_staged([file.id for file in examined])
            raise
        finally:
            await tasks.ended(durable)  # where its error mattered, it was raised
        return sealed

    async def _remove_markers(self, ready: Sequence[Ready]) -> None:
        if self._marker:
            for file in ready:
                if file.found.members is not None and not file.copied:
                    await self._threads.run(claims.remove_member, self._drop, file.claimed, self._marker)

    async def place(self, sealed: Sealed) -> None:
        """Finish what was sealed: each file is accepted, refused, or put back. For one batch after the other.

        Raises:
            StoreError, SiteError: as :meth:`seal`.
        """
        try:
            await self._place(sealed)
        except (StoreError, SiteError):
            await self._discard_staged(list(sealed.files))
            raise

    async def _discard_staged(self, ids: Sequence[str]) -> None:
        """Work cannot go on now: the next attempt would stage more bytes in a store that may be full."""
        with suppress(StoreError):
            for landing_id in ids:
                await self._discard(landing_id)

    def claim(self, identity: tuple[int, int], batch: bytes, candidates: Sequence[Candidate]) -> Batch:
        """Claim a batch, and read the small files of it. Blocking code.

        Raises:
            Replaced, StoreError: as :func:`claims.claim`; or the store does not answer, and nothing was claimed.
        """
        may_rename = self._may_rename()
        made = claims.claim(self._drop, identity, batch, candidates)
        known = {
            claimed.rel: self._found(claimed, made.read[claimed.rel])
            for claimed in made.claimed
            if claimed.rel in made.read
        }
        return Batch(store=self._store.id, claimed=made.claimed, left=made.left, known=known, may_rename=may_rename)

    def _may_rename(self) -> bool:
        place = self._store.can.directory
        return place is not None and self._drop.may_rename_into(place.path)

    def _found(self, claimed: Claimed, read: Read) -> Found:
        if not isinstance(read, Examined):
            return read
        try:
            name = Name.parse(self._prefix + claimed.rel)
        except InputError as exc:
            return exc
        return Ready(id=self._new_id(), claimed=claimed, name=name, folded=name.folded, found=read)

    async def examine(self, batch: Batch) -> list[Ready]:
        """Read what is not known of a claimed batch. Files that are not in the result are refused, put back, or gone.

        Raises:
            StoreError: it cannot be read now; as :meth:`land`.
        """
        known = batch.known
        files = [claimed for claimed in batch.claimed if claimed.kind is Kind.FILE and claimed.rel not in known]
        if files:
            stop = threading.Event()
            read = await self._threads.run_stoppable(stop, self._examine_files, files, stop)
            known = {**known, **{claimed.rel: found for claimed, found in zip(files, read, strict=True)}}
        ready: list[Ready] = []
        for claimed in batch.claimed:
            try:
                if claimed.kind is Kind.FILE:
                    found = known[claimed.rel]
                    if not isinstance(found, Ready):
                        raise found
                    ready.append(found)
                elif claimed.kind is Kind.BOOK:
                    ready.append(await self._examine_book(claimed))
                else:
                    raise await self._threads.run(odd, self._drop, claimed, self._settings.unit)
            except (InputError, StillWritten, Gone) as exc:
                await self._not_taken(claimed, exc)
        return ready

    def _examine_files(self, files: Sequence[Claimed], stop: threading.Event) -> list[Found]:
        read = examine_files(self._drop, files, stop)
        return [self._found(claimed, found) for claimed, found in zip(files, read, strict=True)]

    async def _examine_book(self, claimed: Claimed) -> Ready:
        name = Name.parse(self._prefix + claimed.rel)
        landing_id = self._new_id()
        try:
            return await self._read_book(claimed, name, landing_id)
        except StoreError:
            await self._discard_staged([landing_id])
            raise

    async def _read_book(self, claimed: Claimed, name: Name, landing_id: str) -> Ready:
        stop = threading.Event()
        examination = BookExamination(self._drop, claimed, self._marker, stop)
        portions = examination.portions()
        self._staged.add(landing_id)
        async with AsyncExitStack() as sinks:
            text = await self._store.staging.create(manifest_item(landing_id))
            sinks.push_async_callback(text.close)
            members = await self._store.staging.create(list_item(landing_id))
            sinks.push_async_callback(members.close)
            try:
                while portion := await self._threads.run_stoppable(stop, next, portions, None):
                    await text.write(portion.manifest)
                    await members.write(portion.attributes)
            except (InputError, StillWritten, Gone):
                await sinks.aclose()
                await self._discard(landing_id)
                raise
        return Ready(id=landing_id, claimed=claimed, name=name, folded=name.folded, found=examination.result())

    async def _not_taken(self, claimed: Claimed, why: InputError | StillWritten | Gone) -> None:
        if isinstance(why, Gone):
            self._log.info("claimed_thing_gone", path=shown(claimed.rel))
        elif isinstance(why, StillWritten):
            await self._exits.put_back(claimed, why)
        else:
            await self._exits.refuse(claimed, why)

    # ---- what the catalog says ---------------------------------------------------------------------------

    async def _standing(self, ready: Sequence[Ready]) -> list[Ready]:
        """The files that go on; the others are refused, or are already present."""
        going_on: list[Ready] = []
        folded: dict[str, Name] = {}
        if not ready:
            return going_on
        answers = await self._ledger.standing(self._store.id, [(file.name, file.found.digest) for file in ready])
        for file, (standing, other) in zip(ready, answers, strict=True):
            known = standing in {NameStatus.PRESENT, NameStatus.KNOWN}
            other_bytes = await self._ledger.size_of(file.name, other) if standing is NameStatus.TAKEN else None
            wrong = refusal(
                file, standing, other, allow_case_twins=self._settings.allow_case_twins, other_bytes=other_bytes
            )
            twin = folded.get(file.folded)
            try:
                if await self._stands(file, standing):
                    await self._already_here(file)
                    continue
            except InputError as exc:
                wrong = exc
            if wrong is None and twin is not None and not self._settings.allow_case_twins:
                wrong = case_twin(file.name, twin)
            if wrong is None:
                folded[file.folded] = file.name
                going_on.append(msgspec.structs.replace(file, known=True) if known else file)
            else:
                await self._refuse(file, wrong)
        return going_on

    async def _stands(self, file: Ready, standing: NameStatus) -> bool:
        """Whether it stands in a store of this drop directory."""
        if standing is NameStatus.PRESENT:
            return await is_in_store(self._store, file)
        if standing is NameStatus.KNOWN:
            for other in self._others:
                ((there, _),) = await self._ledger.standing(other.id, [(file.name, file.found.digest)])
                if there is NameStatus.PRESENT and await is_in_store(other, file):
                    return True
        return False

    async def _refuse(self, file: Ready, why: LibrarianError) -> None:
        await self._discard(file.id)
        await self._exits.refuse(file.claimed, why)

    async def _already_here(self, file: Ready) -> None:
        await self._discard(file.id)
        await self._exits.remove(file.claimed)
        self.accepted += 1
        self._log.info("file_present_already", name=file.name, digest=file.found.digest)

    # ---- into the store ----------------------------------------------------------------------------------

    async def _copy(self, ready: Sequence[Ready], may_rename: bool) -> list[Ready]:
        """Copy into staging the files that cannot be renamed; files that changed meanwhile are put back.

        Raises:
            StoreFull: the store has no room for them.
        """
        done: list[Ready] = []
        copied: list[Ready] = []
        for file in ready:
            renamed = may_rename and file.found.ours and file.claimed.path not in self._copy_always
            (done if renamed else copied).append(file)
        if not copied:
            return done
        promise = copied[0].id
        await self._ledger.promise(promise, self._store.id, sum(file.found.size_bytes for file in copied))
        try:
            return done + await self._copied(copied)
        finally:
            self._ledger.release(promise)

    async def _copied(self, files: Sequence[Ready]) -> list[Ready]:
        """Those of the files that are copied."""
        done: list[Ready] = []
        small: list[Ready] = []
        for file in files:
            self._staged.add(file.id)
            if file.found.members is None and file.found.size_bytes <= SMALL_BYTES:
                small.append(file)
            else:
                try:
                    if file.found.members is None:
                        await self._copier.large(file.claimed, file_item(file.id, file.name, file.found))
                    else:
                        await self._copier.book(file.claimed, file.id, file.name, file.found.digest, self._marker)
                except StillWritten as exc:
                    await self._discard(file.id)
                    await self._exits.put_back(file.claimed, exc)
                    continue
                except InputError as exc:
                    await self._refuse(file, exc)
                    continue
                done.append(msgspec.structs.replace(file, copied=True))
        if not small:
            return done
        items = [(file.claimed, file_item(file.id, file.name, file.found)) for file in small]
        for file, outcome in zip(small, await self._copier.small(items), strict=True):
            if isinstance(outcome, StillWritten):
                await self._exits.put_back(file.claimed, outcome)
            else:
                done.append(msgspec.structs.replace(file, copied=True))
        return done

    async def _place(self, sealed: Sealed) -> None:
        files = sealed.files
        #: Ids with staged bytes; while their landing rows exist, the staged bytes belong to these.
        kept: set[str] = set()
        failures = sealed.failures

        async def begin(sealed: Sequence[Landing]) -> Sequence[Landing]:
            if not sealed:
                return ()
            self._unsure = True
            kept.update(self._staged & {landing.id for landing in sealed})
            self._staged -= kept
            return await self._ledger.begin(sealed)

        async def accept(placed: Sequence[Landing]) -> None:
            if not placed:
                return
            await self._accept(placed)
            self._staged |= kept & {landing.id for landing in placed}
            for landing in placed:
                await self._tidy(files[landing.id])

        async def not_placed(failed: Sequence[NotPlaced]) -> None:
            refused = [failure for failure in failed if isinstance(failure.error, _REFUSED)]
            if refused:
                await self._ledger.abandon([failure.landing for failure in refused])
                self._staged |= kept & {failure.landing.id for failure in refused}
                for failure in refused:
                    await self._not_placed(files[failure.landing.id], failure.error)
            # The other rows stay: :meth:`finish` looks how far each landing came.
            failures.extend(left := [failure.error for failure in failed if not isinstance(failure.error, _REFUSED)])
            self._unsure = bool(left)

        await commit.place(self._store, sealed.landings, begin, Ends(accept=accept, not_placed=not_placed))
        if failures:
            raise failures[-1]

    async def _not_sealed(self, file: Ready, error: LibrarianError) -> LibrarianError | None:
        """The error that must pause intake; None if the failure was handled."""
        if isinstance(error, TransferError):  # it is not the file that was read just now
            await self._discard(file.id)
            await self._exits.put_back(file.claimed, StillWritten(error.message))
            return None
        if isinstance(error, InputError):
            await self._refuse(file, error)
            return None
        if not file.copied:
            self._copy_always.add(file.claimed.path)
        return error

    async def _not_placed(self, file: Ready, error: LibrarianError) -> None:
        if isinstance(error, TransferError):  # somebody took its bytes away
            await self._discard(file.id)
            await self._exits.put_back(file.claimed, StillWritten(error.message))
            return
        occupied = file.known and isinstance(error, NameOccupied)
        await self._refuse(file, altered(file, error) if occupied else error)

    async def _accept(self, landings: Sequence[Landing]) -> None:
        await self._ledger.accept(landings)
        self.accepted += len(landings)
        self._log.info(
            "files_accepted",
            files=len(landings),
            size_bytes=sum(landing.size_bytes for landing in landings),
            first=landings[0].name,
        )

    async def _tidy(self, file: Ready) -> None:
        """Remove what is left of an accepted file."""
        self._copy_always.discard(file.claimed.path)
        if file.copied:
            await self._exits.remove(file.claimed)
        await self._discard(file.id)

    async def _discard(self, landing_id: str) -> None:
        """Discard the staged bytes of a file that does not go on."""
        if landing_id in self._staged:
            await self._store.staging.discard(manifest_item(landing_id))
            await self._store.staging.discard(list_item(landing_id))
            await self._store.staging.discard(whole_item(landing_id))
            self._staged.discard(landing_id)

    # ---- after a crash or a pause ------------------------------------------------------------------------

    def doubt(self) -> None:
        """Note that landings may be begun: :meth:`finish` checks."""
        self._unsure = True

    async def finish(self, *, everything: bool) -> None:
        """Finish the landings that are begun: this drop directory's, or (before services run) all of the store's.

        Raises:
            StoreError, SiteError: it cannot be done now; call again.
        """
        await self._discard_staged(list(self._staged))  # of batches that were given up
        if not everything and not self._unsure:
            return
        self._unsure = True
        failures: list[LibrarianError] = []
        placed: list[Landing] = []

        async def accept(landings: Sequence[Landing]) -> None:
            placed.extend(landings)
            if len(placed) >= RECOVERED_TOGETHER:
                await self._accept(placed)
                placed.clear()

        async def not_placed(failed: Sequence[NotPlaced]) -> None:
            for failure in failed:
                if _pauses(failure.error):
                    failures.append(failure.error)
                    continue
                # Its bytes, if any, are in .claimed and are ingested from there.
                await self._ledger.abandon([failure.landing])
                self._staged.add(failure.landing.id)
                await self._discard(failure.landing.id)
                self._log.warning("landing_abandoned", name=failure.landing.name, reason=failure.error.message)

        left = [
            landing for landing in await self._ledger.unfinished(self._store.id) if self._is_mine(landing, everything)
        ]
        await commit.recover(self._store, left, Ends(accept=accept, not_placed=not_placed))
        if placed:
            await self._accept(placed)
        if failures:
            raise failures[-1]
        self._unsure = False

    def _is_mine(self, landing: Landing, everything: bool) -> bool:
        if landing.transfer is not None or landing.action in LEAVING:
            return False
        return everything or landing.id.startswith(self._mark)


def _pauses(error: LibrarianError) -> bool:
    """Whether the store has failed, not this one file."""
    return isinstance(error, StoreError) and not isinstance(error, (NameOccupied, CaseTwin))
