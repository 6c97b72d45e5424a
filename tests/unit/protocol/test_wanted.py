"""Is a file wanted here, and from whom: every condition by itself."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from tests.unit.protocol.samples import ARCHIVE, CAMPUS, SUMMIT

from librarian_protocol.digests import Digest
from librarian_protocol.entries import AdapterOffer, Dial, Unit
from librarian_protocol.names import Name, SiteName
from librarian_protocol.wanted import (
    EXPLAINED,
    LOCAL,
    ONE_OFF,
    FileFacts,
    Here,
    InstanceFacts,
    InstanceState,
    Source,
    SubscriptionFacts,
    Unwanted,
    UnwantedReason,
    Want,
    common_adapters,
    healing,
    sources,
    wanted,
)

HOME = SiteName.parse("home")
HTTP = AdapterOffer(name="http", version=1, address="http://a", dial=Dial.DESTINATION)
RSYNC = AdapterOffer(name="rsync", version=1, address="a:/", dial=Dial.EITHER)
PUSHED = AdapterOffer(name="http", version=1, address="", dial=Dial.SOURCE)
FILE = FileFacts(
    name=Name.parse("raw/a"),
    digest=Digest.blake3(b"a"),
    size_bytes=1,
    unit=Unit.FILE,
    origin=SUMMIT,
    withdrawn=False,
    conflict=False,
)
RULE = SubscriptionFacts(id="0" * 16, from_site=SUMMIT, match="raw/**", into=["near", "far"])
HERE = Here(
    site=HOME,
    active_stores=frozenset({"near", "far", "other"}),
    adapters=["rsync", "http"],
    offers={SUMMIT: [HTTP], ARCHIVE: [HTTP], CAMPUS: [HTTP, RSYNC], HOME: [HTTP]},
)


def _at(site: SiteName, store: str = "disk", *, state: str = "available", doubted: bool = False) -> InstanceFacts:
    return InstanceFacts(site=site, store=store, state=InstanceState(state), doubted=doubted)


AT_SUMMIT = _at(SUMMIT)


def _reason(
    instances: Sequence[InstanceFacts] = (AT_SUMMIT,),
    *,
    file: FileFacts = FILE,
    rule: SubscriptionFacts = RULE,
    here: Here = HERE,
) -> str | None:
    """The reason for which it is not wanted; None where it is."""
    found = wanted(file, rule, instances, here)
    return found.reason.value if isinstance(found, Unwanted) else None


def test_a_file_that_meets_all_conditions_is_wanted() -> None:
    """Into the first of the rule's stores, from whoever holds it. Below, one condition at a time is broken."""
    assert wanted(FILE, RULE, [AT_SUMMIT], HERE) == Want("near", [Source(SUMMIT, "disk", HTTP)], others=("far",))


def test_a_file_that_is_larger_than_the_rule_takes_is_not_wanted() -> None:
    """A bad instance is healed all the same: what heals has no limit."""
    large = msgspec.structs.replace(FILE, size_bytes=101)
    rule = msgspec.structs.replace(RULE, max_bytes=100)
    assert _reason(file=large, rule=rule) == "larger-than-wanted"
    assert _reason(file=msgspec.structs.replace(FILE, size_bytes=100), rule=rule) is None
    assert [rule.takes(FILE.name, size_bytes, "", 0) for size_bytes in (100, 101)] == [True, False]
    assert not rule.takes(Name.parse("calib/a"), 1, "", 0)
    bad = _at(HOME, "near", state="suspected")
    (heal,) = healing(large, [bad], HOME)
    assert _reason((AT_SUMMIT, bad), file=large, rule=heal) is None


def test_a_name_that_does_not_match_is_not_wanted() -> None:
    """The glob decides first."""
    assert _reason(rule=msgspec.structs.replace(RULE, match="calib/**")) == "name-does-not-match"


