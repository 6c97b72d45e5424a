"""Rules of the mesh: whose count, how they end, and what an upgrade makes of those that came before it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection
from tests.conformance.catalog.peers import Peer, Sealed, admission, ingested
from tests.conformance.catalog.running import SITE, admit, anchor_at, begun, receive, running, say, tried
from tests.conformance.catalog.shared import Shared, shared
from tests.conformance.catalog.test_migrations import back_to_0012

from librarian_daemon.catalog import rule_rows, schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.journal import record, refold, segments, state_digest
from librarian_daemon.catalog.journal.replay import Record, fold, take
from librarian_daemon.catalog.mesh.unknown_rules import UnknownKind, unknown_kinds
from librarian_daemon.catalog.status import explanation
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.upgrade import upgrade
from librarian_protocol.entries import (
    Entry,
    EntryId,
    HoldDeclared,
    HoldWithdrawn,
    KeepDeclared,
    KeepWithdrawn,
    SiteRevoked,
    SubscriptionDeclared,
    SubscriptionWithdrawn,
)
from librarian_protocol.names import Name, SiteName
from librarian_protocol.segments import _ENTRY  # pyright: ignore[reportPrivateUsage]

KEEP = KeepDeclared(match="raw/**", instances=3, domains=2, role="archive", reason="cannot be observed again")
HOLD = HoldDeclared(match="raw/2026/**", until=1_798_761_600, reason="under review")
RULES = ("keep.declared", "keep.withdrawn", "hold.declared", "hold.withdrawn")


def id_of(peer: Peer, seq: int) -> EntryId:
    """An entry of a peer's present incarnation."""
    return EntryId(site=peer.site, incarnation=peer.position.incarnation, seq=seq)


def revocation(site: str) -> SiteRevoked:
    """Of a whole journal that counts."""
    peer = Peer(site)
    return SiteRevoked(site=peer.site, key=peer.key.public, domain=site, grants=["**"], reason="it was given up")


def counting(connection: Connection) -> tuple[list[str], list[str]]:
    """The globs of the rules that count."""
    return [rule.match for rule in rule_rows.keeps(connection)], [rule.match for rule in rule_rows.holds(connection)]


async def test_what_a_site_that_may_admit_declares_counts_as_it_said_it(catalog: Catalog) -> None:
    summit = Peer("summit")
    await admit(catalog, summit, may_admit=True)
    received = await receive(catalog, *summit.say(KEEP), *summit.say(HOLD))
    assert [(result.applied, result.refused) for result in received] == [(1, []), (1, [])]
    (keep,) = await catalog.read(rule_rows.keeps)
    assert (keep.id, keep.instances, keep.domains, keep.role) == (id_of(summit, 1), 3, 2, "archive")
    (hold,) = await catalog.read(rule_rows.holds)
    assert (hold.id, hold.match, hold.until, hold.reason) == (id_of(summit, 2), HOLD.match, HOLD.until, HOLD.reason)
    assert keep.reason
    assert keep.at


async def test_a_site_that_may_not_admit_declares_and_withdraws_nothing(catalog: Catalog) -> None:
    """Such an entry stands in its journal, is refused, and counts nowhere; the next ones are applied."""
    summit, campus = Peer("summit"), Peer("campus")
    await admit(catalog, summit, may_admit=True)
    await admit(catalog, campus)
    await receive(catalog, *summit.say(KEEP), *summit.say(HOLD))
    ends = [
        KeepWithdrawn(supersedes=[id_of(summit, 1)], reason="x"),
        HoldWithdrawn(supersedes=[id_of(summit, 2)], reason="x"),
    ]
    received = await receive(catalog, *campus.each(KEEP, HOLD, *ends, ingested(campus.store)))
    assert [result.applied for result in received] == [0, 0, 0, 0, 1]
    assert all("administrator's word" in result.refused[0] for result in received[:4])
    assert await catalog.read(counting) == ([KEEP.match], [HOLD.match])


async def test_any_site_that_may_admit_ends_the_rules_of_another(catalog: Catalog) -> None:
    """By its own entry, which names those that it ends; of other nouns it ends nothing."""
    summit = Peer("summit")
    await admit(catalog, summit, may_admit=True)
    other = msgspec.structs.replace(KEEP, match="calib/**")
    await receive(catalog, *summit.say(KEEP, other), *summit.say(HOLD))
    named = [id_of(summit, seq) for seq in (1, 3)]
    await say(catalog, admission(SITE, may_admit=True), KeepWithdrawn(supersedes=named, reason="complete"))
    assert await catalog.read(counting) == (["calib/**"], [HOLD.match])
    await say(catalog, HoldWithdrawn(supersedes=named, reason="reviewed"))
    assert await catalog.read(counting) == (["calib/**"], [])


