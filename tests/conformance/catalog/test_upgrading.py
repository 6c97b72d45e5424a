"""A catalog that an earlier version wrote opens, is folded anew, and is audited clean.

``schema-0005.sql.zst`` is the dump of a catalog of before keys ended at segments. The archive, whose it is, went over
to another key, and the campus was revoked with a cut-off that its later entries lie beyond.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import zstandard
from sqlalchemy import Connection
from tests.conformance.catalog.running import opened, running
from tests.conformance.catalog.shared import shared

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import record, refold, segments, standings
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.upgrade import upgrade
from librarian_daemon.journal import audit
from librarian_daemon.journal.verify import verify_journal
from librarian_daemon.runtime.clock import SystemClock
from librarian_protocol.entries import FileIngested
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.segments import decode, entries_of

GOLDEN = Path(__file__).parents[2] / "golden" / "catalogs" / "schema-0005.sql.zst"
SITE = SiteName("archive")


def _journalled(connection: Connection) -> dict[str, int | None]:
    """The time of each file, as the record says it."""
    rows = record.in_order(connection, schema.journal.c.kind == "file.ingested", schema.journal.c.state == "applied")
    entries = [entry for row in rows for entry in entries_of(decode(decompress(row.payload))) or ()]
    return {str(entry.name): entry.mtime_ns or None for entry in entries if isinstance(entry, FileIngested)}


async def test_a_catalog_of_before_keys_ended_at_segments_opens_and_audits_clean(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as made:
        made.executescript(zstandard.ZstdDecompressor().decompress(GOLDEN.read_bytes()).decode())
    async with opened(f"sqlite:///{tmp_path}/catalog.sqlite") as database:
        await database.write(upgrade)
        members = await database.read(known_members)
        assert members[SITE].key == members[SITE].keys[1][1], "it is known at once which key it went over to"
        before = await database.read(shared)
        catalog = Catalog(database, SystemClock(), SiteKey(bytes(32)))
        await catalog.begin(await database.read(segments.next_position, SITE, 99, "0" * 16))
        async with running(catalog):
            await catalog.write(segments.apply_upgraded)
            await catalog.write(refold.refold_origins)
            assert await catalog.write(refold.make_again) == ["admitted", "subscription"]
            after = await database.read(shared)
            mtimes = {row["name"]: row.pop("mtime_ns") for row in after["file"]}
            assert [row.pop("mtime_ns") for row in before["file"]] == [None] * len(mtimes), "nobody kept it"
            assert before.pop("admitted") == [], "nobody kept it"
            assert {row["site"] for row in after.pop("admitted")} == set(members)
            assert after == before, "nobody had been fooled"
            journalled = await database.read(_journalled)
            assert mtimes == dict.fromkeys(mtimes) | journalled, "what was passed over is applied again"
            assert await database.read(standings.left_out, SiteName("campus")) == (1, 5)
            for site in members:
                assert (await verify_journal(catalog, site, None)).problems == []
            report = await audit.audit(database, SITE, f"sqlite:///{tmp_path}/aside.sqlite", lambda _: None)
            assert (report.ok, report.problems) == (True, [])