def test_a_file_from_another_site_is_not_wanted() -> None:
    """Neither ingested nor held by the rule's site."""
    other = msgspec.structs.replace(RULE, from_site=CAMPUS)
    assert _reason(rule=other) == "not-from-site"
    assert _reason([AT_SUMMIT, _at(ARCHIVE)], rule=other) == "not-from-site"
    nowhere = msgspec.structs.replace(FILE, origin=None)
    assert _reason([_at(ARCHIVE)], file=nowhere) == "not-from-site"


def test_a_file_held_by_the_rules_site_is_wanted_whoever_ingested_it() -> None:
    """Origin or holder."""
    held = msgspec.structs.replace(RULE, from_site=CAMPUS)
    assert _reason([AT_SUMMIT, _at(CAMPUS)], rule=held) is None
    assert _reason([AT_SUMMIT, _at(CAMPUS, state="suspected")], rule=held) is None


def test_a_site_that_gave_its_instance_up_is_no_holder() -> None:
    """The answer says "nor holds it", so it must be so."""
    held = msgspec.structs.replace(RULE, from_site=CAMPUS)
    assert _reason([AT_SUMMIT, _at(CAMPUS, state="removed")], rule=held) == "not-from-site"


def test_a_file_ingested_by_the_rules_site_is_wanted_whoever_holds_it() -> None:
    """Also where the origin has given its own instance up."""
    assert _reason([_at(ARCHIVE)]) is None
    assert _reason([_at(ARCHIVE), _at(SUMMIT, state="removed")]) is None


def test_a_rule_without_a_site_takes_from_any() -> None:
    """``from_site`` None."""
    anyone = msgspec.structs.replace(RULE, from_site=None)
    assert _reason([_at(ARCHIVE)], rule=anyone) is None
    unknown = msgspec.structs.replace(FILE, origin=None)
    assert _reason([_at(ARCHIVE)], rule=anyone, file=unknown) is None


def test_a_withdrawn_file_is_wanted_nowhere() -> None:
    """An administrator's word."""
    assert _reason(file=msgspec.structs.replace(FILE, withdrawn=True)) == "withdrawn"


def test_a_file_in_conflict_stays_where_it_is() -> None:
    """Neither of the two is moved."""
    assert _reason(file=msgspec.structs.replace(FILE, conflict=True)) == "conflict"


def test_the_loser_of_a_name_is_not_wanted_and_the_winner_waits_until_the_name_is_free() -> None:
    """Bytes never come over other bytes."""
    assert _reason(file=msgspec.structs.replace(FILE, set_aside=True)) == "set-aside"
    assert _reason(file=msgspec.structs.replace(FILE, occupied=True)) == "name-not-free"


@pytest.mark.parametrize("store", ["near", "far"])
def test_a_good_instance_in_any_store_of_the_rule_is_enough(store: str) -> None:
    """The second of the list as well as the first."""
    assert _reason([AT_SUMMIT, _at(HOME, store)]) == "present"


def test_a_doubt_about_the_instance_here_does_not_bring_a_second() -> None:
    """It is re-read; it counts until it is found wrong."""
    assert _reason([AT_SUMMIT, _at(HOME, "near", doubted=True)]) == "present"


def test_an_instance_here_in_another_store_does_not_count() -> None:
    """The rule asks for its own stores."""
    for state in InstanceState:
        assert _reason([AT_SUMMIT, _at(HOME, "other", state=state.value)]) is None


def test_an_instance_elsewhere_in_a_store_of_that_name_does_not_count() -> None:
    """Stores are told apart by their site too."""
    for state in InstanceState:
        assert _reason([AT_SUMMIT, _at(ARCHIVE, "near", state=state.value)]) is None


def test_a_suspected_instance_here_is_healed_and_not_pulled_beside() -> None:
    """Good bytes come to where the bad ones stand."""
    bad = _at(HOME, "far", state="suspected")
    assert wanted(FILE, RULE, [AT_SUMMIT, bad], HERE) == Want("far", [Source(SUMMIT, "disk", HTTP)])
    assert _reason([bad]) == "no-source"
    gone = msgspec.structs.replace(HERE, active_stores=frozenset({"near"}))
    assert _reason([AT_SUMMIT, bad], here=gone) == "suspected-here"