def _heard(order: Sequence[Sealed]) -> Any:
    def work(tx: Tx) -> tuple[tuple[list[str], list[str]], Shared]:
        for number, sealed in enumerate(order):
            segments.receive(tx, sealed.signed(), number)
        return counting(tx.connection), shared(tx.connection)

    return work


async def test_rules_of_a_revoked_site_stay_until_they_are_superseded(catalog: Catalog) -> None:
    """Whether they came before or after its revocation, and whoever revoked it. Its withdrawals stay, too."""
    vault, summit = Peer("vault"), Peer("summit")
    await admit(catalog, vault, may_admit=True)
    (admitted,) = vault.say(admission("summit", may_admit=True))
    (revoked,) = vault.say(revocation("summit"))
    said = [*summit.say(KEEP, msgspec.structs.replace(KEEP, match="calib/**")), *summit.say(HOLD)]
    said += summit.say(KeepWithdrawn(supersedes=[id_of(summit, 2)], reason="x"))
    expected = await tried(catalog, _heard([admitted, *said, revoked]))
    assert expected[0] == ([KEEP.match], [HOLD.match])
    for cut in range(4):
        assert await tried(catalog, _heard([admitted, *said[:cut], revoked, *said[cut:]])) == expected
    (ended,) = vault.say(KeepWithdrawn(supersedes=[id_of(summit, 1)], reason="it was given up"))
    assert (await tried(catalog, _heard([admitted, *said, revoked, ended])))[0] == ([], [HOLD.match])


async def test_a_revocation_gives_nobody_a_right(catalog: Catalog) -> None:
    """Rules of a site that could not admit others were refused, and stay so."""
    vault, summit = Peer("vault"), Peer("summit")
    await admit(catalog, vault, may_admit=True)
    for earlier in ([admission("summit")], [admission("summit", may_admit=True), admission("summit")]):
        vault = Peer("vault")
        summit = Peer("summit")
        order = [*vault.each(*earlier), *summit.say(KEEP), *vault.say(revocation("summit"))]
        assert (await tried(catalog, _heard(order)))[0] == ([], [])


async def test_rules_of_a_site_that_is_admitted_again_without_the_right_count_no_more(catalog: Catalog) -> None:
    """An administrator has decided about it. They count again when it gets the right back."""
    vault, summit = Peer("vault"), Peer("summit")
    await admit(catalog, vault, may_admit=True)
    order = [*vault.say(admission("summit", may_admit=True)), *summit.say(KEEP)]
    for after, counted in (
        (revocation("summit"), True),
        (admission("summit"), False),
        (admission("summit", may_admit=True), True),
    ):
        order += vault.say(after)
        assert (await tried(catalog, _heard(order)))[0] == ([KEEP.match] if counted else [], [])


async def test_the_rules_that_match_a_name_now_are_among_the_facts_about_it(catalog: Catalog) -> None:
    """Not those about other names, and no hold whose time has passed."""
    endless = msgspec.structs.replace(HOLD, match="**", until=None)
    await say(catalog, admission(SITE, may_admit=True), ingested(Peer(SITE).store, "raw/2026/a"))
    await say(catalog, KEEP, HOLD, endless, msgspec.structs.replace(KEEP, match="calib/**"))
    assert HOLD.until is not None
    before, after = [KEEP.match, HOLD.match, "**"], [KEEP.match, "**"]
    for now_s, expected in ((HOLD.until - 1.0, before), (float(HOLD.until), after)):
        (found,) = await catalog.read(explanation.facts, SITE, SITE, Name("raw/2026/a"), ["http"], now_s)
        assert [rule.match for rule in found.rules] == expected


# ---- kinds of later versions -------------------------------------------------------------------------------


async def test_kinds_of_later_versions_are_told_of_sites_whose_rules_count(catalog: Catalog) -> None:
    """One of them may be a rule. From other sites none can be."""
    summit, campus = Peer("summit"), Peer("campus")
    await admit(catalog, summit, may_admit=True)
    await admit(catalog, campus)
    assert await catalog.read(unknown_kinds) == []
    await receive(catalog, campus.say_raw("moon.phased", {"phase": "full"}), *summit.say(KEEP))
    assert await catalog.read(unknown_kinds) == []
    await receive(catalog, summit.say_raw("route.declared", {"match": "**"}, {"match": "raw/**"}))
    await receive(catalog, summit.say_raw("route.declared", {"match": "calib/**"}))
    expected = [UnknownKind(site=summit.site, kind="route.declared", entries=3)]
    assert await catalog.read(unknown_kinds) == expected
    await say(catalog, revocation("summit"))
    assert await catalog.read(unknown_kinds) == expected, "rules of a revoked site stay"


