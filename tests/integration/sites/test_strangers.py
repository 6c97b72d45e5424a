"""Who may join: only who holds a token that is good, once, under a name that is free. Others are refused, visibly."""

from __future__ import annotations

import sqlite3
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest
from tests.support.nats import nats_server
from tests.support.oracle import digest_of
from tests.support.sites import Pair, Site, free_port, pair, sites, wait_for

from librarian_protocol import tokens


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    with pair(tmp_path_factory.mktemp("sites")) as made:
        yield made


def is_not_let_in(both: Pair, stranger: Site) -> None:
    """Its bus stays away, it reads nothing, and nobody lists it."""
    wait_for(
        "the bus refuses it",
        lambda: "Authorization Violation" in stranger.client.status().bus.detail,
        stranger,
    )
    assert not stranger.client.status().bus.connected
    assert stranger.client.files().files == []
    key = stranger.lbctl("site", "list", "-o", "jsonl").partition('"key":"')[2].partition('"')[0]
    for site in both.sites:
        assert key not in {known.key for known in site.client.sites()}
    name = f"beside {stranger.root.name}.dat"
    both.source.drop_file(name, b"goes on as before")
    both.wait_for("it arrives", lambda: both.source.told("instance.registered", "archive")[name])


def test_a_site_without_a_token_cannot_connect_to_the_bus(both: Pair, tmp_path: Path) -> None:
    """It knows the address, and that is not enough."""
    bus = both.source.client.status().bus.url
    stranger = Site(tmp_path / "stranger", "stranger", bus=bus)
    with sites(stranger):
        stranger.start()
        is_not_let_in(both, stranger)


def test_an_invented_token_opens_nothing(both: Pair, tmp_path: Path) -> None:
    """A token is known by the inviter: neither another secret nor another bus user of one's own making will do."""
    good = tokens.decode(both.source.lbctl("site", "invite"))
    forged = msgspec.structs.replace(good, secret="0" * 64)
    stranger = Site(tmp_path / "stranger", "stranger")
    with sites(stranger):
        stranger.lbctl("site", "join", tokens.encode(forged))
        stranger.start()
        both.wait_for("the inviter says so", lambda: both.source.logged("join_not_valid"))
        assert "proves no open token" in both.source.logged("join_not_valid")[0]["error"]
        is_not_let_in(both, stranger)


def test_a_token_whose_time_is_over_is_refused_by_both_sides(tmp_path: Path) -> None:
    """Whoever is asked to use it says so at once; the inviter does not trust the time that the newcomer claims.

    On an external bus, where the token's bearer can always ask.
    """
    stranger = Site(tmp_path / "stranger", "stranger")
    with nats_server(tmp_path / "nats", free_port()) as server, pair(tmp_path, bus=server.url) as both, sites(stranger):
        good = tokens.decode(both.source.lbctl("site", "invite"))
        old = msgspec.structs.replace(good, expires=1)
        assert "has expired" in stranger.lbctl("site", "join", tokens.encode(old), exit_code=12)
        # At the inviter it is over, and the newcomer's says that it is not.
        catalog = sqlite3.connect(both.source.root / "catalog.sqlite", timeout=30)
        with catalog:
            catalog.execute("UPDATE invite SET expires = 1 WHERE id = ?", (good.id,))
        catalog.close()
        stranger.lbctl("site", "join", tokens.encode(good))
        stranger.start()
        refused_at_the_inviter(both, "stranger", "a token that has expired")
        assert stranger.client.files().files == []
        assert len(both.source.logged("join_refused")) == 1, "it asks every second, and is told of once"


def refused_at_the_inviter(both: Pair, name: str, why: str) -> None:
    """``status`` of the inviter lists who was refused, and why."""
    problem = both.wait_for(
        "the inviter shows it",
        lambda: [
            problem
            for problem in both.source.client.status().problems
            if (problem.code, problem.subject) == ("join-refused", name)
        ],
    )[0]
    assert why in problem.message


def test_a_token_is_good_once(both: Pair, tmp_path: Path) -> None:
    token = both.source.lbctl("site", "invite").strip()
    third = Site(tmp_path / "third", "third")
    fourth = Site(tmp_path / "fourth", "fourth")
    with sites(third, fourth):
        third.lbctl("site", "join", token)
        third.start()
        wait_for("it has joined", lambda: len(third.client.sites()) == 3, both.source, third)
        fourth.lbctl("site", "join", token)
        fourth.start()
        refused_at_the_inviter(both, "fourth", "a token that is spent")
        wait_for(
            "the bus refuses it",
            lambda: "Authorization Violation" in fourth.client.status().bus.detail,
            both.source,
            fourth,
        )
        assert {"archive", "summit", "third"} == {site.site for site in both.source.client.sites()}


def test_a_name_that_is_taken_is_refused(both: Pair, tmp_path: Path) -> None:
    """Another key under a name of the mesh: the one who has the name keeps it."""
    token = both.source.lbctl("site", "invite").strip()
    key = {site.site: site.key for site in both.source.client.sites()}["archive"]
    impostor = Site(tmp_path / "impostor", "archive")
    with sites(impostor):
        impostor.lbctl("site", "join", token)
        impostor.start()
        refused_at_the_inviter(both, "archive", "the name belongs to a site with another key")
        is_not_let_in(both, impostor)
    assert {site.site: site.key for site in both.source.client.sites()}["archive"] == key


def test_a_stranger_gets_no_bytes_and_learns_nothing(both: Pair) -> None:
    """The data plane answers the same to whoever cannot sign, whether it has the bytes or not."""
    both.source.drop_file("secret.dat", b"not for everybody")
    both.wait_for("it is ingested", lambda: both.source.told("file.ingested")["secret.dat"])
    answers: set[tuple[int, bytes]] = set()
    for digest in (digest_of(b"not for everybody"), digest_of(b"nobody has this")):
        url = f"http://127.0.0.1:{both.source.data_port}/data/v1/bytes/{digest}?part=file"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url, timeout=10)
        with refused.value as answer:
            answers.add((answer.code, answer.read()))
    ((status, body),) = answers
    assert status == 401
    assert b"E207" in body