def test_a_site_heals_its_own_bad_instances_whatever_it_subscribes_to() -> None:
    found = healing(FILE, [AT_SUMMIT, _at(HOME, "near"), _at(HOME, "far", state="suspected")], HOME)
    assert [(subscription.match, subscription.into, subscription.from_site) for subscription in found] == [
        (str(FILE.name), ["far"], None)
    ]
    assert wanted(FILE, found[0], [AT_SUMMIT, _at(HOME, "far", state="suspected")], HERE) == Want(
        "far", [Source(SUMMIT, "disk", HTTP)]
    )
    assert healing(FILE, [_at(SUMMIT, state="suspected")], HOME) == []


def test_what_was_evicted_here_is_not_pulled_straight_back() -> None:
    """That row is kept for this. A person who wants it once gets it."""
    gone = [AT_SUMMIT, _at(HOME, "near", state="removed")]
    assert _reason(gone) == "evicted-here"
    once = SubscriptionFacts(id=ONE_OFF, from_site=None, match="raw/a", into=["near"])
    assert _reason(gone, rule=once) is None


def test_the_best_instance_here_decides() -> None:
    """Good before suspected before removed, whatever their order."""
    good, bad, gone = (
        _at(HOME, store, state=state)
        for store, state in (("near", "available"), ("far", "suspected"), ("near", "removed"))
    )
    assert _reason([gone, bad, good, AT_SUMMIT]) == "present"
    assert wanted(FILE, RULE, [gone, bad, AT_SUMMIT], HERE) == Want("far", [Source(SUMMIT, "disk", HTTP)])


def test_it_goes_into_the_first_active_store_of_the_list() -> None:
    """In the rule's order, not the site's."""
    found = wanted(FILE, RULE, [AT_SUMMIT], msgspec.structs.replace(HERE, active_stores=frozenset({"far"})))
    assert found == Want("far", [Source(SUMMIT, "disk", HTTP)])


def test_without_an_active_store_it_is_not_wanted_now() -> None:
    """Stores that the rule does not name do not help."""
    here = msgspec.structs.replace(HERE, active_stores=frozenset({"other"}))
    assert _reason(here=here) == "no-active-store"


def test_without_a_good_instance_elsewhere_there_is_no_source() -> None:
    """None at all, or suspected, or removed, or only here in another store."""
    assert _reason([]) == "no-source"
    assert _reason([_at(SUMMIT, state="suspected"), _at(ARCHIVE, state="removed")]) == "no-source"
    assert _reason([_at(HOME, "other")]) == "no-source"


def test_where_all_instances_are_doubted_the_owners_are_waited_for() -> None:
    """A doubt that is not answered keeps bytes from spreading."""
    assert _reason([_at(SUMMIT, doubted=True), _at(ARCHIVE, doubted=True)]) == "source-doubted"


def test_a_doubted_instance_is_passed_over_where_there_is_another() -> None:
    """The good one is the only source."""
    found = wanted(FILE, RULE, [_at(SUMMIT, doubted=True), _at(ARCHIVE)], HERE)
    assert found == Want("near", [Source(ARCHIVE, "disk", HTTP)], others=("far",))


@pytest.mark.parametrize(
    ("ingested_at", "now_s", "is_wanted"),
    [
        ("1970-01-02T00:00:00.000000Z", 86400 + 99, True),
        ("1970-01-02T00:00:00.999999Z", 86400 + 100, False),
        ("1970-01-02T00:00:01.000000Z", 86400 + 100, True),
        ("1970-01-01T00:00:00.000000Z", 86400, False),
        ("", 86400, True),
        ("1970-01-01T00:00:01.000000Z", 0, True),
    ],
)
def test_a_file_that_is_older_than_the_rule_takes_is_not_wanted(ingested_at: str, now_s: int, is_wanted: bool) -> None:
    """One of unknown age is; without a time nothing is too old."""
    file = msgspec.structs.replace(FILE, ingested_at=ingested_at)
    rule = msgspec.structs.replace(RULE, newest_s=100)
    here = msgspec.structs.replace(HERE, now_s=now_s)
    assert _reason(file=file, rule=rule, here=here) == (None if is_wanted else "older-than-wanted")
    assert rule.takes(file.name, file.size_bytes, ingested_at, now_s) == is_wanted
    assert _reason(file=file, here=here) is None, "without a limit"