async def test_rules_that_came_before_the_upgrade_bar_everything_until_they_are_applied(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    summit = Peer("summit")
    await admit(catalog, summit, may_admit=True)
    with monkeypatch.context() as older:
        for kind in RULES:
            older.delitem(_ENTRY, kind)
        await receive(catalog, *summit.say(KEEP), *summit.say(HOLD))
        assert [found.kind for found in await catalog.read(unknown_kinds)] == ["hold.declared", "keep.declared"]
        assert await catalog.read(counting) == ([], [])
    while await catalog.write(segments.apply_unknown):
        pass
    assert await catalog.read(unknown_kinds) == []
    assert await catalog.read(counting) == ([KEEP.match], [HOLD.match])


# ---- upgrade and replay ------------------------------------------------------------------------------------


def _subscription(number: int, **limits: Any) -> SubscriptionDeclared:
    return SubscriptionDeclared(
        subscription=f"{number:016x}", from_site=None, match="**", into=[f"{number:032x}"], **limits
    )


def _of_all_sorts(summit: Peer, campus: Peer) -> list[Entry]:
    return [
        _subscription(1),
        _subscription(2, max_bytes=10**9, newest_s=86400, priority=9, via="drive", spread=True),
        _subscription(3, priority=0),
        SubscriptionWithdrawn(subscription=f"{3:016x}"),
        KEEP,
        HOLD,
        KeepWithdrawn(supersedes=[id_of(campus, 1)], reason="x"),
    ]


async def test_an_upgraded_catalog_is_the_one_that_a_replay_of_its_journals_makes(
    database: Database, elsewhere: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had passed over what later sites said: limits of subscriptions, rules, and what a revoked site might do."""
    summit, campus = Peer("summit"), Peer("campus")
    catalog = await begun(database, SITE)
    async with running(catalog):
        await say(catalog, admission(SITE, may_admit=True))
        await admit(catalog, summit, campus, may_admit=True)
        with monkeypatch.context() as older:
            for kind in RULES:
                older.delitem(_ENTRY, kind)
            await receive(catalog, *summit.each(*_of_all_sorts(summit, campus)), *campus.say(KEEP), *campus.say(HOLD))
            await say(catalog, _subscription(4, priority=7), revocation("campus"))
        await database.write(back_to_0012)
        await database.write(upgrade)
        assert await catalog.write(refold.make_again) == ["admitted", "subscription"]
        assert await catalog.write(refold.make_again) == []
        while await catalog.write(segments.apply_unknown):
            pass
    assert await database.read(counting) == ([KEEP.match], [HOLD.match, HOLD.match])
    limits = {row["id"][-1]: row["priority"] for row in (await database.read(shared))["subscription"]}
    assert limits == {"1": 5, "2": 9, "3": 5, "4": 7}
    await _replay(database, elsewhere)
    assert await elsewhere.read(state_digest.digests) == await database.read(state_digest.digests)


async def _replay(source: Database, into: Database) -> None:
    await into.write(lambda connection: anchor_at(connection, SITE))
    rows = await source.read(record.segments_after, 0, site=None, limit=1000)
    page = [Record(site=None, payload=payload, signature=signature) for _, _, _, signature, payload in rows]
    assert await into.write(lambda connection: take(connection, page, "")) == []
    assert await into.write(lambda connection: fold(connection, SITE, "")) == []


async def test_a_table_of_rules_is_in_the_digest_of_the_shared_tables(catalog: Catalog) -> None:
    """Two sites that differ in a rule find out."""
    before = await catalog.read(state_digest.digests)
    await say(
        catalog,
        KEEP,
        HOLD,
        KeepWithdrawn(supersedes=[EntryId(site=SiteName("x"), incarnation="0" * 16, seq=1)], reason=""),
    )
    after = await catalog.read(state_digest.digests)
    changed = {new.table for old, new in itertools.zip_longest(before, after) if old != new}
    assert changed == {schema.keep.name, schema.hold.name, schema.rule_withdrawal.name}
