"""Who is admitted, computed from admissions whenever it is read; and the invitations of this site."""

from __future__ import annotations

import pytest
from tests.conformance.catalog.peers import Peer, admission, key_of
from tests.conformance.catalog.running import SITE, receive, say

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.mesh import invites
from librarian_daemon.catalog.mesh.invites import Invitation
from librarian_daemon.catalog.mesh.roster import Member, get_anchor, roster
from librarian_daemon.catalog.status import queries
from librarian_protocol.entries import AdapterOffer, Dial, SiteAnnounced
from librarian_protocol.errors import NotAdmitted


@pytest.fixture
def summit() -> Peer:
    return Peer("summit")


@pytest.fixture
def campus() -> Peer:
    return Peer("campus")


async def _members(catalog: Catalog) -> dict[str, Member]:
    return {str(site): member for site, member in (await catalog.read(roster)).items()}


async def test_the_first_site_is_a_member_by_its_anchor_alone(catalog: Catalog) -> None:
    """A newcomer knows it from the token, before its journal has arrived."""
    anchor = await catalog.read(get_anchor)
    assert anchor is not None
    members = await _members(catalog)
    assert list(members) == [SITE]
    assert (members[SITE].key, members[SITE].may_admit, members[SITE].admitter) == (key_of(SITE).public, True, None)
    await say(catalog, admission(SITE, may_admit=True))
    assert (await _members(catalog))[SITE].domain == SITE


async def test_an_admission_counts_when_its_writer_may_admit(catalog: Catalog, summit: Peer, campus: Peer) -> None:
    """From the first site, or from one that it gave the right to; from nobody else."""
    await say(catalog, admission("summit"))
    await receive(catalog, *summit.say(admission("campus")))
    assert sorted(await _members(catalog)) == [SITE, "summit"]
    await say(catalog, admission("summit", may_admit=True))
    members = await _members(catalog)
    assert sorted(members) == [SITE, "campus", "summit"]
    assert members["campus"].admitter == "summit"
    await receive(catalog, *campus.say(admission("valley")))
    assert "valley" not in await _members(catalog)


async def test_admissions_chain_and_end_with_the_right_of_one_of_their_links(
    catalog: Catalog, summit: Peer, campus: Peer
) -> None:
    await say(catalog, admission("summit", may_admit=True))
    await receive(catalog, *summit.say(admission("campus", may_admit=True)), *campus.say(admission("valley")))
    assert sorted(await _members(catalog)) == [SITE, "campus", "summit", "valley"]
    await receive(catalog, *summit.say(admission("campus", may_admit=False)))
    assert sorted(await _members(catalog)) == [SITE, "campus", "summit"]
    await say(catalog, admission("summit", may_admit=False))
    assert sorted(await _members(catalog)) == [SITE, "summit"]


async def test_a_site_that_admits_itself_is_ignored(catalog: Catalog, summit: Peer) -> None:
    """Neither into the mesh, nor to more rights or another key than it was given."""
    sent = summit.say(admission("summit", may_admit=True, key=key_of("another")), admission("campus"))
    with pytest.raises(NotAdmitted):
        await receive(catalog, *sent)
    assert list(await _members(catalog)) == [SITE]
    await say(catalog, admission("summit", grants=("calib/**",)))
    await receive(catalog, *sent)
    member = (await _members(catalog))["summit"]
    assert (member.key, member.may_admit, member.grants) == (summit.key.public, False, ["calib/**"])
    assert "campus" not in await _members(catalog)


async def test_sites_that_admit_each_other_are_read_once(catalog: Catalog, summit: Peer, campus: Peer) -> None:
    await say(catalog, admission("summit", may_admit=True))
    await receive(catalog, *summit.say(admission("campus", may_admit=True)))
    await receive(catalog, *campus.say(admission("summit", may_admit=True, key=key_of("another"))))
    assert (await _members(catalog))["summit"].key == summit.key.public
    await say(catalog, admission("summit", may_admit=False))
    assert sorted(await _members(catalog)) == [SITE, "summit"]


async def test_the_admitter_changes_a_sites_key(catalog: Catalog, summit: Peer) -> None:
    await say(catalog, admission("summit"), admission("summit", key=key_of("new")))
    assert (await _members(catalog))["summit"].key == key_of("new").public


async def test_nobody_gives_the_first_site_another_key(catalog: Catalog, summit: Peer) -> None:
    """Its key is the one that came with the token."""
    await say(catalog, admission("summit", may_admit=True))
    await receive(catalog, *summit.say(admission(SITE, key=key_of("another"))))
    assert (await _members(catalog))[SITE].key == key_of(SITE).public


async def test_what_sites_announce_is_shown_with_them(catalog: Catalog, summit: Peer) -> None:
    """With the times when they were heard."""
    offer = AdapterOffer(name="http", version=1, address="http://data.example", dial=Dial.DESTINATION)
    await say(catalog, admission("summit"))
    await receive(catalog, *summit.say(SiteAnnounced(software="librarian 1", adapters=[offer])))
    member = (await _members(catalog))["summit"]
    assert (member.software, member.offers) == ("librarian 1", [offer])
    shown = await catalog.read(queries.sites, SITE, key_of(SITE).public)
    assert [(site.site, site.here, site.adapters) for site in shown] == [(SITE, True, []), ("summit", False, ["http"])]
    assert shown[1].last_heard is not None


async def test_invitations_are_kept_until_they_have_expired(catalog: Catalog) -> None:
    first = Invitation(id="1" * 16, secret="s", bus_key="U1", expires=100, used_by=None)
    second = Invitation(id="2" * 16, secret="s", bus_key="U2", expires=200, used_by=None)
    third = Invitation(id="3" * 16, secret="s", bus_key=None, expires=200, used_by=None)
    for invitation in (second, first, third):
        await catalog.write(invites.add, invitation)
    assert await catalog.read(invites.find, first.id) == first
    assert await catalog.read(invites.find, "4" * 16) is None
    assert await catalog.read(invites.open_bus_keys, 50) == ["U1", "U2"]
    assert await catalog.read(invites.open_bus_keys, 100) == ["U2"]
    await catalog.write(invites.used, second.id, "summit")
    found = await catalog.read(invites.find, second.id)
    assert found is not None
    assert found.used_by == "summit"
    await catalog.write(invites.forget_expired, 150)
    assert await catalog.read(invites.find, first.id) is None
    assert await catalog.read(invites.find, second.id) is not None