def test_from_the_site_itself_it_comes_from_another_of_its_stores() -> None:
    """Other sites are not asked; a store that is itself one of the rule's is no source."""
    rule = msgspec.structs.replace(RULE, from_site=HERE.site)
    here = msgspec.structs.replace(HERE, offers={})
    beside = _at(HERE.site, store="other")
    found = wanted(FILE, rule, [beside, AT_SUMMIT], here)
    assert found == Want("near", [Source(HERE.site, "other", LOCAL)], others=("far",))
    assert _reason([beside, _at(HERE.site, store="far")], rule=rule, here=here) == "present"
    assert _reason([AT_SUMMIT], rule=rule) == "not-from-site"
    mine = msgspec.structs.replace(FILE, origin=HERE.site)
    assert _reason([AT_SUMMIT], file=mine, rule=rule) == "no-other-store"
    assert _reason([_at(HERE.site, store="other", doubted=True)], rule=rule) == "source-doubted"
    gone = _at(HERE.site, store="other", state="suspected")
    assert _reason([gone], rule=rule) == "no-other-store"


def test_without_a_common_adapter_it_cannot_come() -> None:
    """Nothing offered, nothing of ours, or nothing that we can dial."""
    cases: list[dict[SiteName, list[AdapterOffer]]] = [{}, {SUMMIT: []}, {ARCHIVE: [HTTP]}]
    for offers in cases:
        here = msgspec.structs.replace(HERE, offers=offers)
        assert _reason(here=here) == "no-common-adapter"
    assert _reason(here=msgspec.structs.replace(HERE, adapters=["globus"])) == "no-common-adapter"
    cut_off = msgspec.structs.replace(HERE, offers={SUMMIT: [PUSHED]}, dialable=False)
    assert _reason(here=cut_off) == "no-common-adapter"


def test_the_conditions_are_tried_in_this_order() -> None:
    """The first that is broken is what the operator is shown."""
    file = msgspec.structs.replace(FILE, withdrawn=True, conflict=True)
    here = msgspec.structs.replace(HERE, active_stores=frozenset[str]())
    gone = [_at(HOME, "near", state="removed")]
    unmatched = msgspec.structs.replace(RULE, match="x", from_site=CAMPUS)
    assert _reason(gone, file=file, rule=unmatched, here=here) == "name-does-not-match"
    elsewhere = msgspec.structs.replace(RULE, from_site=CAMPUS)
    assert _reason(gone, file=file, rule=elsewhere, here=here) == "not-from-site"
    assert _reason(gone, file=file, here=here) == "withdrawn"
    assert _reason(gone, file=msgspec.structs.replace(FILE, conflict=True), here=here) == "conflict"
    assert _reason(gone, here=here) == "evicted-here"
    assert _reason([], here=here) == "no-active-store"


# ---- sources and adapters --------------------------------------------------------------------------


def test_the_rules_site_comes_first_and_the_others_by_name() -> None:
    """The same order at every replay, whatever the order of the rows."""
    instances = [_at(SUMMIT, "b"), _at(CAMPUS), _at(SUMMIT, "a"), _at(ARCHIVE)]
    assert sources(instances, HERE, first=SUMMIT) == [
        Source(CAMPUS, "disk", RSYNC),
        Source(SUMMIT, "a", HTTP),
        Source(SUMMIT, "b", HTTP),
        Source(ARCHIVE, "disk", HTTP),
        Source(CAMPUS, "disk", HTTP),
    ]
    in_order = sources(instances, HERE, first=None)
    assert not isinstance(in_order, UnwantedReason)
    assert [source.site for source in in_order] == [CAMPUS, ARCHIVE, CAMPUS, SUMMIT, SUMMIT]


