"""The rsync adapter: pulls from a site's rsync daemon, or over ssh, by the program rsync (docs/adapters/rsync.md).

The program writes into a directory of its own, where nothing is believed: each file that is whole is taken over from
there, and what is not whole is kept to go on with.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence

from librarian_adapters import tasks
from librarian_adapters.contract import (
    Batch,
    Capabilities,
    Context,
    Failed,
    Item,
    Landed,
    Outcome,
    Progress,
    Scratch,
    Staging,
)
from librarian_adapters.local import components
from librarian_adapters.rsync.run import Run, arguments, failure, progress, version, why_not
from librarian_adapters.rsync.settings import RsyncSettings, dialled, place_of, settings_of
from librarian_adapters.threads import in_thread
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import LibrarianError, SizeMismatch, SourceInvalid, StoreError, TransferError

#: Smaller ones are brought anew after a failure.
_WORTH_RESUMING = 1 << 20
#: How often the directory is measured: a source that sends more than was announced does not fill the disk.
_WATCH_S = 2.0
#: Beside the files there may be temporary names of one file, and nothing else.
_SLACK_BYTES = 64 << 20


def factory(context: Context) -> Rsync:
    """Entry point.

    Raises:
        ConfigInvalid: ``[adapters.settings.rsync]`` is wrong.
    """
    return Rsync(settings_of(context), context.labels, loopback=context.loopback_peers)


class Rsync:
    """Each batch is one run of rsync."""

    name = "rsync"
    version = 1
    capabilities = Capabilities(
        max_files=10_000, max_bytes=1 << 40, resumable=True, verifies_inline=False, dial=Dial.DESTINATION
    )

    def __init__(self, settings: RsyncSettings, labels: Mapping[str, str], *, loopback: bool) -> None:
        """``loopback``: whether the other sites stand on this machine; else its loopback addresses are not dialled."""
        self._settings = settings
        self._labels = labels
        self._loopback = loopback
        self._checked = False

    def offer(self) -> AdapterOffer | None:
        """As :meth:`Adapter.offer`: the stores of ``serve``, by id."""
        stores = {
            id_: self._settings.serve[label] for id_, label in self._labels.items() if label in self._settings.serve
        }
        if not stores:
            return None
        return AdapterOffer(name=self.name, version=1, address="", dial=Dial.DESTINATION, params={"stores": stores})

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
        """As :meth:`Adapter.fetch`.

        Raises:
            SourceInvalid: the offer names no usable place, one at which no other site can stand, or the source sends
                more than was announced.
            TransferError, StoreError: what concerns the whole run.
        """
        if not batch.items:
            return
        await self._check_version()
        place = await dialled(place_of(batch.offer.params, batch.store), batch.source, loopback=self._loopback)
        scratch = await staging.scratch(f"{batch.id}-rsync")
        bringing = _Fetch(batch, scratch, progress)
        await bringing.share()
        most = max(1, *(item.size_bytes for item in batch.items))
        command = arguments(self._settings, batch.source, place, scratch.path, most)
        names = b"".join(os.fsencode(name) + b"\0" for name in bringing.waiting)
        run = await Run.start(command, names, most)
        watching = asyncio.create_task(_watch(scratch.path, sum(item.size_bytes for item in batch.items), run))
        try:
            async for line in run.lines():
                for outcome in await bringing.heard(line):
                    yield outcome
            code = await run.ended()
            if run.stopped_for is not None:
                raise run.stopped_for
            async for outcome in bringing.rest(code, run.said):
                yield outcome
        finally:
            await tasks.stop(watching)
            await run.close()
            await bringing.keep()
            await scratch.remove()

    async def _check_version(self) -> None:
        if self._checked:
            return
        found = await version(self._settings.program)
        least = tuple(int(part) for part in self._settings.least_version.split("."))
        if found < least:
            raise TransferError(
                f"rsync {'.'.join(map(str, found))} is too old: {self._settings.least_version} is the oldest without"
                " known holes",
                hint="install a newer one; where the distribution mended an older one, set least_version",
            )
        self._checked = True

    async def abandon(self, ticket: bytes) -> None:
        """It has no tickets."""

    async def close(self) -> None:
        """Nothing is kept open."""


class _Fetch:
    """What of one batch has come."""

    def __init__(self, batch: Batch, scratch: Scratch, progress: Progress) -> None:
        self.waiting: dict[str, Item] = {"/".join(components(item)): item for item in batch.items}
        self._batch = batch
        self._scratch = scratch
        self._progress = progress
        self._current: str | None = None
        self._counted = 0

    async def share(self) -> None:
        """Have rsync write large files in their places, where what it wrote outlives us."""
        for relative, item in self.waiting.items():
            if item.size_bytes >= _WORTH_RESUMING:
                await self._scratch.share(item, relative)

    async def heard(self, line: bytes) -> Sequence[Outcome]:
        """A line of rsync's: the name of the file that comes now, or how much of it came."""
        name = line.decode(errors="surrogateescape")
        if name in self.waiting:
            before, self._current, self._counted = self._current, name, 0
            return [] if before is None else await self._taken(before)
        moved = progress(line)
        if moved is not None and self._current in self.waiting and moved > self._counted:
            self._progress.moved(self.waiting[self._current], moved - self._counted)
            self._counted = moved
        return []

    async def rest(self, code: int, said: str) -> AsyncGenerator[Outcome, None]:
        """Everything that has no outcome yet.

        Raises:
            LibrarianError: why the whole run failed; what is whole came all the same, and was told before.
        """
        error = failure(code, said, self._batch.source)
        for relative, item in list(self.waiting.items()):
            if error is not None and not item.exact:
                continue  # it may be a part of one
            for outcome in await self._taken(relative):
                yield outcome
        if error is not None:
            raise error
        for relative, item in list(self.waiting.items()):
            del self.waiting[relative]
            if code == 0:
                yield Failed(item, SizeMismatch(f"{item.part} of {item.name!a} is larger than was announced"))
            else:
                yield Failed(item, why_not(item, relative, code, said))

    async def _taken(self, relative: str) -> Sequence[Outcome]:
        """Take one file over if it is whole."""
        item = self.waiting.get(relative)
        if item is None or not await in_thread(_is_whole, os.path.join(self._scratch.path, relative), item):
            return []
        try:
            if not await self._scratch.adopt(item, relative):
                return []
        except (TransferError, StoreError) as exc:
            outcome: Outcome = Failed(item, exc)
        else:
            outcome = Landed(item)
        del self.waiting[relative]
        return [outcome]

    async def keep(self) -> None:
        """Stage what came of large files, to go on with the next time."""
        for relative, item in self.waiting.items():
            if item.size_bytes >= _WORTH_RESUMING:
                try:
                    await self._scratch.adopt(item, relative)
                except LibrarianError:
                    continue  # then the next attempt begins anew


def _is_whole(path: str, item: Item) -> bool:
    """Whether as much stands there as was announced; of a manifest's size nothing was."""
    try:
        state = os.lstat(path)
    except OSError:
        return False
    return not item.exact or state.st_size >= item.size_bytes


async def _watch(path: str, announced_bytes: int, run: Run) -> None:
    """Until cancelled; stops the run when more comes than was announced."""
    while True:
        await asyncio.sleep(_WATCH_S)
        if await in_thread(_size_of, path) > announced_bytes + _SLACK_BYTES:
            await run.stop(SourceInvalid("the source sends more bytes than were announced; rsync was stopped"))
            return


def _size_of(path: str) -> int:
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_size
            except OSError:
                continue  # it was renamed meanwhile
    return total
