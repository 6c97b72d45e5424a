"""What a member of the mesh, with its own valid keys and software of its own, can do to another: nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.integration.bus.intruder import Intruder, intruder, seed, url
from tests.integration.bus.plain import plain_server
from tests.integration.bus.sites import A, B, C, Site, numbers, shared, take

from librarian_daemon.bus.streams import consumer_config, stream_config

PULL = {"batch": 5, "expires": 1_000_000_000}


async def is_whole(a: Site, c: Site, last: int) -> bool:
    """Whether A's stream has exactly its own messages, and C still reads them all."""
    return (await a.bus.ensure_stream()).last_seq == last and numbers(await take(c.bus, A, 0, last)) == list(
        range(1, last + 1)
    )


async def published(a: Site) -> int:
    for number in range(1, 11):
        await a.publish(number)
    return 10


async def test_no_member_publishes_as_another(tmp_path: Path) -> None:
    async with shared(tmp_path, B, C) as (a, b, c):
        last = await published(a)
        for role in ("journal", "link"):
            async with intruder(url(a), nkeys_seed_str=seed(b, role)) as peer:
                for subject in ("lb.a.file.ingested", "lb.c.file.ingested", "lb.inbox.c.a.token", "lb.join.a"):
                    await peer.send(subject, b"forged")
                assert await peer.is_denied(4)
        assert await is_whole(a, c, last)


async def test_no_member_purges_or_deletes_anothers_stream_or_consumers(tmp_path: Path) -> None:
    async with shared(tmp_path, B, C) as (a, b, c):
        last = await published(a)
        verbs = ("STREAM.PURGE.LB_a", "STREAM.DELETE.LB_a", "STREAM.UPDATE.LB_a", "CONSUMER.DELETE.LB_a.a_to_c")
        for role in ("journal", "link"):
            async with intruder(url(a), nkeys_seed_str=seed(b, role)) as peer:
                for verb in verbs:
                    await peer.send(f"$JS.API.{verb}", {})
                assert await peer.is_denied(len(verbs))
        assert await is_whole(a, c, last)


