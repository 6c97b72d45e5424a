"""Sites with servers of their own, joined by leaf links: everybody reaches everybody, as itself and no further."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import pytest
from tests.integration.bus.sites import A, B, C, Site, apart, eventually, insist, leaf_members, numbers, take
from tests.support.raw_leaf import RawLeaf, raw_leaf
from tests.support.sites import free_port

from librarian_daemon.config.settings import BusSettings
from librarian_daemon.ports.bus import Credential, Part
from librarian_daemon.runtime.certificates import pem_of
from librarian_protocol import subjects
from librarian_protocol.errors import BusUnavailable, RequestRefused
from librarian_protocol.names import SiteName

D = SiteName("d")


async def published(site: Site, count: int = 10) -> None:
    for number in range(1, count + 1):
        await site.publish(number)


async def test_every_site_reads_every_other_through_the_hub(tmp_path: Path) -> None:
    async with apart(tmp_path, B, C) as sites:
        for site in sites:
            await published(site)
        for reader in sites:
            for origin in sites:
                if origin is not reader:
                    assert numbers(await take(reader.bus, origin.name, 0, 10)) == list(range(1, 11))
                    link = reader.bus.links()[origin.name]
                    assert (link.up, link.detail) == (True, "")


async def echo(asker: SiteName, what: str, body: bytes) -> AsyncGenerator[Part, None]:
    """Answers in as many parts as it is asked for."""
    if what == "refuse":
        raise RequestRefused(f"not to {asker}")
    for number in range(int(body)):
        yield Part(payload=f"{asker} {what} {number}".encode(), headers={"Lb-Signature": "s"})


async def test_two_leaves_ask_one_another_and_parts_come_whole_and_in_order(tmp_path: Path) -> None:
    async with apart(tmp_path, B, C) as (a, b, c):
        answering = [asyncio.create_task(site.bus.answer(echo)) for site in (a, b, c)]
        try:
            for asker, peer in ((b, c), (c, b), (a, b), (b, a)):

                async def ask(asker: Site = asker, peer: Site = peer) -> list[Part]:
                    return [part async for part in asker.bus.ask(peer.name, "x", b"40", silence_s=2)]

                parts = await insist(ask, BusUnavailable)
                assert [part.payload for part in parts] == [f"{asker.name} x {n}".encode() for n in range(40)]
                assert parts[0].headers["Lb-Signature"] == "s"
            with pytest.raises(RequestRefused, match="not to b-1"):
                [part async for part in b.bus.ask(C, "refuse", b"", silence_s=2)]
        finally:
            for task in answering:
                task.cancel()
            await asyncio.gather(*answering, return_exceptions=True)


async def test_heads_are_heard_by_all(tmp_path: Path) -> None:
    """By this site itself, too: whoever has its key, and is another daemon, is a twin."""
    async with apart(tmp_path, B, C) as sites:
        heard: dict[SiteName, set[tuple[SiteName, bytes]]] = {site.name: set() for site in sites}

        async def listen(site: Site) -> None:
            async for peer, message in site.bus.heads():
                heard[site.name].add((peer, message))

        listening = [asyncio.create_task(listen(site)) for site in sites]
        try:
            async with asyncio.timeout(15):
                while not all(len(found) == 3 for found in heard.values()):
                    for site in sites:
                        await site.bus.announce(b"of " + site.name.encode())
                    await asyncio.sleep(0.1)
            for found in heard.values():
                assert found == {(site.name, b"of " + site.name.encode()) for site in sites}
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)


async def test_a_callback_site_reads_its_own_mail_alone_and_asks_nobody(tmp_path: Path) -> None:
    async with apart(tmp_path, B, C, callback=[C]) as (a, b, c):
        answering = asyncio.create_task(b.bus.answer(echo))
        try:
            await published(a, 3)
            await a.bus.publish(subjects.mail(A, B, "x"), b"{}", {})
            await a.bus.publish(subjects.mail(A, C, "x"), b"{}", {})
            (letter,) = await take(c.bus, A, 0, 1)
            assert letter.subject == "lb.a.mail.c.x"
            assert len(await take(b.bus, A, 0, 4)) == 4, "three of the journal, and its own letter"
            with pytest.raises(BusUnavailable):
                [part async for part in c.bus.ask(B, "x", b"1", silence_s=1)]
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)


async def test_a_site_that_is_removed_loses_its_live_link_and_does_not_come_back(tmp_path: Path) -> None:
    async with apart(tmp_path, B, C) as (a, b, c):
        await published(a)
        assert len(await take(b.bus, A, 0, 10)) == 10
        reading = asyncio.create_task(take(b.bus, A, 10, 1, timeout_s=60))
        await eventually(lambda: b.bus.links()[A].up)
        await a.bus.set_roster(leaf_members(a, c), [])
        await eventually(lambda: not b.bus.links()[A].up, 30)
        await a.publish(11)
        assert numbers(await take(c.bus, A, 10, 1)) == [11], "the others came back by themselves"
        await asyncio.sleep(3)  # its server dials once a second
        assert not b.bus.links()[A].up
        assert not reading.done()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_fourth_site_joins_under_traffic_and_nobody_is_disturbed(tmp_path: Path) -> None:
    async with apart(tmp_path, B, C) as (a, b, c):
        await published(a, 1)
        reading = asyncio.create_task(take(b.bus, A, 1, 40))
        newcomer = Site(D, tmp_path / "d", BusSettings(listen="127.0.0.1:0"))
        members = leaf_members(a, b, c, newcomer)
        try:
            for number in range(2, 42):
                await a.publish(number)
                if number == 20:
                    for site in (a, b, c):
                        await site.bus.set_roster(members, [])
                        await insist(partial(site.bus.ensure_readers, dict.fromkeys(members, "full")), BusUnavailable)
            assert numbers(await reading) == list(range(2, 42))
            await newcomer.bus.set_roster(members, [])
            hub = members[A]
            await newcomer.bus.dial(
                A, Credential(url="", leaf_address=hub.leaf_address, certificate=hub.certificate or "")
            )
            newcomer.start()
            assert len(await take(newcomer.bus, A, 0, 41)) == 41
        finally:
            await newcomer.stop()


# ---- attacks: whoever owns a leaf's host has its key, and sends what he likes -----------------------------


def leaf_seed(site: Site) -> str:
    return (site.root / "keys" / "bus-leaf.nk").read_text().strip()


PULL = json.dumps({"batch": 5, "expires": 1_000_000_000}).encode()


async def is_whole(a: Site, c: Site, last: int) -> bool:
    """Whether A's stream has exactly its own messages, and C still reads them all."""
    return (await a.bus.ensure_stream()).last_seq == last and numbers(await take(c.bus, A, 0, last)) == list(
        range(1, last + 1)
    )


