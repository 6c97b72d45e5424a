"""One seed: a plan of faults, a run with them, a run without them in which everything must arrive, and the checks."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, bindparam, select
from tests.simulation.giving_up import required
from tests.simulation.loop import Stuck, new_loop
from tests.simulation.network import Stream
from tests.simulation.revocation import Revocation
from tests.simulation.robbery import Robbery
from tests.simulation.rot import Rot
from tests.simulation.site import SimSite
from tests.simulation.stores import SimDisk
from tests.simulation.world import World

from librarian_daemon.catalog import eviction_rows as rows
from librarian_daemon.catalog import schema
from librarian_daemon.catalog.journal import quarantine, state_digest
from librarian_daemon.ports.store_capabilities import InTrash
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.names import Name, SiteName

#: What a crash is placed at: operations of these kinds, and how often each happens in a run, about.
KINDS = {
    "commit": 200,
    "committed": 200,
    "stage": 60,
    "write": 60,
    "seal": 60,
    "place": 60,
    "placed": 60,
    "publish": 60,
    "published": 60,
    "read": 100,
    "fetch": 40,
    "claim": 20,
    "head": 2,
    "recover": 2,
}
#: Likewise, where sites give up what they have.
TRASH_KINDS = {"listed": 4, "trash": 10, "trashed": 10, "bring back": 4, "brought back": 4, "empty": 6, "emptied": 6}
#: In how many of the seeds they do.
EVICTING = 0.3
FAULTY_S = 60.0
#: More than the longest pause before a transfer is tried again.
QUIET_S = 900.0
#: After so long a run, its stores have witnessed the journal's end.
WITNESSED_S = 2.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is going to happen; printed where a seed fails."""

    seed: int
    sites: int
    files: int
    crashes: list[tuple[int, str, int]]
    cuts: list[tuple[float, float, int, int]]
    freezes: list[tuple[float, float, int]]
    bus: list[tuple[float, int, str]]
    full: list[tuple[float, float, int]]
    #: A copy of a catalog is taken, and later put in its place.
    restores: list[tuple[float, float, int]]
    #: Files of which another site drops other bytes under the same name, and how many sites further that is.
    twins: list[tuple[int, int]]
    #: The site whose key is stolen when all is done; and whether it is revoked then, or tells two stories.
    robbed: int | None
    revoked: bool = False
    #: Every site wants to give up what it has; and crashes of that.
    evicts: bool = False
    giving_up: list[tuple[int, str, int]] = []
    #: When files of a site rot, and how many.
    rot: list[tuple[float, int, int]] = []


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How it went."""

    seed: int
    violations: list[str]
    trace: str
    steps: int
    virtual_s: float
    faults: dict[str, int]
    checks: dict[str, int]
    last: list[str]


def plan(seed: int, sites: int, files: int) -> Plan:
    """Expand a seed."""
    chance = random.Random(seed)
    backups, twins, thief, rot, giving = (
        random.Random(f"{seed} {what}") for what in ("backups", "twins", "thief", "rot", "giving up")
    )
    kinds = sorted(KINDS)

    def site() -> int:
        return chance.randrange(sites)

    def two() -> tuple[int, int]:
        first, other = chance.sample(range(sites), 2)
        return first, other

    def span(longest_s: float) -> tuple[float, float]:
        begin = chance.uniform(5, FAULTY_S)
        return begin, begin + chance.uniform(1, longest_s)

    evicts = giving.random() < EVICTING
    robbed = thief.randrange(sites) if sites > 2 and thief.random() < 0.4 else None
    return Plan(
        seed=seed,
        sites=sites,
        files=files,
        crashes=[
            (site(), kind, 1 + int(chance.random() * KINDS[kind])) for kind in (chance.choice(kinds) for _ in range(6))
        ],
        cuts=[(*span(30), *two()) for _ in range(chance.randrange(4))],
        freezes=[(*span(20), site()) for _ in range(chance.randrange(2))],
        bus=[
            (chance.uniform(10, FAULTY_S), site(), chance.choice(["purge", "forget", "lose-last"]))
            for _ in range(chance.randrange(3))
        ],
        full=[(*span(20), site()) for _ in range(chance.randrange(2))],
        restores=[
            (taken_s, taken_s + backups.uniform(2, 40), backups.randrange(sites))
            for taken_s in [backups.uniform(8, FAULTY_S)]
            if backups.random() < 0.4
        ],
        twins=[(twins.randrange(files), twins.randrange(1, sites)) for _ in range(twins.choice([0, 0, 1, 3]))],
        robbed=robbed,
        revoked=bool(robbed) and thief.random() < 0.5,
        evicts=evicts,
        giving_up=[
            (giving.randrange(sites), kind, 1 + int(giving.random() * TRASH_KINDS[kind]))
            for kind in (giving.choice(sorted(TRASH_KINDS)) for _ in range(4 if evicts else 0))
        ],
        rot=[
            (rot.uniform(15, FAULTY_S + 10), rot.randrange(sites), rot.choice([1, 1, 2, 5]))
            for _ in range(rot.choice([0, 1, 1, 2]))
        ],
    )


class Run:
    """One seed."""

    def __init__(self, wanted: Plan) -> None:
        self.plan = wanted
        self.loop = new_loop(wanted.seed)
        names = [SiteName(f"s{number}") for number in range(wanted.sites)]
        self.world = World(self.loop, names)
        self.world.streams = {name: Stream(self.world) for name in names}
        self.world.stores = {name: SimDisk(self.world, name) for name in names}
        self.world.evicts = wanted.evicts
        for site, kind, number in [*wanted.crashes, *wanted.giving_up]:
            self.world.crashes.setdefault((names[site], kind), []).append(number)
        for numbers in self.world.crashes.values():
            numbers.sort()
        self.checks: Counter[str] = Counter()
        self.sites: dict[SiteName, SimSite] = {}
        #: How many catalogs are still to be put back.
        self.to_restore = len(wanted.restores)
        #: From when on it is the attacker's.
        self.robbed: SiteName | None = None

    def start(self, scrub_every: str = "1m") -> None:
        """All sites, with nothing dropped."""
        _silence()
        self.world.crashed = asyncio.Queue()
        self.sites = {name: SimSite(self.world, name) for name in self.world.names}
        self.rot = Rot(self.world, self.sites, {_name_of(number) for number, _ in self.plan.twins})
        for site in self.sites.values():
            site.scrub_every = scrub_every
            site.disk.before_reading = partial(self.rot.check_frozen, site)
            site.start()

    def run(self) -> Result:
        """All of it."""
        world = self.world
        self.start()
        try:
            for work in (self._restarting(), self._dropping(), *self._playing()):
                self.loop.spawn(work, None)
            self.loop.run_until(lambda: False, FAULTY_S + 10)
            if not self.loop.trouble:
                self._quiet()
                self.loop.run_until(self.complete, self.loop.now_s + QUIET_S)
            if not self.loop.trouble:
                self._check_end()
            if not self.loop.trouble and self.plan.robbed is not None:
                self._rob(world.names[self.plan.robbed])
        except Stuck as exc:
            world.violated(f"stuck: {exc}")
        return Result(
            seed=self.plan.seed,
            violations=self.loop.trouble,
            trace=world.trace.digest,
            steps=self.loop.steps,
            virtual_s=round(self.loop.now_s, 1),
            faults=dict(world.counts),
            checks=dict(self.checks),
            last=list(world.trace.last)[-50:] if self.loop.trouble else [],
        )

    # ---- what happens to the sites -----------------------------------------------------------------------

    async def _restarting(self) -> None:
        while True:
            site, _ = await self.world.crashed.get()
            if site == self.robbed:
                continue
            self._check_site(self.sites[site])
            await asyncio.sleep(self.world.chance.uniform(0.2, 10))
            self.sites[site].start()

    async def _dropping(self) -> None:
        chance = self.world.chance
        for number in range(self.plan.files):
            await asyncio.sleep(chance.random() * 1.4 * FAULTY_S / self.plan.files)
            names = self.world.names
            name, site = _name_of(number), chance.choice(names)
            self.sites[site].dropped[name] = chance.randbytes(chance.randrange(0, 400))
            for _, further in [twin for twin in self.plan.twins if twin[0] == number]:
                self.world.counts["other bytes under one name"] += 1
                self.sites[names[(names.index(site) + further) % len(names)]].dropped[name] = chance.randbytes(401)

    def _playing(self) -> list[Coroutine[Any, Any, None]]:
        world, names = self.world, self.world.names

        async def cut(begin_s: float, end_s: float, first: int, other: int) -> None:
            await asyncio.sleep(begin_s)
            world.counts["link cut"] += 1
            world.cuts.add(frozenset((names[first], names[other])))
            await asyncio.sleep(end_s - begin_s)
            world.cuts.discard(frozenset((names[first], names[other])))

        async def freeze(begin_s: float, end_s: float, site: int) -> None:
            await asyncio.sleep(begin_s)
            world.counts["site frozen"] += 1
            self.sites[names[site]].process.frozen_until_s = end_s

        async def bus(at_s: float, site: int, what: str) -> None:
            await asyncio.sleep(at_s)
            world.counts[f"bus: {what}"] += 1
            stream = world.streams[names[site]]
            match what:
                case "purge":
                    stream.purge()
                case "forget":
                    stream.forget()
                case _:
                    stream.lose_last(5)

        async def full(begin_s: float, end_s: float, site: int) -> None:
            await asyncio.sleep(begin_s)
            world.counts["store full"] += 1
            world.stores[names[site]].full = True
            await asyncio.sleep(end_s - begin_s)
            world.stores[names[site]].full = False

        async def restore(taken_s: float, at_s: float, number: int) -> None:
            site = self.sites[names[number]]
            await asyncio.sleep(taken_s)
            image = site.database.backup()
            await asyncio.sleep(at_s - taken_s)
            # What was said in the last second before a death, stores did not witness: ADR 0012 names that limit.
            while site.process.dead or self.loop.now_s - site.running_since_s < WITNESSED_S:
                await asyncio.sleep(1)
            world.counts["catalog restored from a backup"] += 1
            world.end(site.site, site.process, "restore")
            site.database.restore(image)
            site.restored = True
            self.to_restore -= 1

        async def rot(at_s: float, site: int, most: int) -> None:
            await asyncio.sleep(at_s)
            self.rot.strike(names[site], most)

        plan = self.plan
        return [
            *(rot(*struck) for struck in plan.rot),
            *(restore(*restored) for restored in plan.restores),
            *(cut(*link) for link in plan.cuts),
            *(freeze(*frozen) for frozen in plan.freezes),
            *(bus(*stopped) for stopped in plan.bus),
            *(full(*filled) for filled in plan.full),
        ]

    def _quiet(self) -> None:
        """From here on nothing fails, and everything must arrive."""
        self.world.faults = False
        self.world.cuts.clear()
        for site in self.sites.values():
            site.process.frozen_until_s = 0.0

    def complete(self) -> bool:
        """Everything that was dropped stands everywhere, and everybody knows; looked at now and then.

        Not before the last planned fault: a catalog that is put back later may be that of the only honest witness.
        """
        if self.loop.steps % 500 or any(site.dropped for site in self.sites.values()):
            return False
        if self.to_restore or self.rot.left():
            return False
        plain = {name for name, meanings in self._accepted().items() if len(meanings) == 1}
        for site in self.sites.values():
            if not plain - self._removed(site) <= site.disk.volume.named.keys():
                return False
            if site.database.inline(quarantine.state) is not None or site.database.inline(_gives_up, site.store.id):
                return False
            told = Counter(row.name for row in site.database.outside.execute(_HAD).all())
            if any(told[name] < len(self.sites) for name in plain):
                return False
        return self._agreed(list(self.sites.values()))

    @staticmethod
    def _agreed(sites: Sequence[SimSite]) -> bool:
        """Their catalogs are equal."""
        return len({tuple(map(str, site.database.inline(state_digest.digests))) for site in sites}) == 1

    def _accepted(self) -> dict[str, set[bytes]]:
        """What was accepted under each name: of twins that were dropped at one time, two."""
        found: dict[str, set[bytes]] = {}
        for site in self.sites.values():
            for name, data in site.accepted.items():
                found.setdefault(name, set()).add(data)
        return found

    @staticmethod
    def _removed(site: SimSite) -> set[str]:
        """Names of what a site gave up."""
        return {row.name for row in site.database.outside.execute(_REMOVED, {"site": str(site.site)}).all()}

    def _rob(self, site: SiteName) -> None:
        """When all is done, a site falls into an attacker's hands."""
        self.robbed = site
        robbery = (Revocation if self.plan.revoked else Robbery)(self.world, self.sites, site)
        robbery.commit()
        self.loop.run_until(
            lambda: self.loop.steps % 500 == 0 and robbery.seen() and self._agreed(robbery.honest),
            self.loop.now_s + QUIET_S,
        )
        self.checks["I6 nobody speaks for another"] += len(robbery.honest)
        robbery.check()
        for honest in robbery.honest:
            self._check_site(honest)
        self._check_equal(robbery.honest)

    # ---- checks ------------------------------------------------------------------------------------------

    def _check_site(self, site: SimSite) -> None:
        """After a death: what was accepted is there, and what the catalog claims of this site is so."""
        for name, data in site.accepted.items():
            self.checks["I1 accepted is there"] += 1
            if self.rot.is_bad(site.site, name):
                continue
            if site.disk.holds(name) != data and not self._is_given_up(site, name, data):
                self.world.violated(f"I1: {site.site} lost {name}, which it had accepted")
        file, instance = schema.file.c, schema.instance.c
        query = (
            select(file.name, file.digest)
            .join(schema.instance, instance.file_id == file.id)
            .where(instance.site == str(site.site), instance.state == "available")
        )
        for name, digest in site.database.outside.execute(query).all():
            self.checks["I2 claimed is so"] += 1
            standing = site.disk.holds(name)
            if self.rot.is_bad(site.site, name):
                continue
            if site.restored and self.world.evicts and standing is None:
                continue  # it was given up after the backup; names are compared before the quarantine ends
            if standing is None and name in site.disk.rotted_s and site.database.inline(_is_away, name, digest):
                continue  # it rotted before it went to trash, or there: it is read before it is put back, or gone
            if standing is None and site.disk.is_good_in_trash(_file(name, digest)):
                if site.database.inline(_is_away, name, digest) or site.restored:
                    continue
                self.world.violated(f"I2: {site.site} claims {name} {digest}, which stands in trash")
            if standing is None or Digest.blake3(standing) != digest:
                self.world.violated(f"I2: {site.site} claims {name} {digest}, and it is not there")

    def _is_given_up(self, site: SimSite, name: str, data: bytes) -> bool:
        """Whether what a site does not have at the name is in its trash, or enough others have it."""
        file = _file(name, str(Digest.blake3(data)))
        if not self.world.evicts:
            return False
        others = [other.disk for other in self.sites.values() if other is not site]
        good = sum(disk.is_good_at_name(file) or disk.is_good_in_trash(file) for disk in others)
        good += sum(self.rot.is_bad(other.site, name) for other in self.sites.values() if other is not site)
        self.checks["I3 given up, and enough are left"] += 1
        return site.disk.is_good_in_trash(file) or good >= required(len(self.sites))

    def _check_journals(self) -> None:
        """No number of an incarnation was ever used twice, at any site's record."""
        seen: dict[tuple[str, str, int], str] = {}
        journal = schema.journal.c
        for holder in self.sites.values():
            query = select(journal.site, journal.incarnation, journal.first_seq, journal.hash)
            for site, incarnation, seq, found in holder.database.outside.execute(query).all():
                self.checks["I5 numbers used once"] += 1
                if seen.setdefault((site, incarnation, seq), found) != found:
                    self.world.violated(f"I5: {site} used number {seq} of {incarnation} twice")

    def _check_end(self) -> None:
        for site in self.sites.values():
            self._check_site(site)
        self._check_journals()
        self.checks["I2 what rotted was mended"] += 1
        if left := self.rot.left():
            self.world.violated(f"I2: not mended: {left}")
        accepted = self._accepted()
        conflicts = sorted(name for name, meanings in accepted.items() if len(meanings) > 1)
        dropped = {str(site.site): sorted(site.dropped) for site in self.sites.values() if site.dropped}
        if dropped:
            self.world.violated(f"I10: still dropped, and not taken in: {dropped}")
        for site in self.sites.values():
            missing = sorted(set(accepted) - set(conflicts) - set(site.disk.volume.named) - self._removed(site))
            self.checks["I10 everything arrived"] += len(accepted)
            if missing:
                self.world.violated(f"I10: {site.site} never got {missing[:5]}")
            self.checks["I8 a name has one meaning, or is in conflict"] += len(accepted)
            shown = [row.name for row in site.database.outside.execute(_CONFLICTS).all()]
            if shown != conflicts:
                self.world.violated(f"I8: {site.site} shows {shown} in conflict, and {conflicts} are")
        for site in self.sites.values():
            self._check_trash(site)
            self.checks["I11 quarantine has ended"] += 1
            if (known := site.database.inline(quarantine.state)) is not None:
                waits = site.database.inline(quarantine.waits_for, site.site)
                self.world.violated(f"I11: {site.site} is still in quarantine: {known.reasons}, waits: {waits}")
        self._check_equal(list(self.sites.values()))

    def _check_trash(self, site: SimSite) -> None:
        """At the end: what was given up does not stand at its name, and nothing is forgotten in trash."""
        self.checks["I2 given up is gone"] += 1
        if standing := sorted(self._removed(site) & site.disk.volume.named.keys()):
            self.world.violated(f"I2: {site.site} says that it gave up {standing[:5]}, and has it at its name")
        if left := site.disk.in_trash():
            self.world.violated(f"I16: {site.site} has {left[:5]} in trash, and no row tells of it")

    def _check_equal(self, sites: Sequence[SimSite]) -> None:
        self.checks["I4 catalogs are equal"] += 1
        if not self._agreed(sites):
            self.world.violated(f"I4: the shared tables differ between the sites: {self._differences(sites)}")

    @staticmethod
    def _differences(sites: Sequence[SimSite]) -> dict[str, list[str]]:
        """By table, rows that not all have."""
        found: dict[str, list[str]] = {}
        for table in state_digest.TABLES:
            rows: dict[str, set[bytes]] = {str(site.site): set(site.database.inline(_rows, table)) for site in sites}
            every = {row for held in rows.values() for row in held}
            odd = sorted(row for row in every if not all(row in held for held in rows.values()))
            if odd:
                found[table] = [f"{[site for site in rows if row in rows[site]]} {row.decode()}" for row in odd[:4]]
        return found