async def test_no_member_deletes_from_its_own_stream_either(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        last = await published(a)
        async with intruder(url(a), nkeys_seed_str=seed(a, "journal")) as own:
            for verb in ("STREAM.PURGE.LB_a", "STREAM.DELETE.LB_a", "STREAM.MSG.DELETE.LB_a"):
                await own.send(f"$JS.API.{verb}", {"seq": 1})
            assert await own.is_denied(3)
        assert await is_whole(a, b, last)


async def test_a_member_reads_anothers_stream_by_its_own_consumer_alone(tmp_path: Path) -> None:
    async with shared(tmp_path, B, C) as (a, b, c):
        last = await published(a)
        inbox = {"journal": "_INBOX_b-1.x", "link": "lb.inbox.b-1.a.x"}
        for role, here in inbox.items():
            async with intruder(url(a), nkeys_seed_str=seed(b, role)) as peer:
                await peer.listen(here)
                questions = (
                    "lb.pull.a.c",
                    "lb.reset.a.c",
                    "$JS.API.STREAM.MSG.GET.LB_a",
                    "$JS.API.DIRECT.GET.LB_a",
                    "$JS.API.CONSUMER.CREATE.LB_a.spy",
                    "$JS.API.CONSUMER.MSG.NEXT.LB_a.a_to_c",
                    "$JS.API.CONSUMER.RESET.LB_a.a_to_c",
                )
                for question in questions:
                    await peer.send(question, {**PULL, "seq": 1}, reply=here)
                assert await peer.is_denied(len(questions))
                for subject in (">", "lb.>", "lb.a.>", "lb.inbox.>", "lb.inbox.c.>", "_INBOX_a.>", "_R_.>", "$SYS.>"):
                    await peer.listen(subject)
                assert await peer.is_denied(8)
                await a.publish(last + 1)
                last += 1
                assert numbers(await take(c.bus, A, last - 1, 1)) == [last]
                await asyncio.sleep(0.2)
                assert peer.heard == []
        assert await is_whole(a, c, last)


async def reply_subject_attack(peer: Intruder, pull: str) -> None:
    """JetStream answers to whatever reply subject the asker names, with the origin's authority.

    Messages are no requests that its API understands, but a status is an empty message: an empty request.
    """
    for reply in ("lb.a.file.forged", "$JS.API.CONSUMER.DELETE.LB_a.a_to_c", "$JS.API.STREAM.PURGE.LB_a"):
        await peer.send(pull, {"batch": 1000, "expires": 100_000_000}, reply=reply)
        await asyncio.sleep(0.3)


async def test_the_reply_subject_of_a_pull_purges_nothing(tmp_path: Path) -> None:
    async with shared(tmp_path, B, C) as (a, b, c):
        last = await published(a)
        async with intruder(url(a), nkeys_seed_str=seed(b, "link")) as peer:
            await reply_subject_attack(peer, "lb.pull.a.b-1")
        assert await is_whole(a, c, last)


async def test_a_reply_subject_that_disturbs_another_reader_costs_it_nothing_but_time(tmp_path: Path) -> None:
    async with shared(tmp_path, B, C) as (a, b, c):
        last = await published(a)
        reading = asyncio.create_task(take(c.bus, A, 0, last + 20))
        async with intruder(url(a), nkeys_seed_str=seed(b, "link")) as peer:
            for n in range(last + 1, last + 21):
                for reply in ("lb.reset.a.c", "lb.pull.a.c"):
                    await peer.send("lb.pull.a.b-1", {"batch": 3, "expires": 1_000_000}, reply=reply)
                await a.publish(n)
        assert numbers(await reading) == list(range(1, last + 21))


async def test_in_one_account_the_same_reply_subject_purges(tmp_path: Path) -> None:
    """Why there are two accounts: the attack is real where a reader may pull in the account of the stream."""
    allowed = '"$JS.API.CONSUMER.MSG.NEXT.LB_a.a_to_b-1"'
    settings = (
        "authorization { users: [ { user: a, password: a }, { user: b, password: b, permissions: "
        f'{{ publish: {{ allow: [{allowed}] }}, subscribe: {{ allow: ["lb.inbox.b-1.>"] }} }} }} ] }}'
    )
    async with (
        plain_server(tmp_path / "plain", settings) as where,
        intruder(f"nats://a:a@{where}") as origin,
        intruder(f"nats://b:b@{where}") as peer,
    ):

        async def ask(verb: str, body: object) -> dict[str, object]:
            answer = await origin.client.request(f"$JS.API.{verb}", json.dumps(body).encode(), timeout=5)
            found: dict[str, object] = json.loads(answer.data)
            return found

        await ask("STREAM.CREATE.LB_a", stream_config(A))
        for reader in (B, C):
            body = {"stream_name": "LB_a", "config": consumer_config(A, reader, "full")}
            await ask(f"CONSUMER.CREATE.LB_a.a_to_{reader}", body)
        for n in range(10):
            await origin.client.request("lb.a.file.ingested", b'{"n":%d}' % n, timeout=5)
        await reply_subject_attack(peer, allowed.strip('"'))
        state = (await ask("STREAM.INFO.LB_a", {}))["state"]
        assert isinstance(state, dict)
        assert state["messages"] == 0
        assert state["last_seq"] > 10  # forged ones were stored before the purge
        assert "error" in await ask("CONSUMER.INFO.LB_a.a_to_c", {})


async def test_a_forged_acknowledgement_steals_no_message(tmp_path: Path) -> None:
    async with shared(tmp_path, B, C) as (a, b, c):
        last = await published(a)
        for role, here in (("journal", "_INBOX_b-1.x"), ("link", "lb.inbox.b-1.a.x")):
            async with intruder(url(a), nkeys_seed_str=seed(b, role)) as peer:
                await peer.listen(here)
                for word in (b"+NXT", b"+TERM", b"+ACK"):
                    await peer.send("$JS.ACK.LB_a.a_to_c.1.1.1.1.0", word, reply=here)
                assert await peer.is_denied(3)
                await asyncio.sleep(0.2)
                assert peer.heard == []
        assert await is_whole(a, c, last)


async def test_a_member_makes_no_stream_but_its_own(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b), intruder(url(a), nkeys_seed_str=seed(b, "journal")) as peer:
        await peer.listen("_INBOX_b-1.x")
        for name in ("LB_a", "SPY"):
            await peer.send(f"$JS.API.STREAM.CREATE.{name}", {"name": name, "subjects": ["lb.a.>"]})
        assert await peer.is_denied(2)
