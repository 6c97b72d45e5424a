"""A store, a drop directory and an intake between them, with a catalog and incidents in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from librarian_daemon.config.settings import IntakeSettings
from librarian_daemon.intake.service import Intake
from librarian_daemon.ports.ledger import NameStatus
from librarian_daemon.ports.store import Landing, Store
from librarian_daemon.runtime.clock import SystemClock, SystemRng
from librarian_daemon.stores.posix.layout import Marker
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested, StoreRole
from librarian_protocol.errors import StoreFull
from librarian_protocol.names import Name, SiteName

STORE_ID = "0123456789abcdef0123456789abcdef"
QUIET_S = 0.15
Hook = Callable[[str], None]


class FakeLedger:
    """The catalog as intake sees it, kept over restarts. ``hook`` is called before and after each commit."""

    def __init__(self) -> None:
        self.files: dict[Name, dict[Digest, set[str]]] = {}
        self.withdrawn: set[tuple[Name, Digest]] = set()
        self.landings: dict[str, Landing] = {}
        self.accepted: list[FileIngested] = []
        self.hook: Hook = lambda _: None
        #: What the store has room for; None: for everything.
        self.room_bytes: int | None = None
        self.promised: dict[str, int] = {}
        #: Stores that are not chosen, and those in which something failed.
        self.passed: set[str] = set()
        self.doubted: list[str] = []

    async def standing(self, store: str, files: Sequence[tuple[Name, Digest]]) -> Sequence[tuple[NameStatus, str]]:
        self.hook("standing")
        folded = {name.folded: name for name in self.files}
        return [self._standing(store, name, digest, folded) for name, digest in files]

    def _standing(self, store: str, name: Name, digest: Digest, folded: Mapping[str, Name]) -> tuple[NameStatus, str]:
        if (name, digest) in self.withdrawn:
            return NameStatus.WITHDRAWN, digest
        known = self.files.get(name)
        if known is None:
            twin = folded.get(name.folded)
            return (NameStatus.FREE, "") if twin is None else (NameStatus.TWIN, twin)
        if digest in known:
            return (NameStatus.PRESENT if store in known[digest] else NameStatus.KNOWN), digest
        return NameStatus.TAKEN, next(iter(known))

    async def size_of(self, name: Name, digest: str) -> int | None:
        known = [entry.size_bytes for entry in self.accepted if (entry.name, entry.digest) == (name, digest)]
        return known[0] if known else None

    async def begin(self, landings: Sequence[Landing]) -> Sequence[Landing]:
        self.hook("begin")
        self.landings |= {landing.id: landing for landing in landings}
        self.hook("begun")
        return landings

    async def accept(self, landings: Sequence[Landing]) -> None:
        self.hook("accept")
        for landing in landings:
            assert isinstance(landing.entry, FileIngested)
            if self.landings.pop(landing.id, None) is not None:
                self.accepted.append(landing.entry)
                self.files.setdefault(landing.name, {}).setdefault(landing.digest, set()).add(landing.store)
        self.hook("accepted")

    async def abandon(self, landings: Sequence[Landing]) -> None:
        self.hook("abandon")
        for landing in landings:
            self.landings.pop(landing.id, None)

    async def choose(self, stores: Sequence[str], size_bytes: int) -> str:
        return next((store for store in stores if store not in self.passed), stores[0])

    def doubt(self, store: str) -> None:
        self.doubted.append(store)

    async def promise(self, id_: str, store: str, size_bytes: int) -> None:
        if self.room_bytes is not None and size_bytes + sum(self.promised.values()) > self.room_bytes:
            raise StoreFull(f"there is no room for {size_bytes} bytes")
        self.promised[id_] = size_bytes

    def release(self, id_: str) -> None:
        self.promised.pop(id_, None)

    async def unfinished(self, store: str) -> Sequence[Landing]:
        self.hook("unfinished")
        return [landing for landing in self.landings.values() if landing.store == store]

    @property
    def names(self) -> list[str]:
        """What was accepted, in order."""
        return [str(entry.name) for entry in self.accepted]


class FakeIncidents:
    """Open incidents, and all that ever were."""

    def __init__(self) -> None:
        self.now: dict[tuple[str, str], str] = {}
        self.ever: list[tuple[str, str]] = []
        #: Of those that count things: how many, when last told.
        self.numbers: dict[tuple[str, str], int] = {}

    async def open(self, code: str, subject: str, message: str, hint: str) -> None:
        self.now[code, subject] = f"{message} {hint}"
        self.ever.append((code, subject))

    async def resolve(self, code: str, subject: str) -> None:
        self.now.pop((code, subject), None)

    async def count(self, code: str, subject: str, number: int, message: str, hint: str) -> None:
        if (code, subject) not in self.now:
            self.ever.append((code, subject))
        self.now[code, subject] = f"{message} {hint}"
        self.numbers[code, subject] = number

    async def resolve_all(self, code: str, over: Callable[[str], bool]) -> None:
        for known, subject in list(self.now):
            if known == code and over(subject):
                del self.now[known, subject]

    async def subjects(self, code: str) -> list[str]:
        return [subject for known, subject in self.now if known == code]


def quiet_logger() -> FilteringBoundLogger:
    """A logger that keeps everything to itself."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.ReturnLogger(), processors=[], wrapper_class=structlog.make_filtering_bound_logger(50)
    )
    return logger


