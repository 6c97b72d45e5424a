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
from librarian_protocol.registers import Version
from librarian_protocol.roster import Anchor, Announced, Member, Rekey, Said, Standing, fold, is_stated, sign

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
    rekeys = [Rekey(ARCHIVE, at(3), NEW.public), Rekey(ARCHIVE, at(9), OTHER.public)]
    expected = fold(ANCHOR, said, rekeys)
    rng.shuffle(said)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    rng.shuffle(rekeys)  # type: ignore[attr-defined]
    assert fold(ANCHOR, said, rekeys) == expected


# ---- keys by place ---------------------------------------------------------------------------------------


def test_a_key_counts_until_the_site_goes_over_to_another_and_that_one_from_there_on() -> None:
    found = fold(ANCHOR, [FIRST, admits(SUMMIT, ARCHIVE, ARCHIVE_KEY)], [Rekey(ARCHIVE, at(5), NEW.public)])[ARCHIVE]
    assert found.key == NEW.public
    assert set(found.every_key) == {ARCHIVE_KEY.public, NEW.public}
    assert found.key_fits(ARCHIVE_KEY.public, at(5))
    assert not found.key_fits(NEW.public, at(5))
    assert found.key_fits(NEW.public, at(6))
    assert not found.key_fits(ARCHIVE_KEY.public, at(6))
    assert found.key_fits(NEW.public, at(2, epoch=2)), "a later incarnation, whatever its numbers"


def test_behind_a_cutoff_only_the_new_key_counts_and_before_it_only_former_ones() -> None:
    rekeys = [Rekey(ARCHIVE, at(4), OTHER.public), Rekey(ARCHIVE, at(20), SUMMIT_KEY.public)]
    found = fold(ANCHOR, [FIRST, admits(SUMMIT, ARCHIVE, NEW, cutoff=CUTOFF)], rekeys)[ARCHIVE]
    assert found.key == SUMMIT_KEY.public, "it went over to another since"
    assert found.key_fits(ARCHIVE_KEY.public, at(3))
    assert found.key_fits(OTHER.public, at(9))
    assert not found.key_fits(NEW.public, at(9))
    assert found.key_fits(NEW.public, at(11))
    assert not found.key_fits(OTHER.public, at(11))
    assert not found.is_ended(OTHER.public, at(9))
    assert found.is_ended(OTHER.public, at(11))
    assert not found.is_ended(NEW.public, at(11))


def test_what_a_revoked_site_said_counts_up_to_its_cutoff() -> None:
    ended = fold(ANCHOR, [FIRST, revokes(SUMMIT, ARCHIVE, CUTOFF)])[ARCHIVE]
    assert ended.key_fits(ARCHIVE_KEY.public, at(3))
    assert not ended.is_ended(ARCHIVE_KEY.public, at(10))
    assert ended.is_ended(ARCHIVE_KEY.public, at(11))
    all_of_it = fold(ANCHOR, [FIRST, revokes(SUMMIT, ARCHIVE)])[ARCHIVE]
    assert not all_of_it.is_ended(ARCHIVE_KEY.public, at(11))


def test_what_a_segment_is_worth_follows_from_its_key_and_place() -> None:
    revoked = fold(ANCHOR, [FIRST, revokes(SUMMIT, ARCHIVE, CUTOFF)])[ARCHIVE]
    assert revoked.standing(ARCHIVE_KEY.public, at(10)) is Standing.COUNTS
    assert revoked.standing(ARCHIVE_KEY.public, at(11)) is Standing.ENDED
    assert revoked.standing(NEW.public, at(11)) is Standing.REFUSED, "a key that it never had"
    again = fold(ANCHOR, [FIRST, admits(SUMMIT, ARCHIVE, NEW, cutoff=CUTOFF)])[ARCHIVE]
    assert again.standing(ARCHIVE_KEY.public, at(10)) is Standing.COUNTS
    assert again.standing(ARCHIVE_KEY.public, at(11)) is Standing.ENDED
    assert again.standing(NEW.public, at(10)) is Standing.REFUSED
    assert again.standing(NEW.public, at(11)) is Standing.COUNTS


def test_a_plain_member_has_nothing_void() -> None:
    assert not member(ARCHIVE).is_ended(ARCHIVE_KEY.public, at(1))


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


def test_the_administrator_revokes_too() -> None:
    entry = SiteRevoked(site=ARCHIVE, key=ARCHIVE_KEY.public, domain="d", grants=["**"], reason="break-in", statement=1)
    said = [FIRST, admits(SUMMIT, ARCHIVE, ARCHIVE_KEY), Said(CAMPUS, sign(MESH, entry, ADMIN))]
    assert fold(ANCHOR, said)[ARCHIVE].revoked


def test_what_a_site_announces_stands_in_its_row() -> None:
    news = Announced(software="1", offers=[], certificate="abc", leaf_address="h:1")
    found = fold(ANCHOR, [FIRST], announced={SUMMIT: news})[SUMMIT]
    assert (found.software, found.certificate, found.leaf_address) == ("1", "abc", "h:1")
    assumed = fold(ANCHOR, [], announced={SUMMIT: news})[SUMMIT]
    assert assumed.certificate == "abc"
