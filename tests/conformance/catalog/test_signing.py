"""What a wrong key signed is signed again, the same segments under the same hashes, and nothing else is."""

from __future__ import annotations

from sqlalchemy import update
from tests.conformance.catalog.peers import ingested, key_of, store_of
from tests.conformance.catalog.running import SITE, rows, running, say

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.mesh.own_key import known_of
from librarian_daemon.catalog.payloads import compress
from librarian_daemon.journal.signing import ReSigner
from librarian_daemon.journal.verify import verify_journal
from librarian_protocol.keys import SiteKey
from librarian_protocol.own_key import Fit, fit

STORE = store_of(SITE)
WRONG = SiteKey(b"\x07" * 32)


async def test_what_a_wrong_key_signed_is_signed_again(catalog: Catalog, database: Database) -> None:
    async with running(catalog):
        await say(catalog, ingested(STORE, "raw/1"))
        catalog.use_key(WRONG)
        await say(catalog, ingested(STORE, "raw/2"))
        await say(catalog, ingested(STORE, "raw/3"))
        catalog.use_key(key_of(SITE))
        await say(catalog, ingested(STORE, "raw/4"))
        before = await database.read(rows, schema.journal)
        assert (await verify_journal(catalog, SITE, key_of(SITE).public)).problems != []
        signing = ReSigner(catalog, SITE, key_of(SITE))
        assert await signing.look() == 2
        assert await signing.look() == 0
        after = await database.read(rows, schema.journal)
    assert [(row.hash, row.payload) for row in before] == [(row.hash, row.payload) for row in after]
    changed = [old.signature != new.signature for old, new in zip(before, after, strict=True)]
    assert changed == [False, True, True, False]
    assert (await verify_journal(catalog, SITE, key_of(SITE).public)).problems == []


async def test_what_is_damaged_is_not_signed(catalog: Catalog, database: Database) -> None:
    async with running(catalog):
        for number in range(2):
            await say(catalog, ingested(STORE, f"raw/{number}"))
        await database.write(_damage)
        assert await ReSigner(catalog, SITE, key_of(SITE)).look() == 0


def _damage(connection: object) -> None:
    journal = schema.journal
    for position, payload in ((1, b"no zstd"), (2, compress(b"other text"))):
        connection.execute(update(journal).where(journal.c.position == position).values(payload=payload))  # type: ignore[attr-defined]


async def test_a_key_that_is_not_the_rosters_signs_nothing_again(catalog: Catalog) -> None:
    async with running(catalog):
        await say(catalog, ingested(STORE, "raw/1"))
        assert await ReSigner(catalog, SITE, WRONG).look() == 0


async def test_the_catalog_tells_a_wrong_key_from_the_sites(catalog: Catalog, database: Database) -> None:
    """Also a catalog in which no version has noted yet with which key it ran."""
    async with running(catalog):
        await say(catalog, ingested(STORE, "raw/1"))
    right, wrong = key_of(SITE).public, WRONG.public
    assert fit(right, await database.read(known_of, SITE, right)) is Fit.OWN
    assert fit(wrong, await database.read(known_of, SITE, wrong)) is Fit.FOREIGN
