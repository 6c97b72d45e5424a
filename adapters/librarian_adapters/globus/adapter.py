"""The Globus adapter: each batch is one task of the Globus Transfer service, between two collections.

The service works on its own, for hours. So the submission id is kept durably before anything is submitted: what is
submitted under it twice is one task, and after a restart it is found again. Nothing the service says of bytes is
believed: they are read back as those of any other adapter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import globus_sdk
import msgspec
import structlog
from blake3 import blake3

from librarian_adapters.contract import (
    Batch,
    Capabilities,
    Context,
    Failed,
    Item,
    Landed,
    Outcome,
    Part,
    Progress,
    Scratch,
    Staging,
)
from librarian_adapters.globus.service import LOGIN, GlobusService
from librarian_adapters.globus.settings import GlobusSettings, in_collection, place_of, settings_of
from librarian_adapters.local import components
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import (
    AdapterCredentials,
    LibrarianError,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
    StoreError,
    StoreFault,
    StoreFull,
    TransferError,
    TransferTimeout,
)

T = TypeVar("T")
#: So often in a row the service may be out of reach before a batch is given up; tries are ``poll_s`` apart.
_PATIENCE = 30
_SUBMIT_TRIES = 5
_MISSING = frozenset({"FILE_NOT_FOUND", "PATH_NOT_FOUND", "NOT_FOUND", "DIRECTORY_NOT_FOUND"})
_FULL = frozenset({"QUOTA_EXCEEDED", "NO_SPACE", "DISK_FULL"})


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What finds a task again. ``places`` are hashes of the items that it is to bring."""

    submission_id: str
    task_id: str = ""
    places: list[str]


_TICKET = msgspec.json.Decoder(Ticket)


def factory(context: Context) -> Globus:
    """Entry point.

    Raises:
        ConfigInvalid: ``[adapters.settings.globus]`` is wrong.
    """
    settings = settings_of(context)
    return Globus(settings, GlobusService(settings, context.state), context.roots, context.labels)


