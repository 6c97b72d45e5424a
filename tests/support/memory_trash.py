"""The trash of a memory store: implements :class:`librarian_daemon.ports.store_capabilities.Trash`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from tests.support.memory_keeping import aside
from tests.support.memory_volume import Volume

from librarian_daemon.ports.store_capabilities import InTrash, trash_place
from librarian_protocol.errors import SourceMissing, StoreError

#: Told of each file before its bytes are renamed to trash ("rename"), and before they are unlinked there ("unlink").
Told = Callable[[str, InTrash], None]


def nobody(_what: str, _file: InTrash) -> None:
    """Nobody is told."""


class MemoryTrash:
    """Renames inside one volume, never overwriting."""

    def __init__(
        self, answer: Callable[[], Volume], at: Callable[[str, str], Awaitable[None]], told: Told = nobody
    ) -> None:
        self._answer = answer
        self._at = at
        self._told = told

    async def put(self, nonce: str, files: Sequence[InTrash]) -> Sequence[StoreError | SourceMissing | None]:
        volume = self._answer()
        volume.trash_lists[nonce] = list(files)
        await self._at("listed", nonce)
        return [await self._put(nonce, file) for file in files]

    async def _put(self, nonce: str, file: InTrash) -> StoreError | SourceMissing | None:
        try:
            await self._at("trash", file.name)
            volume = self._answer()
        except StoreError as exc:
            return exc
        if not volume.stands(file.name):
            return SourceMissing(f"nothing stands at {file.name!a}")
        self._told("rename", file)
        volume.move(file.name, trash_place(nonce, file.number))
        await self._at("trashed", file.name)
        return None

    async def lists(self) -> Mapping[str, Sequence[InTrash]]:
        volume = self._answer()
        found = {
            nonce: [file for file in files if volume.stands(trash_place(nonce, file.number))]
            for nonce, files in volume.trash_lists.items()
        }
        return {nonce: files for nonce, files in found.items() if files}

    async def bring_back(self, nonce: str, file: InTrash, *, aside: bool) -> bool:
        await self._at("bring back", file.name)
        volume = self._answer()
        old, new = trash_place(nonce, file.number), _aside(file) if aside else file.name
        if not volume.stands(old) or volume.stands(new) or volume.below_a_file(new):
            return False
        volume.move(old, new)
        await self._at("brought back", file.name)
        return True

    async def empty(self, nonce: str, files: Sequence[InTrash]) -> None:
        for file in files:
            await self._at("empty", file.name)
            volume = self._answer()
            place = trash_place(nonce, file.number)
            if volume.stands(place):
                self._told("unlink", file)
                volume.remove(place)
            await self._at("emptied", file.name)
        volume = self._answer()
        if not any(volume.stands(trash_place(nonce, file.number)) for file in volume.trash_lists.get(nonce, ())):
            volume.trash_lists.pop(nonce, None)


def _aside(file: InTrash) -> str:
    return aside(file.digest)