class Attack:
    """The hub, an honest leaf, and a raw link with the key of another leaf whose own server is gone."""

    def __init__(self, a: Site, c: Site, link: RawLeaf) -> None:
        self.a = a
        self.c = c
        self.link = link


@pytest.fixture
async def attack(tmp_path: Path) -> AsyncGenerator[Attack]:
    async with apart(tmp_path, B, C) as (a, b, c):
        await published(a)
        await published(c)
        await b.stop()
        assert a.certificate is not None
        async with raw_leaf(a.bus.leaf_address(), leaf_seed(b), pem_of(a.certificate.announced)) as link:
            await link.settled()
            yield Attack(a, c, link)


async def test_a_raw_link_can_do_what_its_site_may(attack: Attack) -> None:
    """Or the tests below would show nothing."""
    await attack.link.listen("lb.inbox.b-1.>")
    await attack.link.send("lb.reset.a.b-1", b'{"seq":1}', reply="lb.inbox.b-1.a.t0")
    await attack.link.send("lb.pull.a.b-1", PULL, reply="lb.inbox.b-1.a.t1")
    await eventually(
        lambda: (
            sum(subject == "lb.a.file.ingested" for subject, _ in attack.link.heard) >= 5
            or sum(b'"n":' in payload for _, payload in attack.link.heard) >= 5
        )
    )


async def test_it_publishes_nothing_as_another(attack: Attack) -> None:
    for subject in ("lb.a.file.ingested", "lb.c.file.ingested", "lb.head.c", "lb.rpc.a.c.journal", "lb.inbox.c.a.x"):
        await attack.link.send(subject, b'{"n":99}')
    await attack.link.settled()
    assert await is_whole(attack.a, attack.c, 10)
    assert (await attack.c.bus.ensure_stream()).last_seq == 10


