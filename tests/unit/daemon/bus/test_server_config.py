"""The embedded server's configuration: golden, deterministic, and nothing in it that would let anyone else in."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import msgspec
import pytest

from librarian_daemon.bus.server_config import (
    Invited,
    LeafListen,
    LeafUser,
    Remote,
    ServerConfig,
    SiteUsers,
    is_public_user_key,
    render,
    usable,
    without_secrets,
)
from librarian_protocol.names import SiteName

SAMPLE = Path(__file__).parents[4] / "nats" / "sample.conf"
A, B, C = SiteName("a"), SiteName("b"), SiteName("c-1")
KEYS = (
    "UBTCUJAP5BEELZPWSVY5YK3OTP4SUYT75GVMGYR4TVQHUBCUXJ5YOAVH",
    "UDYEQZW6PCGP4YR7F7O4EIXGFRL2ONEIA3BRPD3BGA44NJLP63D3MYEO",
    "UCYVD5CBNGYLVNFN4INNC2NIH7VUCAG42XKLMQ56MM37RN2X4KVA45RH",
    "UA6BGWLBKVHWKMGGLMEPZKNQLAE6KUFVUHSYNRM5I2UFLZ5VBDNNL4CX",
    "UCL2ETBTXAPVJFQNMP5XBSPOLCYLXA3DFEPN6IZUUMQD4VA3ATQTZBW3",
    "UAEC7ESY2CFNRVMAT7L7FVN6HMBC5P2JMVD6AUXW3TQFDVS3IG6YNYIK",
)


def sample() -> ServerConfig:
    """What ``nats/sample.conf`` shows: sites a and b, and one open invitation."""
    return ServerConfig(
        host=A,
        listen="0.0.0.0:4222",
        directory="/var/lib/librarian/bus",
        sites={
            A: SiteUsers(journal=KEYS[0], link=KEYS[1]),
            B: SiteUsers(journal=KEYS[2], link=KEYS[3]),
        },
        invited=[Invited(key=KEYS[4], inviter=A)],
    )


LEAF_SAMPLE = SAMPLE.with_name("sample-leaf.conf")
HUB_SAMPLE = SAMPLE.with_name("sample-hub.conf")


def hub_sample() -> ServerConfig:
    """What ``nats/sample-hub.conf`` shows: site a, where the links of b (full) and c-1 (callback) meet."""
    return ServerConfig(
        host=A,
        listen="127.0.0.1:4222",
        directory="/var/lib/librarian/bus",
        sites={A: SiteUsers(journal=KEYS[0], link=KEYS[1])},
        leaves={B: LeafUser(key=KEYS[2]), C: LeafUser(key=KEYS[3])},
        access={A: "full", B: "full", C: "callback"},
        system=KEYS[5],
        leaf_listen=LeafListen(listen="0.0.0.0:7422", certificate="/keys/tls.crt", key="/keys/tls.key"),
    )


def leaf_sample() -> ServerConfig:
    """What ``nats/sample-leaf.conf`` shows: the server of b, which dials a."""
    return ServerConfig(
        host=B,
        listen="127.0.0.1:4222",
        directory="/var/lib/librarian/bus",
        sites={B: SiteUsers(journal=KEYS[0], link=KEYS[1])},
        access={A: "full", B: "full", C: "callback"},
        system=KEYS[5],
        remote=Remote(address="a.example:7422", seed="SUSECRET", ca_file="/var/lib/librarian/bus/hub.crt"),
    )


def test_the_samples_of_leaf_links_are_what_is_generated() -> None:
    assert HUB_SAMPLE.read_text() == render(hub_sample())
    assert LEAF_SAMPLE.read_text() == render(without_secrets(leaf_sample()))
    assert "SUSECRET" not in LEAF_SAMPLE.read_text()


def test_a_leaf_whose_key_is_anothers_is_left_out() -> None:
    config = msgspec.structs.replace(hub_sample(), leaves={B: LeafUser(key=KEYS[2]), C: LeafUser(key=KEYS[0])})
    found, left_out = usable(config)
    assert set(found.leaves) == {B}
    assert "the leaf link of site 'c-1' is left out" in left_out[0]


def with_c() -> ServerConfig:
    return ServerConfig(
        host=A,
        listen="127.0.0.1:1",
        directory='/a "directory"\\here',
        sites={C: SiteUsers(journal=KEYS[4], link=KEYS[5]), **sample().sites},
        invited=[],
    )


def test_the_sample_in_the_documentation_is_what_is_generated() -> None:
    assert SAMPLE.read_text() == render(sample())


def test_the_order_of_the_roster_does_not_matter() -> None:
    config = with_c()
    turned = ServerConfig(
        host=config.host,
        listen=config.listen,
        directory=config.directory,
        sites={site: config.sites[site] for site in reversed(list(config.sites))},
    )
    assert render(turned) == render(config)


def test_every_reader_of_every_origin_has_its_two_imports() -> None:
    text = render(with_c())
    for origin, reader in itertools.permutations((A, B, C), 2):
        assert text.count(f'to: "lb.pull.{origin}.{reader}"') == 1
        assert text.count(f'to: "lb.reset.{origin}.{reader}"') == 1
        assert f"LB_{origin}.{origin}_to_{reader}" in text
    assert "a_to_a" not in text


def test_sync_is_always_and_nobody_is_let_in_without_a_key() -> None:
    text = render(with_c())
    assert "sync_interval: always" in text
    for word in ("no_auth_user", "deny", "password", "http", "leafnodes", "DELETE", "PURGE", "$JS.ACK"):
        assert word not in text
    users = re.findall(r"nkey: (\S+), .*\n.*publish: { allow: \[(.+)\] }\n.*subscribe: { allow: \[(.+)\] }", text)
    assert len(users) == 6
    assert text.count("nkey:") == 6  # each with an allow list that is not empty


def test_paths_are_quoted() -> None:
    assert 'store_dir: "/a \\"directory\\"\\\\here/jetstream"' in render(with_c())


@pytest.mark.parametrize(
    "key", ["", "U", KEYS[0].lower(), KEYS[0][:-1] + "A", "A" + KEYS[0][1:], "SU" + KEYS[0][2:], KEYS[0] + "A" * 8]
)
def test_a_key_that_the_server_would_refuse_is_left_out(key: str) -> None:
    assert not is_public_user_key(key)
    config = msgspec.structs.replace(
        sample(),
        sites={**sample().sites, C: SiteUsers(journal=key, link=KEYS[5])},
        invited=[Invited(key=key, inviter=A)],
    )
    kept, why = usable(config)
    assert kept == msgspec.structs.replace(sample(), invited=[])
    assert len(why) == 2
    assert all("not the public NKEY of a user" in text for text in why)


def test_no_key_stands_for_two_users() -> None:
    thief = SiteUsers(journal=KEYS[5], link=KEYS[1])
    double = SiteUsers(journal=KEYS[5], link=KEYS[5])
    config = msgspec.structs.replace(
        sample(),
        sites={SiteName("0-first"): thief, SiteName("double"): double, **sample().sites, C: thief},
        invited=[Invited(key=KEYS[0], inviter=A), *sample().invited, *sample().invited],
    )
    kept, why = usable(config)
    assert (kept, len(why)) == (sample(), 5)
    assert all("in use already" in text for text in why)


def test_of_two_sites_with_one_key_the_earlier_stays() -> None:
    late = SiteUsers(journal=KEYS[2], link=KEYS[5])
    config = msgspec.structs.replace(sample(), sites={**sample().sites, SiteName("aa"): late})
    assert usable(config)[0] == sample()


def test_a_roster_without_faults_is_usable_as_it_is() -> None:
    assert usable(with_c()) == (with_c(), [])