def test_the_rule_decides_who_comes_first() -> None:
    """``from_site`` is passed on."""
    found = wanted(FILE, RULE, [_at(ARCHIVE), AT_SUMMIT], HERE)
    assert isinstance(found, Want)
    assert [source.site for source in found.sources] == [SUMMIT, ARCHIVE]


def test_bad_books_are_sources_of_one_another_where_no_instance_is_good() -> None:
    """Each may have good members in place of the other's bad ones. A single file has nothing to give then."""
    mine, bad = _at(HOME, "near", state="suspected"), _at(SUMMIT, state="suspected")
    here = msgspec.structs.replace(HERE, offers={SUMMIT: [HTTP], ARCHIVE: [HTTP]})
    assert sources([mine, bad], here, first=None, unit=Unit.BOOK) == [Source(SUMMIT, "disk", HTTP)]
    assert sources([mine, bad, _at(ARCHIVE)], here, first=None, unit=Unit.BOOK) == [Source(ARCHIVE, "disk", HTTP)]
    assert sources([mine, bad], here, first=None) is UnwantedReason.NO_SOURCE
    assert sources([bad], here, first=None, unit=Unit.BOOK) is UnwantedReason.NO_SOURCE


def test_a_holder_without_a_common_adapter_is_passed_over() -> None:
    """The others remain."""
    here = msgspec.structs.replace(HERE, offers={ARCHIVE: [HTTP]})
    assert sources([AT_SUMMIT, _at(ARCHIVE)], here, first=SUMMIT) == [Source(ARCHIVE, "disk", HTTP)]


def test_ways_are_in_our_order_not_in_theirs() -> None:
    """All that both have."""
    assert common_adapters(["rsync", "http"], [HTTP, RSYNC]) == [RSYNC, HTTP]
    assert common_adapters(["http", "rsync"], [RSYNC, HTTP]) == [HTTP, RSYNC]
    assert common_adapters(["http", "rsync"], [RSYNC]) == [RSYNC]


def test_adapters_go_before_sites() -> None:
    """A way by our first adapter is tried at every site before the next adapter."""
    here = msgspec.structs.replace(HERE, adapters=["http", "rsync"], offers={SUMMIT: [RSYNC, HTTP], ARCHIVE: [HTTP]})
    assert sources([AT_SUMMIT, _at(ARCHIVE)], here, first=SUMMIT) == [
        Source(SUMMIT, AT_SUMMIT.store, HTTP),
        Source(ARCHIVE, "disk", HTTP),
        Source(SUMMIT, AT_SUMMIT.store, RSYNC),
    ]


def test_a_source_that_nobody_can_dial_pushes_to_a_site_that_it_can_dial() -> None:
    """Where there is any other way, that one comes first."""
    assert common_adapters(["http"], [PUSHED], dialable=False) == []
    assert common_adapters(["http"], [PUSHED], dialable=True) == [PUSHED]
    assert common_adapters(["http"], [PUSHED, HTTP], dialable=True) == [HTTP, PUSHED]
    assert common_adapters(["http", "rsync"], [PUSHED, RSYNC], dialable=True) == [RSYNC, PUSHED]
    assert common_adapters([], [HTTP]) == []


def test_every_reason_is_explained() -> None:
    """In words that differ from reason to reason."""
    assert set(EXPLAINED) == set(UnwantedReason)
    assert len(set(EXPLAINED.values())) == len(UnwantedReason)
    assert [str(reason) for reason in UnwantedReason] == [
        "name-does-not-match",
        "larger-than-wanted",
        "older-than-wanted",
        "not-from-site",
        "withdrawn",
        "conflict",
        "set-aside",
        "name-not-free",
        "present",
        "suspected-here",
        "evicted-here",
        "no-active-store",
        "no-source",
        "no-other-store",
        "source-doubted",
        "no-common-adapter",
    ]