async def test_it_reaches_no_api_of_jetstream(attack: Attack) -> None:
    await attack.link.listen("lb.inbox.b-1.>")
    for prefix in ("$JS.API", "$JS.a.API", "$JS.c.API"):
        for verb in (
            "STREAM.PURGE.LB_a", "STREAM.DELETE.LB_a", "STREAM.UPDATE.LB_a", "STREAM.INFO.LB_a", "STREAM.PURGE.LB_c",
            "CONSUMER.DELETE.LB_a.a_to_c", "CONSUMER.CREATE.LB_a.mine", "CONSUMER.MSG.NEXT.LB_a.a_to_c",
            "CONSUMER.RESET.LB_a.a_to_c", "STREAM.MSG.GET.LB_a",
        ):  # fmt: skip
            await attack.link.send(f"{prefix}.{verb}", b"{}", reply="lb.inbox.b-1.a.t")
    await attack.link.settled()
    assert attack.link.heard == []
    assert await is_whole(attack.a, attack.c, 10)


async def test_a_reply_subject_makes_no_origin_purge_delete_or_store(attack: Attack) -> None:
    for reply in (
        "$JS.API.STREAM.PURGE.LB_a", "$JS.API.STREAM.DELETE.LB_a", "$JS.API.CONSUMER.DELETE.LB_a.a_to_c",
        "lb.a.file.forged", "lb.c.file.forged", "$JS.c.API.STREAM.PURGE.LB_c",
    ):  # fmt: skip
        await attack.link.send("lb.pull.a.b-1", json.dumps({"batch": 1, "expires": 200_000_000}).encode(), reply=reply)
        await attack.link.send("lb.pull.c.b-1", json.dumps({"batch": 1, "expires": 200_000_000}).encode(), reply=reply)
    await attack.link.settled()
    await asyncio.sleep(1)  # the requests run out: the statuses go to the reply subjects
    assert await is_whole(attack.a, attack.c, 10)
    assert numbers(await take(attack.a.bus, C, 0, 10)) == list(range(1, 11))


async def test_a_forged_acknowledgement_steals_no_message(attack: Attack) -> None:
    await attack.link.listen("lb.inbox.b-1.>")
    for consumer in ("LB_a.a_to_c", "LB_c.c_to_a"):
        for body in (b"+NXT", b"+ACK", b"+TERM", b"-NAK"):
            await attack.link.send(f"$JS.ACK.{consumer}.1.1.1.1.0", body, reply="lb.inbox.b-1.a.x")
            await attack.link.send(f"$JS.ACK._.hash.{consumer}.1.1.1.1.0.tok", body, reply="lb.inbox.b-1.a.x")
    await attack.link.settled()
    assert attack.link.heard == []
    assert await is_whole(attack.a, attack.c, 10)


async def test_it_reads_as_no_other_reader_and_hears_nobody_elses_traffic(attack: Attack) -> None:
    for subject in (">", "lb.>", "lb.inbox.>", "lb.inbox.c.>", "lb.rpc.>", "lb.rpc.c.>", "lb.a.>", "lb.c.mail.>"):
        await attack.link.listen(subject)
    await attack.link.send("lb.pull.a.c", PULL, reply="lb.inbox.b-1.a.x")
    await attack.link.send("lb.reset.a.c", b'{"seq":1}', reply="lb.inbox.b-1.a.x")
    answering = asyncio.create_task(attack.c.bus.answer(echo))
    try:

        async def ask() -> list[Part]:
            return [part async for part in attack.a.bus.ask(C, "x", b"3", silence_s=2)]

        assert len(await insist(ask, BusUnavailable)) == 3
        assert numbers(await take(attack.c.bus, A, 0, 10)) == list(range(1, 11))
        await attack.a.bus.publish(subjects.mail(A, C, "secret"), b"{}", {})
        assert len(await take(attack.c.bus, A, 10, 1)) == 1
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
    await attack.link.settled()
    assert attack.link.heard == []


async def test_a_stranger_is_not_let_in(tmp_path: Path) -> None:
    stranger = Site(D, tmp_path / "d", BusSettings(listen=f"127.0.0.1:{free_port()}"))
    async with apart(tmp_path, B) as (a, _):
        assert a.certificate is not None
        async with raw_leaf(a.bus.leaf_address(), leaf_seed(stranger), pem_of(a.certificate.announced)) as link:
            await eventually(lambda: link.closed)
        assert any("Authorization" in error for error in link.errors)