class Globus:
    """Implements the contract."""

    name = "globus"
    version = 1

    def __init__(
        self, settings: GlobusSettings, service: GlobusService, roots: Mapping[str, str], labels: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._service = service
        self._roots = roots
        self._labels = labels
        self._log = structlog.get_logger("globus")
        self.capabilities = Capabilities(
            max_files=1024,
            max_bytes=1 << 46,
            resumable=True,
            verifies_inline=False,
            dial=Dial.EITHER,
            trees=True,
            # We look at each task, and cancel what hangs, ourselves.
            stall_s=settings.stall_s * 2 + _PATIENCE * settings.poll_s,
        )

    def offer(self) -> AdapterOffer | None:
        """As :meth:`Adapter.offer`: the stores of ``serve``, as they stand in the collection."""
        stores = {
            id_: in_collection(self._settings, self._roots[id_])
            for id_, label in self._labels.items()
            if label in self._settings.serve
        }
        if not stores:
            return None
        params = {"collection": self._settings.collection, "stores": stores}
        return AdapterOffer(name=self.name, version=1, address="", dial=Dial.EITHER, params=params)

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
        """As :meth:`Adapter.fetch`.

        Raises:
            AdapterCredentials: a person must log in, or give consent.
            TransferError, StoreError: the task failed as a whole, with the service's own words.
        """
        if not batch.items:
            return
        scratch = await staging.scratch(batch.id)
        left = {_place(item): item for item in batch.items}
        ticket = _TICKET.decode(batch.ticket) if batch.ticket else None
        if ticket is None or not left.keys() <= set(ticket.places):
            submission_id = await self._patiently(self._service.submission_id)
            ticket = Ticket(submission_id=submission_id, places=sorted(left))
            await progress.save_ticket(msgspec.json.encode(ticket))
        if not ticket.task_id:
            document = self._document(ticket.submission_id, batch, left, scratch)
            # Under one submission id: when an answer was lost, asking again finds the same task.
            task_id = await self._patiently(lambda: self._service.submit(document), _SUBMIT_TRIES)
            ticket = msgspec.structs.replace(ticket, task_id=task_id)
            await progress.save_ticket(msgspec.json.encode(ticket))
        following = _Task(batch.items, progress)
        task = await self._followed(ticket.task_id, following)
        failed = await self._failure(task)
        skipped = {} if failed else await self._skipped(ticket.task_id)
        for place, item in left.items():
            yield await self._outcome(place, item, scratch, staging, failed, skipped)
        await scratch.remove()

    def _document(
        self, submission_id: str, batch: Batch, left: Mapping[str, Item], scratch: Scratch
    ) -> globus_sdk.TransferData:
        source = place_of(batch.offer.params, batch.store)
        target = in_collection(self._settings, scratch.path)
        document = globus_sdk.TransferData(
            source.collection,
            self._settings.collection,
            label=_label(submission_id),
            submission_id=submission_id,
            verify_checksum=self._settings.verify,
            encrypt_data=self._settings.encrypt,
            # One bad file does not fail the others: each is told of by itself.
            skip_source_errors=True,
            fail_on_quota_errors=True,
            notify_on_succeeded=False,
            notify_on_failed=False,
            notify_on_inactive=False,
        )
        for place, item in left.items():
            path = source.path + "/".join(components(item))
            if item.part is Part.TREE:
                document.add_item(f"{path}/", f"{target}/{place}/", recursive=True)
            else:
                document.add_item(path, f"{target}/{place}")
        return document

    # ---- the task --------------------------------------------------------------------------------------

    async def _patiently(self, call: Callable[[], Awaitable[T]], most: int = _PATIENCE) -> T:
        """The answer, when the service answers again; so many tries at most."""
        tries = 0
        while True:
            try:
                return await call()
            except SourceUnreachable:
                tries += 1
                if tries == most:
                    raise
            await asyncio.sleep(self._settings.poll_s)

    async def _followed(self, task_id: str, following: _Task) -> dict[str, Any]:
        """The task when it has ended.

        Raises:
            TransferTimeout: nothing moved for ``stall_s``; it was cancelled.
            AdapterCredentials: it waits for a person; it was cancelled.
        """
        loop = asyncio.get_running_loop()
        moved_s = loop.time()
        while True:
            task = await self._patiently(lambda: self._service.task(task_id))
            if following.saw(task):
                moved_s = loop.time()
            status = str(task.get("status"))
            if status in {"SUCCEEDED", "FAILED"}:
                self._log.info("globus_task_ended", task=task_id, status=status, **_statistics(task))
                return dict(task)
            nice = str(task.get("nice_status_details") or task.get("nice_status") or "")[:300]
            if status == "INACTIVE":
                await self._service.cancel(task_id)
                raise AdapterCredentials(
                    f"Globus task {task_id} is inactive: {nice or 'credentials expired'}", hint=LOGIN
                )
            if loop.time() - moved_s > self._settings.stall_s:
                await self._service.cancel(task_id)
                raise TransferTimeout(
                    f"Globus task {task_id}: nothing moved for {self._settings.stall_s:g} s; it was cancelled"
                    f" ({nice or 'no reason was given'})"
                )
            await asyncio.sleep(self._settings.poll_s)

    async def _failure(self, task: Mapping[str, Any]) -> LibrarianError | None:
        """Why a task failed, as the service says it; None where it succeeded."""
        if task.get("status") == "SUCCEEDED":
            return None
        fatal: Mapping[str, object] = task.get("fatal_error") or {}
        code, said = str(fatal.get("code") or ""), str(fatal.get("description") or "")
        events = await self._patiently(lambda: self._service.events(str(task["task_id"])))
        details = "; ".join(str(event.get("details") or event.get("description") or "") for event in events[:3])
        shown = f"Globus task {task['task_id']} failed: {code} {said} {details}".strip()[:900]
        if code in _FULL:
            return StoreFull(shown, hint="free space, or quota, at this site's collection")
        if code in {"PERMISSION_DENIED", "CANCELED"}:
            return SourceRefused(shown, hint="docs/adapters/globus.md, Permissions")
        if code in {"TIMEOUT", "EXPIRED", "DEADLINE"}:
            return TransferTimeout(shown)
        return TransferError(shown, hint="docs/adapters/globus.md, Troubleshooting")

    async def _skipped(self, task_id: str) -> dict[str, tuple[str, str]]:
        """Code and words for each path that was left out, by its place."""
        found = await self._patiently(lambda: self._service.skipped(task_id))
        return {
            place: (str(error.get("error_code")), str(error.get("error_details"))[:500])
            for error in found
            for place in str(error.get("destination_path")).split("/")
            if len(place) == _PLACE_DIGITS
        }

    # ---- what came -------------------------------------------------------------------------------------

    async def _outcome(
        self,
        place: str,
        item: Item,
        scratch: Scratch,
        staging: Staging,
        failed: LibrarianError | None,
        skipped: Mapping[str, tuple[str, str]],
    ) -> Outcome:
        shown = f"{item.part} of {item.name!a}"
        try:
            if failed is not None and (item.part is Part.TREE or not item.exact):
                return Failed(item, failed)  # it may be a part of it
            if await scratch.adopt(item, place):
                return Landed(item) if failed is None else await self._judged(item, staging, failed)
            if place in skipped:
                code, said = skipped[place]
                kind = SourceMissing if code in _MISSING else SourceRefused
                return Failed(item, kind(f"{shown}: Globus says {code}: {said}"))
            if failed is not None:
                return Failed(item, failed)
            # Before a restart it may have been taken over already.
            return await self._judged(item, staging, SourceMissing(f"{shown}: the task succeeded, and it did not come"))
        except (TransferError, StoreError) as exc:
            return Failed(item, exc)

    async def _judged(self, item: Item, staging: Staging, otherwise: LibrarianError) -> Outcome:
        if item.part is Part.TREE:
            return Landed(item)  # its members are looked for one by one
        try:
            found = await staging.read_back(item)
        except StoreFault:
            return Failed(item, otherwise)
        return Landed(item) if found[1] == item.digest else Failed(item, otherwise)

    # ---- the end ---------------------------------------------------------------------------------------

    async def abandon(self, ticket: bytes) -> None:
        """As :meth:`Adapter.abandon`: cancel the task; of one whose answer was lost, by its label."""
        known = _TICKET.decode(ticket)
        ids = [known.task_id] if known.task_id else await self._service.labelled(_label(known.submission_id))
        for task_id in ids:
            await self._service.cancel(task_id)

    async def close(self) -> None:
        """Nothing is kept open."""


class _Task:
    """What has moved, told as that of one item after the other: the service counts a task as a whole."""

    def __init__(self, items: Sequence[Item], progress: Progress) -> None:
        self._items = list(items)
        self._progress = progress
        self._told = 0
        self._room = self._items[0].size_bytes
        self._seen: tuple[object, ...] = ()

    def saw(self, task: Mapping[str, Any]) -> bool:
        """Whether anything moved since the last look."""
        moved = int(task.get("bytes_transferred") or 0)
        new, self._told = max(0, moved - self._told), max(self._told, moved)
        while new > 0:
            some = new if len(self._items) == 1 else min(new, self._room)
            if some > 0:
                self._progress.moved(self._items[0], some)
            new, self._room = new - some, self._room - some
            if self._room <= 0 and len(self._items) > 1:
                self._items.pop(0)
                self._room = self._items[0].size_bytes
        seen = tuple(task.get(key) for key in ("bytes_transferred", "files_transferred", "subtasks_succeeded"))
        changed, self._seen = seen != self._seen, seen
        return changed


_PLACE_DIGITS = 40


def _place(item: Item) -> str:
    """Where it stands in the scratch: a name that has nothing of a file's."""
    return blake3(item.key.encode()).hexdigest()[:_PLACE_DIGITS]


def _label(submission_id: str) -> str:
    """By which a task is found whose answer was lost."""
    return f"librarian {submission_id}"


def _statistics(task: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("files", "files_transferred", "bytes_transferred", "effective_bytes_per_second", "faults", "label")
    return {key: task.get(key) for key in keys}
