"""Commits of 500 files by the catalog's own code, in a process of its own: what they cost it, and what it uses.

    python -m benchmarks.bench.commits WORK URL --first N --files N [--folder NAME] [--store ID] [--site NAME]

Journal entries are made, signed, chained and applied as intake has them; no bytes stand behind them. Names are random.
WORK is ``fill`` (40 commits in one transaction), ``commit`` (each for itself, timed) or ``find`` (names are looked up
in batches of 500, timed). Prints one object of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.bench.measure import percentile

from librarian_daemon.catalog import landings
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import open_database
from librarian_daemon.catalog.journal import segments
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upgrade import upgrade
from librarian_daemon.runtime.clock import SystemClock, SystemRng
from librarian_daemon.runtime.machine import load_key
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested, Unit
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import Name, SiteName

PER_COMMIT = 500
#: Commits in one transaction while a catalog is filled.
TOGETHER = 40
#: Where nobody asks whose store it is.
STORE = "ab" * 16


def entry(number: int, folder: str, store: str) -> FileIngested:
    """A file with a name of usual length, which sorts anywhere among the others."""
    digest = Digest.blake3(number.to_bytes(16, "big"))
    where, what = digest.hex[:4], digest.hex[4:30]
    return FileIngested(
        name=Name.parse(f"{folder}/{where[:2]}/{where[2:]}/obs_{what}_{number:09}.g3"),
        digest=digest,
        size_bytes=4096,
        unit=Unit.FILE,
        store=store,
        mtime_ns=1_700_000_000_000_000_000 + number,
    )


def batches(first: int, files: int, folder: str, store: str = STORE) -> list[list[FileIngested]]:
    """Of 500 each, but the last."""
    ends = range(first, first + files, PER_COMMIT)
    return [[entry(number, folder, store) for number in range(at, min(at + PER_COMMIT, first + files))] for at in ends]


def say(tx: Tx, entries: Sequence[FileIngested]) -> None:
    """One unit of work."""
    tx.append(*entries)


@asynccontextmanager
async def catalog_at(url: str, site: SiteName, key: SiteKey) -> AsyncGenerator[Catalog]:
    """A catalog with a new incarnation, its committer running."""
    database = open_database(url)
    try:
        await database.write(upgrade)
        catalog = Catalog(database, SystemClock(), key)
        epoch = 1 + await catalog.read(segments.greatest_epoch)
        await catalog.begin(await catalog.read(segments.next_position, site, epoch, SystemRng().hex(16)))
        committer = asyncio.create_task(catalog.run())
        try:
            yield catalog
        finally:
            committer.cancel()
            await asyncio.wait({committer})
    finally:
        await database.close()


async def fill(catalog: Catalog, first: int, files: int, folder: str, store: str) -> dict[str, float]:
    """Many commits at once: what is measured comes afterwards."""
    step = PER_COMMIT * TOGETHER
    for at in range(first, first + files, step):
        units = batches(at, min(step, first + files - at), folder, store)
        await asyncio.gather(*(catalog.write(say, unit) for unit in units))
    return {}


async def commit(catalog: Catalog, first: int, files: int, folder: str, store: str) -> dict[str, float]:
    """One after another; the first one, which also fills caches, is not timed."""
    units = batches(first, files + PER_COMMIT, folder, store)
    await catalog.write(say, units[0])
    each_ms: list[float] = []
    before, began = time.process_time(), time.monotonic()
    for unit in units[1:]:
        at = time.monotonic()
        await catalog.write(say, unit)
        each_ms.append((time.monotonic() - at) * 1e3)
    return {
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - before,
        "p50 ms": percentile(each_ms, 50),
        "p99 ms": percentile(each_ms, 99),
    }


async def find(catalog: Catalog, first: int, files: int, folder: str, store: str) -> dict[str, float]:
    """Look up names that are there, in no order, as intake does before it ingests."""
    units = [[(one.name, one.digest) for one in unit] for unit in batches(first, files, folder, store)]
    await catalog.read(landings.standing, store, units[0])
    before, began = time.process_time(), time.monotonic()
    for unit in units[1:]:
        await catalog.read(landings.standing, store, unit)
    return {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - before}


WORK = {"fill": fill, "commit": commit, "find": find}


def io_bytes() -> dict[str, float]:
    """What this process has had the kernel read and write, cached or not."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return {"read": float(lines["rchar"]), "written": float(lines["wchar"])}


async def work(asked: argparse.Namespace) -> dict[str, float]:
    """Do it; the figures."""
    key = load_key(asked.key) if asked.key else SiteKey(bytes(32))
    async with catalog_at(asked.url, SiteName.parse(asked.site), key) as catalog:
        before = io_bytes()
        found = await WORK[asked.work](catalog, asked.first, asked.files, asked.folder, asked.store)
        moved = {name: size - before[name] for name, size in io_bytes().items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found | {"peak_bytes": peak, "read_bytes": moved["read"], "written_bytes": moved["written"]}


def main() -> None:
    """Parse, work, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=WORK)
    parser.add_argument("url")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--files", type=int, required=True)
    parser.add_argument("--folder", default="kept")
    parser.add_argument("--store", default=STORE)
    parser.add_argument("--site", default="summit")
    parser.add_argument("--key", type=Path)
    sys.stdout.write(json.dumps(asyncio.run(work(parser.parse_args()))) + "\n")


if __name__ == "__main__":
    main()