class Rig:
    """One drop directory, one store. Survives any number of intakes: each is a start of the daemon."""

    def __init__(self, root: Path, *, drop: Path | None = None, store: Path | None = None) -> None:
        self.drop = drop if drop is not None else root / "drop"
        self.root = store if store is not None else root / "store"
        self.drop.mkdir(exist_ok=True)
        marker = Marker(id=STORE_ID, label="archive", site=SiteName.parse("here"))
        PosixStore.create(str(self.root), marker)
        self.store = PosixStore(str(self.root), marker, StoreRole.ARCHIVE)
        self.ledger = FakeLedger()
        self.incidents = FakeIncidents()
        #: Why a person wants nothing taken in.
        self.put_off = ""
        self._task: asyncio.Task[None] | None = None

    def settings(self, **changed: Any) -> IntakeSettings:
        """Settings that are quick about it."""
        known: dict[str, Any] = {"quiet_s": QUIET_S, "poll_every_s": 0.05, "walk_every_s": 30.0}
        return IntakeSettings(path=str(self.drop), store="archive", **(known | changed))

    def intake(self, *, store: Store | None = None, others: Sequence[Store] = (), **changed: Any) -> Intake:
        """A new intake, as after a start."""
        return Intake(
            self.settings(**changed),
            [store if store is not None else self.store, *others],
            self.ledger,
            self.incidents,
            SystemClock(),
            SystemRng(),
            quiet_logger(),
            lambda: self.put_off,
        )

    @asynccontextmanager
    async def running(
        self, *, store: Store | None = None, others: Sequence[Store] = (), **changed: Any
    ) -> AsyncGenerator[Intake]:
        """An intake that recovered, runs, and has walked the drop directory once or is paused."""
        await self.store.open()
        intake = self.intake(store=store, others=others, **changed)
        await intake.recover()
        self._task = task = asyncio.create_task(intake.run())
        try:
            await self.until(
                lambda: task.done() or intake._next_walk_s > 0 or intake.snapshot().state == "paused"  # pyright: ignore[reportPrivateUsage]
            )
            yield intake
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait for something to become so."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                if self._task is not None and self._task.done():
                    await self._task
                await asyncio.sleep(0.01)

    async def accepted(self, *names: str, timeout_s: float = 10.0) -> None:
        """Wait until just these names were accepted, each once, and stand in the store with all their bytes."""
        await self.until(lambda: len(self.ledger.accepted) >= len(names), timeout_s)
        assert sorted(self.ledger.names) == sorted(names)
        for entry in self.ledger.accepted:
            check = await self.store.check(entry.name, entry.digest, entry.unit, entry.size_bytes)
            assert check.error is None

    def dropped(self, rel: str | bytes, data: bytes = b"data") -> Path:
        """Write a file in the drop directory, making directories."""
        path = self.drop / os.fsdecode(rel)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def rejected(self) -> dict[str, str]:
        """What stands in ``.rejected`` (path below its own directory), and the reason beside it."""
        found: dict[str, str] = {}
        for place in (self.drop / ".rejected").iterdir():
            reasons = [text for text in place.iterdir() if text.name in {"REASON.txt", "_REASON.txt"}]
            reason = max(reasons, key=lambda text: len(text.name))
            for path in place.rglob("*"):
                if path != reason and (path.is_symlink() or not path.is_dir()):
                    found[str(path.relative_to(place))] = reason.read_text()
        return found

    def claimed(self) -> list[Path]:
        """What still stands in ``.claimed``."""
        walk = os.walk(self.drop / ".claimed")  # unlike rglob it bears that directories vanish meanwhile
        return [Path(here) / name for here, directories, files in walk for name in (*directories, *files)]

    def in_store(self) -> list[str]:
        """Names of single files in the store."""
        return sorted(
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if path.is_file() and ".librarian" not in path.parts
        )
