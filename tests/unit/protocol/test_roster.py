"""The roster: the same for any order of what is known, and nobody gets in or takes a name by being early."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.samples import ARCHIVE, ARCHIVE_KEY, CAMPUS, INCARNATION, SUMMIT, SUMMIT_KEY

from librarian_protocol.entries import Access, Cutoff, SiteAdmitted, SiteRevoked
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.roster import (
    Anchor,
    Announced,
    KeyStatus,
    Member,
    Rekey,
    Said,
    begun_anew,
    carried_on,
    fold,
    is_stated,
    sign,
    statement,
)
from librarian_protocol.versions import Version

MESH = "0" * 32
ADMIN = SiteKey(b"a" * 32)
NEW = SiteKey(b"n" * 32)
OTHER = SiteKey(b"o" * 32)
VAULT = SiteName.parse("vault")
ANCHOR = Anchor(mesh=MESH, site=SUMMIT, key=SUMMIT_KEY.public, administrator=ADMIN.public)
CUTOFF = Cutoff(incarnation=INCARNATION, seq=10, hash="ab" * 32)


def admits(
    admitter: SiteName, site: SiteName, key: SiteKey, *, may_admit: bool = False, cutoff: Cutoff | None = None
) -> Said:
    """What one site says of another."""
    entry = SiteAdmitted(
        site=site,
        key=key.public,
        access=Access.FULL,
        domain=str(site),
        grants=["**"],
        may_admit=may_admit,
        cutoff=cutoff,
        former=[] if cutoff is None else [ARCHIVE_KEY.public],
    )
    return Said(admitter, entry)


def revokes(admitter: SiteName, site: SiteName, cutoff: Cutoff | None = None) -> Said:
    """What one site says of another."""
    entry = SiteRevoked(site=site, key=ARCHIVE_KEY.public, domain="d", grants=["**"], reason="sold", cutoff=cutoff)
    return Said(admitter, entry)


FIRST = admits(SUMMIT, SUMMIT, SUMMIT_KEY, may_admit=True)


def member(site: SiteName) -> Member:
    """A plain one."""
    return fold(ANCHOR, [FIRST, admits(SUMMIT, site, ARCHIVE_KEY)])[site]


def at(seq: int, epoch: int = 1) -> Version:
    """A place."""
    return Version(epoch, INCARNATION, seq)


def test_the_anchor_is_known_before_its_journal_has_come() -> None:
    found = fold(ANCHOR, [])
    assert found[SUMMIT].key == SUMMIT_KEY.public
    assert found[SUMMIT].may_admit


def test_an_admission_counts_only_if_its_writer_may_admit() -> None:
    said = [FIRST, admits(SUMMIT, ARCHIVE, ARCHIVE_KEY), admits(ARCHIVE, CAMPUS, OTHER)]
    assert set(fold(ANCHOR, said)) == {SUMMIT, ARCHIVE}
    said[1] = admits(SUMMIT, ARCHIVE, ARCHIVE_KEY, may_admit=True)
    found = fold(ANCHOR, said)
    assert found[CAMPUS].admitter == ARCHIVE
    assert found[SUMMIT].admitter is None


def test_nobody_but_the_anchor_speaks_of_the_anchor() -> None:
    said = [FIRST, admits(SUMMIT, ARCHIVE, ARCHIVE_KEY, may_admit=True), admits(ARCHIVE, SUMMIT, OTHER)]
    assert fold(ANCHOR, said)[SUMMIT].key == SUMMIT_KEY.public
    assert fold(ANCHOR, [admits(SUMMIT, SUMMIT, OTHER)])[SUMMIT].key == SUMMIT_KEY.public


def test_who_is_nearer_to_the_anchor_outranks_who_is_farther_and_then_the_name_decides() -> None:
    near = [FIRST, admits(SUMMIT, ARCHIVE, ARCHIVE_KEY, may_admit=True), admits(SUMMIT, VAULT, NEW, may_admit=True)]
    assert fold(ANCHOR, [*near, admits(SUMMIT, CAMPUS, NEW), admits(ARCHIVE, CAMPUS, OTHER)])[CAMPUS].key == NEW.public
    found = fold(ANCHOR, [*near, admits(VAULT, CAMPUS, NEW), admits(ARCHIVE, CAMPUS, OTHER)])
    assert (found[CAMPUS].key, found[CAMPUS].admitter) == (OTHER.public, ARCHIVE)


def test_a_revoked_site_is_of_the_mesh_no_more_and_admits_nobody() -> None:
    said = [FIRST, revokes(SUMMIT, ARCHIVE), admits(ARCHIVE, CAMPUS, OTHER)]
    found = fold(ANCHOR, said)
    assert found[ARCHIVE].revoked
    assert found[ARCHIVE].reason == "sold"
    assert CAMPUS not in found


def test_the_rules_of_a_revoked_site_count_where_it_might_admit_before() -> None:
    """As the last admission of that register says, if it counted: its admitter may be revoked, too."""
    vault = admits(SUMMIT, VAULT, NEW, may_admit=True)
    archive = admits(VAULT, ARCHIVE, ARCHIVE_KEY, may_admit=True)
    assert fold(ANCHOR, [FIRST, vault, archive])[ARCHIVE].may_rule
    found = fold(ANCHOR, [FIRST, vault, revokes(VAULT, ARCHIVE)], before=[archive])[ARCHIVE]
    assert (found.may_admit, found.might_admit, found.may_rule) == (False, True, True)
    plain = admits(VAULT, ARCHIVE, ARCHIVE_KEY)
    assert not fold(ANCHOR, [FIRST, vault, revokes(VAULT, ARCHIVE)], before=[plain])[ARCHIVE].may_rule
    assert not fold(ANCHOR, [FIRST, vault, revokes(VAULT, ARCHIVE)])[ARCHIVE].may_rule, "nobody had admitted it"
    said = [FIRST, revokes(SUMMIT, VAULT), revokes(SUMMIT, ARCHIVE), archive]
    both = fold(ANCHOR, said, before=[vault])
    assert (both[VAULT].may_rule, both[ARCHIVE].may_rule) == (True, True), "when it was admitted, its admitter might"


def test_a_site_that_is_not_revoked_rules_only_if_it_may_admit_now() -> None:
    said = [FIRST, admits(SUMMIT, ARCHIVE, ARCHIVE_KEY), revokes(SUMMIT, VAULT)]
    before = [admits(SUMMIT, ARCHIVE, ARCHIVE_KEY, may_admit=True)]
    assert not fold(ANCHOR, said, before=before)[ARCHIVE].may_rule


@given(st.randoms())
def test_the_order_of_what_is_known_does_not_matter(rng: object) -> None:
    said = [
        FIRST,
        admits(SUMMIT, ARCHIVE, ARCHIVE_KEY, may_admit=True),
        admits(SUMMIT, VAULT, NEW, may_admit=True),
        admits(ARCHIVE, CAMPUS, OTHER),
        admits(VAULT, CAMPUS, NEW),
        revokes(VAULT, SiteName.parse("gone")),
        Said(ARCHIVE, sign(MESH, stated(3), ADMIN)),
    ]
    rekeys = [goes_over(3, ARCHIVE_KEY, NEW), goes_over(9, NEW, OTHER)]
    expected = fold(ANCHOR, said, rekeys)
    rng.shuffle(said)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    rng.shuffle(rekeys)  # type: ignore[attr-defined]
    assert fold(ANCHOR, said, rekeys) == expected


# ---- keys, and where they end ----------------------------------------------------------------------------


def goes_over(seq: int, signer: SiteKey, key: SiteKey, *tips: Cutoff) -> Rekey:
    """The archive goes over to another key; the segment that says so has a hash made of the number."""
    return Rekey(
        site=ARCHIVE, version=at(seq), key=key.public, hash=f"{seq:064x}", signer=signer.public, tips=tuple(tips)
    )


def ends_of_key(found: Member, key: SiteKey) -> list[set[str]]:
    """Hashes at which the key ended."""
    return [set(end.hashes) for end in found.ends.get(key.public, ())]


def standing(found: Member, key: SiteKey, seq: int, *, past: bool = True) -> KeyStatus:
    """Of a segment that is, or is not, in the past of all ends."""
    return found.standing(key.public, at(seq), lambda _: past)


def test_a_key_counts_from_where_the_site_goes_over_to_it_and_ends_with_the_past_of_where_it_goes_on() -> None:
    said = [FIRST, admits(SUMMIT, ARCHIVE, ARCHIVE_KEY)]
    found = fold(ANCHOR, said, [goes_over(5, ARCHIVE_KEY, NEW, CUTOFF)])[ARCHIVE]
    assert found.key == NEW.public
    assert set(found.every_key) == {ARCHIVE_KEY.public, NEW.public}
    assert ends_of_key(found, ARCHIVE_KEY) == [{f"{5:064x}", CUTOFF.hash}], "its other branches are named"
    assert ends_of_key(found, NEW) == []
    assert standing(found, ARCHIVE_KEY, 5) is KeyStatus.COUNTS
    assert standing(found, ARCHIVE_KEY, 3, past=False) is KeyStatus.ENDED, "a low number proves nothing"
    assert standing(found, NEW, 5) is KeyStatus.REFUSED, "too early for it"
    assert standing(found, NEW, 6, past=False) is KeyStatus.COUNTS
    assert found.standing(NEW.public, at(2, epoch=2), lambda _: False) is KeyStatus.COUNTS


def test_under_a_former_key_counts_the_past_of_the_tips_and_under_the_new_one_everything() -> None:
    rekeys = [goes_over(4, ARCHIVE_KEY, OTHER), goes_over(20, NEW, SUMMIT_KEY)]
    found = fold(ANCHOR, [FIRST, admits(SUMMIT, ARCHIVE, NEW, cutoff=CUTOFF)], rekeys)[ARCHIVE]
    assert found.key == SUMMIT_KEY.public, "it went over to another since"
    assert [key for _, key in found.keys] == [NEW.public, SUMMIT_KEY.public]
    assert set(found.former) == {ARCHIVE_KEY.public, OTHER.public}
    for former in (ARCHIVE_KEY, OTHER):
        assert ends_of_key(found, former) == [{CUTOFF.hash}]
        assert standing(found, former, 30) is KeyStatus.COUNTS
        assert standing(found, former, 1, past=False) is KeyStatus.ENDED
    assert standing(found, NEW, 1) is KeyStatus.COUNTS, "a new directory begins with number 1"
    assert ends_of_key(found, NEW) == [{f"{20:064x}"}]


def test_of_a_revoked_site_counts_the_past_of_its_tips_under_all_its_keys() -> None:
    rekeys = [goes_over(4, ARCHIVE_KEY, NEW)]
    found = fold(ANCHOR, [FIRST, revokes(SUMMIT, ARCHIVE, CUTOFF)], rekeys)[ARCHIVE]
    assert ends_of_key(found, ARCHIVE_KEY) == [{f"{4:064x}"}, {CUTOFF.hash}]
    assert ends_of_key(found, NEW) == [{CUTOFF.hash}]
    assert standing(found, NEW, 11, past=False) is KeyStatus.ENDED
    assert standing(found, OTHER, 11) is KeyStatus.REFUSED, "a key that it never had"
    assert found.tips == [Cutoff(incarnation=INCARNATION, seq=4, hash=f"{4:064x}"), CUTOFF]


def test_a_revocation_of_before_there_were_tips_that_names_no_cutoff_ends_nothing() -> None:
    found = fold(ANCHOR, [FIRST, revokes(SUMMIT, ARCHIVE)])[ARCHIVE]
    assert found.ends == {}


def test_tips_outrank_the_cutoff_beside_them_and_none_of_them_end_a_key_at_nothing() -> None:
    entry = revokes(SUMMIT, ARCHIVE, CUTOFF).entry
    for tips in ([], [CUTOFF, msgspec.structs.replace(CUTOFF, hash="cd" * 32)]):
        said = Said(SUMMIT, msgspec.structs.replace(entry, tips=tips))
        assert ends_of_key(fold(ANCHOR, [FIRST, said])[ARCHIVE], ARCHIVE_KEY) == [{tip.hash for tip in tips}]
    bare = msgspec.structs.replace(admits(SUMMIT, ARCHIVE, NEW).entry, former=[ARCHIVE_KEY.public])
    assert ends_of_key(fold(ANCHOR, [FIRST, Said(SUMMIT, bare)])[ARCHIVE], ARCHIVE_KEY) == [set()]


def test_a_key_to_which_a_site_went_back_has_not_ended() -> None:
    rekeys = [goes_over(4, ARCHIVE_KEY, NEW), goes_over(8, NEW, ARCHIVE_KEY)]
    found = fold(ANCHOR, [FIRST, admits(SUMMIT, ARCHIVE, ARCHIVE_KEY)], rekeys)[ARCHIVE]
    assert ends_of_key(found, ARCHIVE_KEY) == []
    assert ends_of_key(found, NEW) == [{f"{8:064x}"}]


@pytest.mark.parametrize("cutoff", [None, CUTOFF])
@pytest.mark.parametrize("rekeys", [(), (goes_over(20, NEW, OTHER, CUTOFF),)])
def test_an_admission_that_begins_anew_changes_nothing_of_what_counts(
    cutoff: Cutoff | None, rekeys: tuple[Rekey, ...]
) -> None:
    before = fold(ANCHOR, [FIRST, admits(SUMMIT, ARCHIVE, NEW, cutoff=cutoff)], rekeys)[ARCHIVE]
    after = fold(ANCHOR, [FIRST, Said(SUMMIT, begun_anew(before))], rekeys)[ARCHIVE]
    assert (after.key, set(after.every_key), after.tips) == (before.key, set(before.every_key), before.tips)
    assert set(after.ends) == set(before.ends)
    for key, ends in before.ends.items():
        reached = {hash_ for end in after.ends[key] for hash_ in end.hashes}
        assert {hash_ for end in ends for hash_ in end.hashes} <= reached
    assert (begun_anew(before).tips is None) == (not before.ends)


def test_another_admission_of_a_known_site_forgets_no_former_key_and_no_end() -> None:
    before = fold(ANCHOR, [FIRST, admits(SUMMIT, ARCHIVE, NEW, cutoff=CUTOFF)])[ARCHIVE]
    bare = admits(SUMMIT, ARCHIVE, NEW, may_admit=True).entry
    assert isinstance(bare, SiteAdmitted)
    after = fold(ANCHOR, [FIRST, Said(SUMMIT, carried_on(before, bare))])[ARCHIVE]
    assert (after.key, after.ends, after.may_admit) == (before.key, before.ends, True)
    assert carried_on(None, bare) == bare


def test_a_plain_member_has_nothing_void() -> None:
    assert member(ARCHIVE).ends == {}


# ---- the administrator -----------------------------------------------------------------------------------


def stated(number: int, key: SiteKey = NEW) -> SiteAdmitted:
    """A statement about the archive, not signed yet."""
    return SiteAdmitted(site=ARCHIVE, key=key.public, access=Access.FULL, domain="d", grants=["**"], statement=number)


def test_what_the_administrator_stated_outranks_sites_and_the_greatest_number_counts() -> None:
    said = [
        FIRST,
        admits(SUMMIT, ARCHIVE, ARCHIVE_KEY),
        Said(CAMPUS, sign(MESH, stated(1, OTHER), ADMIN)),
        Said(VAULT, sign(MESH, stated(2, NEW), ADMIN)),
        Said(ARCHIVE, sign(MESH, stated(1, OTHER), ADMIN)),
    ]
    assert fold(ANCHOR, said)[ARCHIVE].key == NEW.public


@pytest.mark.parametrize(
    "entry",
    [
        stated(9),
        sign(MESH, stated(9), OTHER),
        sign("1" * 32, stated(9), ADMIN),
        msgspec.structs.replace(sign(MESH, stated(9), ADMIN), may_admit=True),
    ],
    ids=["not-signed", "another-key", "another-mesh", "altered"],
)
def test_a_statement_that_the_administrator_did_not_make_counts_for_nothing(entry: SiteAdmitted) -> None:
    assert not is_stated(ANCHOR, entry)
    found = fold(ANCHOR, [FIRST, admits(SUMMIT, ARCHIVE, ARCHIVE_KEY), Said(CAMPUS, entry)])
    assert found[ARCHIVE].key == ARCHIVE_KEY.public


def test_a_mesh_without_an_administrator_believes_none() -> None:
    anchor = msgspec.structs.replace(ANCHOR, administrator=None)
    assert not is_stated(anchor, sign(MESH, stated(1), ADMIN))


def test_a_statement_of_before_there_were_tips_is_still_one() -> None:
    """Its bytes were signed without the field."""
    entry = SiteRevoked(site=ARCHIVE, key=ARCHIVE_KEY.public, domain="d", grants=["**"], reason="break-in", statement=1)
    assert b"tips" not in statement(MESH, entry)
    assert b"tips" not in statement(MESH, stated(1))
    assert b"tips" in statement(MESH, msgspec.structs.replace(entry, tips=[]))
    assert b"tips" in statement(MESH, msgspec.structs.replace(stated(1), tips=[CUTOFF]))


def test_the_administrator_revokes_too() -> None:
    """A revocation that is signed by the administrator counts, whichever site publishes it."""
    entry = SiteRevoked(site=ARCHIVE, key=ARCHIVE_KEY.public, domain="d", grants=["**"], reason="break-in", statement=1)
    said = [FIRST, admits(SUMMIT, ARCHIVE, ARCHIVE_KEY), Said(CAMPUS, sign(MESH, entry, ADMIN))]
    assert fold(ANCHOR, said)[ARCHIVE].revoked


def test_what_a_site_announces_stands_in_its_row() -> None:
    news = Announced(software="1", offers=[], certificate="abc", leaf_address="h:1")
    found = fold(ANCHOR, [FIRST], announced={SUMMIT: news})[SUMMIT]
    assert (found.software, found.certificate, found.leaf_address) == ("1", "abc", "h:1")
    assumed = fold(ANCHOR, [], announced={SUMMIT: news})[SUMMIT]
    assert assumed.certificate == "abc"
