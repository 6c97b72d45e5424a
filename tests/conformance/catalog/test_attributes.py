"""What is kept of files beside their bytes: whose word counts, and that it does not matter when it comes."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from sqlalchemy import update
from tests.conformance.catalog.peers import NAME, Peer, facts, ingested, registered
from tests.conformance.catalog.running import SITE, admit, count, receive, rows, say
from tests.conformance.catalog.shared import shared

from librarian_daemon.catalog import attributes, landings, schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import record, refold, segments
from librarian_daemon.catalog.meta import put_meta
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.ports.store import Landing
from librarian_protocol.attributes import Attributes
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileAttributed, FileEntry, Unit

OWN = Peer(SITE)
LIST = Digest.blake3(b"list")


def _attributed(name: str = NAME, content: str = "", *, executable: bool = True) -> FileAttributed:
    return FileAttributed(**facts(name, content), executable=executable)


async def _of(catalog: Catalog, name: str = NAME) -> Attributes:
    (row,) = await catalog.read(rows, schema.file, schema.file.c.name == name)
    return await catalog.read(attributes.of_file, row.id)


@pytest.fixture
async def peers(catalog: Catalog) -> tuple[Peer, Peer]:
    """The site that ingests, and another one that does not."""
    both = Peer("summit"), Peer("campus")
    await admit(catalog, *both)
    return both


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::4])
async def test_the_word_of_the_site_that_ingested_counts_whenever_it_comes(
    catalog: Catalog, peers: tuple[Peer, Peer], order: tuple[int, ...]
) -> None:
    """Before the ingest and instances, or after them; what another site says counts nowhere."""
    summit, campus = peers
    said = [
        summit.say(_attributed()),
        summit.say(ingested(summit.store, mtime_ns=5)),
        campus.say(_attributed(executable=False)),
        campus.say(registered(campus.store)),
    ]
    for number in order:
        await receive(catalog, *said[number])
    assert await _of(catalog) == Attributes(mtime_ns=5, executable=True)


async def test_what_a_site_says_that_ingested_nothing_counts_nowhere(
    catalog: Catalog, peers: tuple[Peer, Peer]
) -> None:
    summit, campus = peers
    await receive(catalog, *campus.say(_attributed()), *campus.say(registered(campus.store)))
    assert await _of(catalog) == Attributes()
    await receive(catalog, *summit.say(ingested(summit.store, mtime_ns=5)))
    assert await _of(catalog) == Attributes(mtime_ns=5)
    assert await catalog.read(attributes.of_file, 4711) == Attributes()


async def test_of_two_words_of_one_site_the_later_counts(catalog: Catalog, peers: tuple[Peer, Peer]) -> None:
    summit, _ = peers
    said = [*summit.say(ingested(summit.store)), *summit.say(_attributed()), *summit.say(_attributed(executable=False))]
    await receive(catalog, *said, said[1])
    assert await _of(catalog) == Attributes()


async def test_nobody_speaks_of_names_outside_his_grants(catalog: Catalog) -> None:
    peer = Peer("summit")
    await admit(catalog, peer, grants=("obs/**",))
    await receive(catalog, *peer.say(_attributed()))
    assert await catalog.read(count, schema.attribute) == 0


async def test_refolding_gives_the_same_and_forgets_who_is_not_believed(
    catalog: Catalog, peers: tuple[Peer, Peer]
) -> None:
    summit, campus = peers
    await receive(catalog, *summit.say(_attributed()), *summit.say(ingested(summit.store, mtime_ns=5)))
    await receive(catalog, *campus.say(_attributed("raw/only-mentioned")))
    before = await catalog.read(shared)
    for site in (summit.site, campus.site):
        await catalog.write(refold.refold, site)
        assert await catalog.read(shared) == before


async def test_the_times_of_ingests_that_were_applied_before_are_filled_in(
    catalog: Catalog, peers: tuple[Peer, Peer]
) -> None:
    """As after the migration that added their column."""
    summit, _ = peers
    await receive(catalog, *summit.say(ingested(summit.store, mtime_ns=5)))
    await say(catalog, ingested(OWN.store, "raw/own", mtime_ns=7))
    before = await catalog.read(shared)

    def as_it_was(tx: Tx) -> None:
        tx.connection.execute(update(schema.file).values(mtime_ns=None))
        put_meta(tx.connection, refold.ORIGINS, "found anew")

    await catalog.write(as_it_was)
    assert await catalog.read(shared) != before
    assert await catalog.write(refold.refold_origins)
    assert await catalog.read(shared) == before


async def test_a_kind_of_a_later_version_is_applied_after_the_upgrade(
    catalog: Catalog, peers: tuple[Peer, Peer]
) -> None:
    """As a site has it that received the kind before it knew it: raw, in its place in the chain."""
    summit, _ = peers
    await receive(catalog, *summit.say(_attributed()), *summit.say(ingested(summit.store, mtime_ns=5)))
    before = await catalog.read(shared)

    def as_it_was(tx: Tx) -> None:
        tx.connection.execute(schema.attribute.delete())
        tx.connection.execute(
            update(schema.journal).where(schema.journal.c.kind == "file.attributed").values(state="unknown")
        )

    await catalog.write(as_it_was)
    assert await _of(catalog) == Attributes(mtime_ns=5)
    assert await catalog.write(segments.apply_unknown) == 1
    assert await catalog.read(shared) == before


def _landing(entry: FileEntry, kept: Attributes, unit: Unit = Unit.FILE) -> Landing:
    return Landing(
        id="l1",
        store=OWN.store,
        root="/drop",
        rel="x",
        name=entry.name,
        digest=entry.digest,
        size_bytes=entry.size_bytes,
        unit=unit,
        entry=entry,
        attributes=kept,
        list_rel="l1-attributes" if kept.list else "",
    )


@pytest.mark.parametrize(
    ("kept", "kinds"),
    [
        (Attributes(mtime_ns=5), ["file.ingested"]),
        (Attributes(mtime_ns=5, executable=True), ["file.attributed", "file.ingested"]),
        (Attributes(list=LIST), ["file.attributed", "file.ingested"]),
    ],
)
async def test_a_landing_says_what_is_to_be_kept_before_the_ingest(
    catalog: Catalog, kept: Attributes, kinds: list[str]
) -> None:
    """So whoever fetches the file knows it; and it is said again after a crash, since the row has it."""
    landing = _landing(ingested(OWN.store, mtime_ns=5), kept)
    await catalog.write(landings.begin, [landing])
    assert await catalog.read(landings.unfinished, OWN.store) == [landing]
    await catalog.write(landings.finish, await catalog.read(landings.unfinished, OWN.store))
    assert [row.kind for row in await catalog.read(record.chain, SITE, (0, 0))] == kinds
    assert await _of(catalog) == msgspec.structs.replace(kept, mtime_ns=5)


async def test_who_fetches_or_finds_a_file_says_nothing_of_it(catalog: Catalog, peers: tuple[Peer, Peer]) -> None:
    summit, _ = peers
    await receive(catalog, *summit.say(ingested(summit.store, mtime_ns=5)))
    for entry in (registered(OWN.store), ingested(OWN.store, mtime_ns=9)):
        landing = _landing(entry, Attributes(mtime_ns=9, executable=True))
        await catalog.write(landings.begin, [landing])
        await catalog.write(landings.finish, [landing])
    assert await catalog.read(count, schema.attribute) == 0
    assert await _of(catalog) == Attributes(mtime_ns=5)