_HAD = (
    select(schema.file.c.name)
    .join(schema.instance, schema.instance.c.file_id == schema.file.c.id)
    .where(schema.instance.c.state.in_(["available", "removed"]))
)
_REMOVED = (
    select(schema.file.c.name)
    .join(schema.instance, schema.instance.c.file_id == schema.file.c.id)
    .where(schema.instance.c.state == "removed", schema.instance.c.site == bindparam("site"))
)
_CONFLICTS = select(schema.conflict.c.name).order_by(schema.conflict.c.name)


def _is_away(connection: Connection, name: str, digest: str) -> bool:
    """Whether a row says that the bytes are given up."""
    return any(str(one.digest) == digest and one.away for one in rows.named(connection, Name(name)))


def _gives_up(connection: Connection, store: str) -> bool:
    """Whether anything is under way of giving up."""
    under_way = [kept for kept in rows.Kept if kept is not rows.Kept.SINCE]
    return bool(rows.in_stage(connection, store, under_way, 1))


def _name_of(number: int) -> str:
    return f"d{number % 5}/f{number:04}"


def _file(name: str, digest: str) -> InTrash:
    return InTrash(number=0, name=Name(name), digest=Digest(digest), unit=Unit.FILE, size_bytes=0)


def _rows(connection: Connection, table: str) -> list[bytes]:
    return list(state_digest.rows(connection, table))


def _silence() -> None:
    """Nothing is logged."""
    structlog.configure(
        processors=[_silent], wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=False
    )


def _silent(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent


def simulate(seed: int, sites: int, files: int) -> Result:
    """One seed."""
    return Run(plan(seed, sites, files)).run()
