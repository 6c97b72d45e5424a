"""A member of the mesh whose owner is an attacker, with its keys and its place on the bus: what it says of others is
not believed, what it says twice counts once, and whoever listens goes on listening to everybody else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

import msgspec
import pytest
import pytest_asyncio
from tests.support.oracle import digest_of
from tests.support.rogue import Rogue, altered, rogue
from tests.support.sites import Pair, Site, join, pair, sites, wait_for

from librarian_protocol import api, segments
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    Access,
    FileIngested,
    FileWithdrawn,
    InstanceRemoved,
    SiteAdmitted,
    Unit,
)
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import Name, SiteName

# One scene for all but the last: making three sites costs more than the tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")

STORE = "ab" * 16
OTHER_KEY = SiteKey(bytes(range(32)))


def ingested(name: str, data: bytes) -> FileIngested:
    """An entry that says so."""
    return FileIngested(
        name=Name.parse(name), digest=Digest.blake3(data), size_bytes=len(data), unit=Unit.FILE, store=STORE, mtime_ns=0
    )


def _names(site: Site) -> set[str]:
    return {file.name for file in site.client.files().files}


def _heard(site: Site, name: str) -> int:
    return site.told("file.ingested")[name]


def _reads_archive(site: Site) -> bool:
    return any(peer.site == "archive" and peer.link == "up" for peer in site.client.status().peers)


def _stalls(site: Site) -> bool:
    return any(peer.site == "archive" and peer.stalled for peer in site.client.status().peers)


def _knows(site: Site, names: set[str]) -> bool:
    return _names(site) >= names


def _knows_none(site: Site, names: set[str]) -> bool:
    return not _names(site) & names


def _in_conflict(site: Site, name: str) -> bool:
    return name in site.problems().get("conflict", [])


class Scene:
    """The summit, which is honest; the campus, which only watches; the archive, which was taken over."""

    def __init__(self, both: Pair, campus: Site, attacker: Rogue) -> None:
        self.summit = both.source
        self.campus = campus
        self.attacker = attacker
        self._said = 0
        self._seen: dict[tuple[str, str], int] = {}

    @property
    def honest(self) -> tuple[Site, Site]:
        """Who must not be deceived."""
        return self.summit, self.campus

    async def say_something_true(self) -> None:
        """An honest entry of the attacker's site; when it is known everywhere, all before it was read."""
        self._said += 1
        name = f"true-{self._said}-{self.attacker.position.seq}"
        await self.attacker.publish(self.attacker.cut(ingested(name, name.encode())))
        self.known_everywhere(name)

    def known_everywhere(self, name: str) -> None:
        """Wait until all honest sites have heard of a file."""
        for site in self.honest:
            wait_for(f"{site.name} has heard of {name}", partial(_heard, site, name), *self.honest)

    def refused_everywhere(self, code: str, why: str) -> None:
        """Wait until all honest sites show an incident about the archive, counted once more than at the last look."""
        for site in self.honest:
            wait_for(
                f"{site.name} shows {code}: {why}",
                partial(self._shows, site, code, why),
                *self.honest,
            )

    def _shows(self, site: Site, code: str, why: str) -> bool:
        return any(
            (problem.code, problem.subject) == (code, "archive")
            and why in problem.message
            and self._is_news(site, problem)
            for problem in site.client.status().problems
        )

    def _is_news(self, site: Site, problem: api.Problem) -> bool:
        """Whether it was counted since the last look."""
        before = self._seen.get((site.name, problem.code), 0)
        self._seen[site.name, problem.code] = problem.count
        return problem.count > before


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Scene]:
    root = tmp_path_factory.mktemp("rogue")
    with pair(root) as both:
        campus = Site(root / "campus", "campus")
        with sites(campus):
            join(both.source, campus)
            wait_for("the campus knows the archive", lambda: len(campus.client.sites()) == 3, campus, both.source)
            both.source.drop_file("mine.dat", b"the summit's")
            both.source.drop_file("kept.dat", b"the summit's, too")
            both.acknowledged(2)
            for site in (both.source, campus):  # for each reader the archive's own daemon makes a consumer
                wait_for(f"{site.name} reads the archive's stream", partial(_reads_archive, site), site)
            async with rogue(both.destination, both.source.client.status().bus.url) as attacker:
                yield Scene(both, campus, attacker)


