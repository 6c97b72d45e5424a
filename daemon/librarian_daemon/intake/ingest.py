"""What happens to one claimed batch, from the first look to "accepted" (docs/architecture.md)::

    examine ─► standing ─► copy where needed ─► seal ─► begin ─► place ─► accept ─► tidy
       │           │                              │               │
       └ put back  └ refuse, or present already   └ pause         └ refuse, or pause

At every arrow a crash may come. What it leaves is landing rows and things in ``.claimed``: both are finished by
the same code at the next start, and after every pause.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from structlog.typing import FilteringBoundLogger

from librarian_daemon.intake import claim
from librarian_daemon.intake.claim import Claimed
from librarian_daemon.intake.copying import SMALL_BYTES, Copier, file_item, manifest_item, whole_item
from librarian_daemon.intake.drop import Drop, shown
from librarian_daemon.intake.examine import BookExamination, Examined, Gone, examine_file, odd
from librarian_daemon.intake.exits import Exits
from librarian_daemon.intake.lease import StillWritten
from librarian_daemon.intake.present import altered, is_in_store
from librarian_daemon.intake.ready import Ready, landing_of
from librarian_daemon.intake.refusals import case_twin, refusal
from librarian_daemon.intake.scan import Kind
from librarian_daemon.ports import Landing, Ledger, NotPlaced, Placed, Rng, Standing, Store
from librarian_daemon.settings import IntakeSettings
from librarian_daemon.store.threads import Threads
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


class Ingest:
    """Takes claimed batches of one drop directory into one store."""

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
    ) -> None:
        self._settings = settings
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
        #: How the ids of this drop directory's landings begin: several may feed one store.
        self._mark = f"i{Digest.blake3(os.fsencode(drop.path)).hex[:8]}-"
        #: Landings may stand begun and neither accepted nor abandoned: what a pause must finish first.
        self._unsure = False
        #: Landing ids that have something in staging and no landing row.
        self._staged: set[str] = set()
        #: Things whose fsync failed where they stood: only fresh bytes can be trusted, so they are copied.
        self._copy_always: set[bytes] = set()
        self.accepted = 0

    def _new_id(self) -> str:
        return self._mark + self._rng.hex(32)

    # ---- a batch -----------------------------------------------------------------------------------------

    async def take(self, batch: Sequence[Claimed]) -> None:
        """Bring a claimed batch to its end: each thing accepted, refused, put back, or gone.

        Raises:
            StoreError, SiteError: work cannot go on now; what is unfinished stands in ``.claimed`` and in landing
                rows, for :meth:`finish` and another call.
        """
        try:
            ready = await self._standing(await self._examine(batch))
            may_rename = await self._threads.run(self._drop.may_rename_into, self._store.root)
            ready = await self._copy(ready, may_rename)
            await self._land(ready)
        except (StoreError, SiteError):
            # A full store must not be filled further by what another attempt stages anew.
            with suppress(StoreError):
                for one in list(self._staged):
                    await self._discard(one)
            raise

    async def _examine(self, batch: Sequence[Claimed]) -> list[Ready]:
        ready: list[Ready] = []
        stop = threading.Event()
        files = [one for one in batch if one.kind is Kind.FILE]
        read = await self._threads.run_stoppable(stop, self._examine_files, files, stop)
        for claimed, (name, found) in zip(files, read, strict=True):
            if isinstance(found, Examined) and name is not None:
                ready.append(Ready(id=self._new_id(), claimed=claimed, name=name, found=found))
            elif not isinstance(found, Examined):
                await self._not_taken(claimed, found)
        for claimed in batch:
            try:
                if claimed.kind is Kind.BOOK:
                    ready.append(await self._examine_book(claimed))
                elif claimed.kind is Kind.ODD:
                    raise await self._threads.run(odd, self._drop, claimed)
            except (InputError, StillWritten, Gone) as exc:
                await self._not_taken(claimed, exc)
        return ready

    def _examine_files(
        self, files: Sequence[Claimed], stop: threading.Event
    ) -> list[tuple[Name | None, Examined | InputError | StillWritten | Gone]]:
        found: list[tuple[Name | None, Examined | InputError | StillWritten | Gone]] = []
        for claimed in files:
            try:
                found.append((Name.parse(self._prefix + claimed.rel), examine_file(self._drop, claimed, stop)))
            except (InputError, StillWritten, Gone) as exc:
                found.append((None, exc))
        return found

    async def _examine_book(self, claimed: Claimed) -> Ready:
        name = Name.parse(self._prefix + claimed.rel)
        landing_id = self._new_id()
        stop = threading.Event()
        examination = BookExamination(self._drop, claimed, self._marker, stop)
        portions = examination.portions()
        item = manifest_item(landing_id)
        self._staged.add(landing_id)
        sink = await self._store.staging.create(item)
        try:
            while text := await self._threads.run_stoppable(stop, next, portions, b""):
                await sink.write(text)
        except (InputError, StillWritten, Gone):
            await sink.close()
            await self._discard(landing_id)
            raise
        finally:
            await sink.close()
        return Ready(id=landing_id, claimed=claimed, name=name, found=examination.result())

    async def _not_taken(self, claimed: Claimed, why: InputError | StillWritten | Gone) -> None:
        if isinstance(why, Gone):
            self._log.info("claimed_thing_gone", path=shown(claimed.rel))
        elif isinstance(why, StillWritten):
            await self._exits.put_back(claimed, why)
        else:
            await self._exits.refuse(claimed, why)

    # ---- what the catalog says ---------------------------------------------------------------------------

    async def _standing(self, ready: Sequence[Ready]) -> list[Ready]:
        """Those that go on; the others are refused, or are here already."""
        going_on: list[Ready] = []
        folded: dict[str, Name] = {}
        if not ready:
            return going_on
        answers = await self._ledger.standing(self._store.id, [(one.name, one.found.digest) for one in ready])
        for one, (standing, other) in zip(ready, answers, strict=True):
            known = standing in {Standing.PRESENT, Standing.KNOWN}
            wrong = refusal(one, standing, other, allow_case_twins=self._settings.allow_case_twins)
            twin = folded.get(one.name.folded)
            try:
                if standing is Standing.PRESENT and await is_in_store(self._store, one):
                    await self._already_here(one)
                    continue
            except InputError as exc:
                wrong = exc
            if wrong is None and twin is not None and not self._settings.allow_case_twins:
                wrong = case_twin(one.name, twin)
            if wrong is None:
                folded[one.name.folded] = one.name
                going_on.append(msgspec.structs.replace(one, known=known))
            else:
                await self._refuse(one, wrong)
        return going_on

    async def _refuse(self, one: Ready, why: LibrarianError) -> None:
        await self._discard(one.id)
        await self._exits.refuse(one.claimed, why)

    async def _already_here(self, one: Ready) -> None:
        await self._discard(one.id)
        await self._exits.remove(one.claimed)
        self.accepted += 1
        self._log.info("file_present_already", name=one.name, digest=one.found.digest)

    # ---- into the store ----------------------------------------------------------------------------------

    async def _copy(self, ready: Sequence[Ready], may_rename: bool) -> list[Ready]:
        """Bring into staging what cannot be renamed; those whose bytes changed meanwhile are put back."""
        done: list[Ready] = []
        small: list[Ready] = []
        for one in ready:
            if may_rename and one.found.ours and one.claimed.path not in self._copy_always:
                done.append(one)
                continue
            self._staged.add(one.id)
            if one.found.members is None and one.found.size_bytes <= SMALL_BYTES:
                small.append(one)
            else:
                try:
                    if one.found.members is None:
                        await self._copier.large(one.claimed, file_item(one.id, one.name, one.found))
                    else:
                        await self._copier.book(one.claimed, one.id, one.name, one.found.digest, self._marker)
                except StillWritten as exc:
                    await self._discard(one.id)
                    await self._exits.put_back(one.claimed, exc)
                    continue
                except InputError as exc:
                    await self._refuse(one, exc)
                    continue
                done.append(msgspec.structs.replace(one, copied=True))
        items = [(one.claimed, file_item(one.id, one.name, one.found)) for one in small]
        for one, outcome in zip(small, await self._copier.small(items), strict=True):
            if isinstance(outcome, StillWritten):
                await self._exits.put_back(one.claimed, outcome)
            else:
                done.append(msgspec.structs.replace(one, copied=True))
        return done

    async def _land(self, ready: Sequence[Ready]) -> None:
        by_id = {one.id: one for one in ready}
        failure: LibrarianError | None = None
        sealed: list[Landing] = []
        if self._marker:
            for one in ready:
                if one.found.members is not None and not one.copied:
                    await self._threads.run(claim.remove_member, self._drop, one.claimed, self._marker)
        for outcome in (
            await self._store.seal([landing_of(one, self._store, self._drop) for one in ready]) if ready else ()
        ):
            if isinstance(outcome, NotPlaced):
                failure = await self._not_sealed(by_id[outcome.landing.id], outcome.error) or failure
            else:
                sealed.append(outcome)
        if sealed:
            failure = await self._place(sealed, by_id) or failure
        if failure is not None:
            raise failure

    async def _not_sealed(self, one: Ready, error: LibrarianError) -> LibrarianError | None:
        """The error that must pause us, or None: it was dealt with."""
        if isinstance(error, TransferError):  # it is not what was read a moment ago
            await self._discard(one.id)
            await self._exits.put_back(one.claimed, StillWritten(error.message))
            return None
        if isinstance(error, InputError):
            await self._refuse(one, error)
            return None
        if not one.copied:
            self._copy_always.add(one.claimed.path)
        return error

    async def _place(self, sealed: Sequence[Landing], by_id: dict[str, Ready]) -> LibrarianError | None:
        self._unsure = True
        kept = self._staged & {landing.id for landing in sealed}
        self._staged -= kept  # from here on the landing rows own it
        await self._ledger.begin(sealed)
        placed: list[Landing] = []
        refused: list[tuple[Landing, LibrarianError]] = []
        failure: LibrarianError | None = None
        for outcome in await self._store.place(sealed):
            if isinstance(outcome, Placed):
                placed.append(outcome.landing)
            elif isinstance(outcome.error, (NameOccupied, CaseTwin, InputError, TransferError)):
                refused.append((outcome.landing, outcome.error))
            else:
                failure = outcome.error  # its row stays: how far it came is seen when work goes on
        if placed:
            await self._accept(placed)
            self._staged |= kept & {landing.id for landing in placed}
            for landing in placed:
                await self._tidy(by_id[landing.id])
        if refused:
            await self._ledger.abandon([landing for landing, _ in refused])
            self._staged |= kept & {landing.id for landing, _ in refused}
            for landing, error in refused:
                one = by_id[landing.id]
                if isinstance(error, TransferError):  # its bytes were taken from under our hands
                    await self._discard(one.id)
                    await self._exits.put_back(one.claimed, StillWritten(error.message))
                    continue
                occupied = one.known and isinstance(error, NameOccupied)
                await self._refuse(one, altered(self._store, one, error) if occupied else error)
        self._unsure = failure is not None
        return failure

    async def _accept(self, landings: Sequence[Landing]) -> None:
        await self._ledger.accept(landings)
        self.accepted += len(landings)
        self._log.info(
            "files_accepted",
            files=len(landings),
            size_bytes=sum(landing.size_bytes for landing in landings),
            first=landings[0].name,
        )

    async def _tidy(self, one: Ready) -> None:
        """After acceptance: what is left of its way here."""
        self._copy_always.discard(one.claimed.path)
        if one.copied:
            await self._exits.remove(one.claimed)
        await self._discard(one.id)

    async def _discard(self, landing_id: str) -> None:
        """What was staged for something that does not go on."""
        if landing_id in self._staged:
            await self._store.staging.discard(manifest_item(landing_id))
            await self._store.staging.discard(whole_item(landing_id))
            self._staged.discard(landing_id)

    # ---- after a crash or a pause ------------------------------------------------------------------------

    async def finish(self, *, everything: bool) -> None:
        """Finish landings that stand begun: this drop directory's, or (before services run) all of the store's.

        Raises:
            StoreError, SiteError: it cannot be done now; call again.
        """
        if not everything and not self._unsure:
            return
        self._unsure = True
        failure: LibrarianError | None = None
        for landing in await self._ledger.unfinished(self._store.id):
            if landing.transfer is not None or not (everything or landing.id.startswith(self._mark)):
                continue
            outcome = await self._store.recover(landing)
            if isinstance(outcome, Placed):
                await self._accept([landing])
            elif _pauses(outcome.error):
                failure = outcome.error
            else:
                # Its bytes, if there are any, stand in .claimed and are taken up from there.
                await self._ledger.abandon([landing])
                self._staged.add(landing.id)
                await self._discard(landing.id)
                self._log.warning("landing_abandoned", name=landing.name, reason=outcome.error.message)
        if failure is not None:
            raise failure
        self._unsure = False


def _pauses(error: LibrarianError) -> bool:
    """Whether it is the store that does not work, not this one file."""
    return isinstance(error, StoreError) and not isinstance(error, (NameOccupied, CaseTwin))