async def test_it_cannot_speak_as_another_site(scene: Scene) -> None:
    done = scene.attacker.cut(ingested("forged", b"forged"))[0]
    await scene.attacker.send("file.ingested", altered(done, site="summit"), scene.attacker.key)
    scene.refused_everywhere("message-refused", "summit")
    await scene.say_something_true()
    for site in scene.honest:
        assert not site.told("file.ingested")["forged"]


@pytest.mark.fault(28)
async def test_what_another_key_signed_is_refused(scene: Scene) -> None:
    done = scene.attacker.cut(ingested("forged", b"forged"))[0]
    await scene.attacker.send("file.ingested", done.payload, OTHER_KEY)
    scene.refused_everywhere("message-refused", "signature does not fit")
    await scene.say_something_true()
    for site in scene.honest:
        assert not site.told("file.ingested")["forged"]


async def test_an_entry_under_another_kinds_subject_is_refused(scene: Scene) -> None:
    done = scene.attacker.cut(ingested("forged", b"forged"))[0]
    await scene.attacker.send("instance.removed", done.payload, scene.attacker.key)
    scene.refused_everywhere("message-refused", "was published as")
    await scene.say_something_true()
    for site in scene.honest:
        assert not site.told("file.ingested")["forged"]


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff\xfe", b"[" * 100_000, b'{"v":1}', b'{"v":1e999}', b'{"seq":123456789012345678901234567890}'],
    ids=["empty", "not-utf8", "deep", "no-fields", "infinite", "huge-number"],
)
@pytest.mark.fault(28)
async def test_rubbish_is_refused_and_reading_goes_on(scene: Scene, payload: bytes) -> None:
    await scene.attacker.send("file.ingested", payload, scene.attacker.key)
    await scene.say_something_true()
    scene.refused_everywhere("message-refused", "")


async def test_old_entries_said_again_change_nothing(scene: Scene) -> None:
    first = scene.attacker.cut(ingested("once", b"once"))
    await scene.attacker.publish(first)
    scene.known_everywhere("once")
    before = [site.told("file.ingested") for site in scene.honest]
    for _ in range(3):
        await scene.attacker.send(first[0].segment.kind, first[0].payload, scene.attacker.key)
    await scene.say_something_true()
    for site, told in zip(scene.honest, before, strict=True):
        assert site.told("file.ingested", "archive")["once"] == 1
        assert (site.told("file.ingested") - told).total() == 1, "only the last word is new"
        assert len(site.client.file("once").files) == 1


async def test_entries_out_of_order_wait_for_what_comes_before_them(scene: Scene) -> None:
    first = scene.attacker.cut(ingested("one", b"1"))[0]
    behind = scene.attacker.position
    scene.attacker.position = msgspec.structs.replace(behind, seq=behind.seq + 1, hash=first.hash)
    await scene.attacker.publish(scene.attacker.cut(ingested("two", b"2")))
    for site in scene.honest:
        wait_for(
            "the gap shows",
            partial(_stalls, site),
            *scene.honest,
        )
        assert not {file.name for file in site.client.files().files} & {"one", "two"}
    await scene.attacker.send("file.ingested", first.payload, scene.attacker.key)
    for site in scene.honest:
        wait_for(
            "both are applied",
            partial(_knows, site, {"one", "two"}),
            *scene.honest,
        )


async def test_a_name_is_not_taken_over(scene: Scene) -> None:
    """Other bytes under the summit's name: a conflict that everybody sees; the summit's bytes stay and are served."""
    await scene.attacker.publish(scene.attacker.cut(ingested("mine.dat", b"the attacker's")))
    for site in scene.honest:
        wait_for("the conflict shows", partial(_in_conflict, site, "mine.dat"), *scene.honest)
    assert (scene.summit.store / "mine.dat").read_bytes() == b"the summit's"
    files = {file.digest for file in scene.summit.client.file("mine.dat").files}
    assert files == {digest_of(b"the summit's"), digest_of(b"the attacker's")}


async def test_it_cannot_remove_or_withdraw_what_is_not_its_own(scene: Scene) -> None:
    mine = scene.summit.client.file("kept.dat").files[0]
    (of_summit,) = [instance for instance in mine.instances if instance.site == "summit"]
    facts = {
        "name": Name.parse("kept.dat"),
        "digest": Digest.parse(mine.digest),
        "size_bytes": mine.size_bytes,
        "unit": Unit.FILE,
    }
    await scene.attacker.publish(
        scene.attacker.cut(InstanceRemoved(**facts, store=of_summit.store, reason="because"))  # type: ignore[arg-type]  # of four types
    )
    await scene.attacker.publish(
        scene.attacker.cut(FileWithdrawn(**facts, reason="because"))  # type: ignore[arg-type]  # of four types
    )
    scene.refused_everywhere("entry-refused", "may not withdraw")
    for site in scene.honest:
        assert "summit" in site.verified_at("kept.dat")


@pytest.mark.fault(28)
async def test_sizes_beyond_all_bounds_are_refused_and_spoil_no_view(scene: Scene) -> None:
    """2^63 - 1 and 1: a sum of both overflowed, and no view was shown any more, for good."""
    attacker = scene.attacker
    done = attacker.cut(ingested("huge.dat", b"huge"))[0]
    entry = msgspec.json.decode(done.segment.entries[0]) | {"size_bytes": (1 << 63) - 1}
    payload = altered(done, entries=[entry])
    await attacker.send("file.ingested", payload, attacker.key)
    attacker.position = msgspec.structs.replace(
        attacker.position, seq=done.segment.last_seq, hash=segments.hash_of(payload)
    )
    scene.refused_everywhere("entry-refused", "size_bytes")
    await attacker.publish(attacker.cut(ingested("one-byte.dat", b"1")))
    for site in scene.honest:
        wait_for("what comes behind it is applied", partial(_knows, site, {"one-byte.dat"}), *scene.honest)
        assert _knows_none(site, {"huge.dat"})
        assert "view-failed" not in site.problems()


async def test_it_cannot_admit_anybody_nor_give_itself_rights(scene: Scene) -> None:
    before = {(known.site, known.key) for known in scene.summit.client.sites()}
    for name, key in (("crony", OTHER_KEY), ("summit", OTHER_KEY), ("archive", scene.attacker.key)):
        await scene.attacker.publish(
            scene.attacker.cut(
                SiteAdmitted(
                    site=SiteName.parse(name),
                    key=key.public,
                    access=Access.FULL,
                    domain="anywhere",
                    grants=["**"],
                    may_admit=True,
                )
            )
        )
    await scene.say_something_true()
    for site in scene.honest:
        assert {(known.site, known.key) for known in site.client.sites()} == before


@pytest.mark.fault(28)
async def test_two_stories_about_one_number_void_the_site_from_there_on_and_nothing_else(scene: Scene) -> None:
    await scene.say_something_true()
    here = scene.attacker.position
    await scene.attacker.publish(scene.attacker.cut(ingested("story-a", b"a")))
    await scene.attacker.publish(scene.attacker.cut(ingested("after-a", b"aa")))
    scene.known_everywhere("after-a")
    other = scene.attacker.cut(ingested("story-b", b"b"), position=here)[0]
    await scene.attacker.send("file.ingested", other.payload, scene.attacker.key)
    scene.refused_everywhere("equivocation", "")
    for site in scene.honest:
        wait_for(
            f"at {site.name} neither story counts",
            partial(_knows_none, site, {"story-a", "after-a", "story-b"}),
            *scene.honest,
        )
        names = {file.name for file in site.client.files().files}
        assert {"mine.dat"} < names, "what it said before is believed still, and what others say"
        assert any(name.startswith("true-") for name in names)
    scene.summit.drop_file("later.dat", b"the summit goes on")
    scene.known_everywhere("later.dat")
