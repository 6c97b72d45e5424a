"""The http adapter over bad links and to wrong addresses: what is sent twice, who is believed to be whom."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp.abc import ResolveResult
from tests.support.chaos_proxy import ChaosProxy
from tests.support.dripping import DrippingProxy
from tests.support.fetching import WatchedStaging, batch_of, failures, landed_keys, outcomes_of
from tests.support.pushing import Certified, certified
from tests.support.source import SUMMIT, Collection, Destination, Source, noise

from librarian_adapters.contract import Adapter, Buffer, Context, Item
from librarian_adapters.http import adapter as http
from librarian_adapters.http.address import GuardedResolver, url_of
from librarian_adapters.http.bundle import Asked
from librarian_adapters.http.client import HttpClient
from librarian_adapters.wrappers.least_rate import LeastRate, Paces
from librarian_adapters.wrappers.stalling import StallingAdapter
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_daemon.dataplane.kernel_copy import KernelCopy
from librarian_daemon.ports.store import Reader
from librarian_protocol.digests import Digest
from librarian_protocol.errors import (
    NotOffered,
    SourceIdentity,
    SourceInvalid,
    SourceRefused,
    TransferError,
    TransferSlow,
)

IMPATIENT = {"idle_s": 1.0, "connect_s": 1.0}


def adapter_of(destination: Destination, certificate: str | None = None) -> Adapter:
    context = Context(
        site=destination.name,
        sign=destination.sign,
        settings=IMPATIENT,
        roots={},
        loopback_peers=True,
        certificate=lambda _: certificate,
    )
    return http.factory(context)


class Served:
    """Which bytes of each file the source has put on its way, by request."""

    def __init__(self, source: Source) -> None:
        self.ranges: dict[Digest, list[list[int]]] = {}
        real, real_copy = source.giver.read, source.giver.copy

        async def read(asked: Asked, reader: Reader, begin: int) -> AsyncGenerator[Buffer]:
            mine = [begin, begin]
            self.ranges.setdefault(asked.digest, []).append(mine)
            async for chunk in real(asked, reader, begin):
                yield chunk
                mine[1] += len(chunk)

        async def copy(asked: Asked, copy: KernelCopy) -> None:
            begin = copy.at
            try:
                await real_copy(asked, copy)
            finally:
                self.ranges.setdefault(asked.digest, []).append([begin, copy.at])

        source.giver.read = read  # type: ignore[method-assign]  # looks on
        source.giver.copy = copy  # type: ignore[method-assign]

    def most(self, digest: Digest) -> int:
        """How often the byte that was sent most often was sent."""
        steps = sorted((at, change) for begin, end in self.ranges[digest] for at, change in ((begin, 1), (end, -1)))
        depth = most = 0
        for _, change in steps:
            depth += change
            most = max(most, depth)
        return most


async def until_landed(adapter: Adapter, address: str, items: Sequence[Item], staging: WatchedStaging) -> None:
    """Batch after batch, as the replicator would."""
    left = list(items)
    while left:
        landed: set[str] = set()
        with suppress(TransferError):
            landed = landed_keys(await outcomes_of(VerifyingAdapter(adapter), batch_of(left, address), staging))
        left = [item for item in left if item.key not in landed]
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("tls", [False, True])
async def test_over_a_flapping_link_no_byte_of_a_large_file_is_sent_three_times(tmp_path: Path, tls: bool) -> None:
    collection, destination = Collection(tmp_path / "store"), Destination()
    collection.keys[destination.name] = destination.key.public
    made = certified(tmp_path / "tls") if tls else Certified()
    source = Source(collection, tls=made.context)
    await source.start()
    served = Served(source)
    items = [collection.add(f"large{number}", noise(10 << 20, number)) for number in range(2)]
    items += collection.add_book("book", {"m": noise(4 << 20, 9), "small": b"s"})[1:]
    adapter = adapter_of(destination, made.certificate)
    async with asyncio.timeout(90), ChaosProxy(("127.0.0.1", source.port), bytes_per_s=50e6 / 8) as link:
        flapping = asyncio.create_task(link.flap(up_s=1.0, down_s=1.0))
        staging = WatchedStaging()
        await until_landed(adapter, made.url(link.address), items, staging)
        flapping.cancel()
        await asyncio.wait([flapping])
    await adapter.close()
    await source.stop()
    assert len(served.ranges[items[0].digest]) > 1, "the link never failed"
    assert max(served.most(digest) for digest in served.ranges) <= 2
    assert all(Digest.blake3(bytes(staging.held[item.key])) == item.digest for item in items)


@pytest.mark.parametrize("announced", [None, "bm8gY2VydGlmaWNhdGU=", "###"])
async def test_another_certificate_than_the_announced_one_is_a_failure_of_its_own(
    tmp_path: Path, announced: str | None
) -> None:
    """Nothing is sent, and plain HTTP is not tried."""
    collection, destination = Collection(tmp_path / "store"), Destination()
    collection.keys[destination.name] = destination.key.public
    source = Source(collection, tls=certified(tmp_path / "tls").context)
    await source.start()
    item = collection.add("f", b"bytes")
    adapter = adapter_of(destination, announced)
    failed = failures(await outcomes_of(adapter, batch_of([item], source.address), WatchedStaging()))
    await adapter.close()
    await source.stop()
    assert isinstance(failed[item.key], SourceIdentity)
    assert collection.lookups == 0


async def test_a_new_certificate_is_followed_without_a_restart(tmp_path: Path) -> None:
    collection, destination = Collection(tmp_path / "store"), Destination()
    collection.keys[destination.name] = destination.key.public
    item = collection.add("f", b"bytes")
    roster = {"certificate": ""}
    context = Context(
        site=destination.name,
        sign=destination.sign,
        settings=IMPATIENT,
        roots={},
        loopback_peers=True,
        certificate=lambda _: roster["certificate"],
    )
    adapter = http.factory(context)
    for which in ("old", "new"):
        tls = certified(tmp_path / which)
        source = Source(collection, tls=tls.context)
        await source.start()
        wrong = failures(await outcomes_of(adapter, batch_of([item], source.address), WatchedStaging()))
        assert isinstance(wrong[item.key], SourceIdentity)
        roster["certificate"] = tls.certificate or ""
        right = await outcomes_of(adapter, batch_of([item], source.address), WatchedStaging())
        assert landed_keys(right) == {item.key}
        await source.stop()
    await adapter.close()


async def test_plain_http_at_an_address_announced_with_tls_is_not_spoken_to(tmp_path: Path) -> None:
    collection, destination = Collection(tmp_path / "store"), Destination()
    source = Source(collection)
    await source.start()
    item = collection.add("f", b"bytes")
    adapter = adapter_of(destination, certified(tmp_path / "tls").certificate)
    failed = failures(await outcomes_of(adapter, batch_of([item], f"https://{source.address}"), WatchedStaging()))
    await adapter.close()
    await source.stop()
    assert isinstance(failed[item.key], SourceIdentity)


@pytest.mark.parametrize("size_bytes", [10, 2 << 20])
async def test_what_is_not_offered_and_who_may_not_read_are_told_apart(tmp_path: Path, size_bytes: int) -> None:
    collection, destination = Collection(tmp_path / "store"), Destination()
    collection.keys[destination.name] = destination.key.public
    source = Source(collection)
    await source.start()
    item = collection.add("f", noise(size_bytes))
    adapter = adapter_of(destination)
    collection.kept_from = {(destination.name, item.digest)}
    failed = failures(await outcomes_of(adapter, batch_of([item], source.address), WatchedStaging()))
    assert isinstance(failed[item.key], NotOffered)
    collection.may_not[destination.name] = "it is a witness"
    failed = failures(await outcomes_of(adapter, batch_of([item], source.address), WatchedStaging()))
    assert isinstance(failed[item.key], SourceRefused)
    assert "it is a witness" in str(failed[item.key])
    await adapter.close()
    await source.stop()


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254:80",
        "https://169.254.169.254:443",
        "0.0.0.0:7400",
        "[::]:7400",
        "[fe80::1]:7400",
        "[::ffff:169.254.169.254]:80",
        "224.0.0.1:7400",
        "255.255.255.255:7400",
        "ftp://host:21",
        "user@host:80",
        "host:80/path",
        "host:0",
        "",
    ],
)
def test_addresses_that_no_site_can_have_are_refused(address: str) -> None:
    with pytest.raises(SourceInvalid):
        url_of("site x", address, "/data/v1/bundle", loopback=True)


@pytest.mark.parametrize("host", ["0", "2852039166", "0xa9fea9fe"])
async def test_a_name_that_leads_to_such_an_address_is_refused(host: str) -> None:
    with pytest.raises(SourceInvalid):
        await GuardedResolver(loopback=True).resolve(host, 80)


class Bystander:
    """Something on this machine that is no site: it answers whoever connects, and counts them."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.heard = 0

    async def __aenter__(self) -> Bystander:
        # One port for both kinds of addresses.
        listening = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self._server = await asyncio.start_server(self._serve, sock=listening)
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard += 1
        await reader.read(1 << 16)
        writer.write(self.answer)
        writer.close()


FORMS = ["127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433", "127.1", "0177.0.0.1", "[::ffff:127.0.0.1]"]


def far_client(destination: Destination) -> HttpClient:
    """Of a site whose own address is no loopback one."""
    return http.client(destination.sign, IMPATIENT, lambda _: None, "", loopback=False)


async def posted(client: HttpClient, address: str) -> None:
    async with client.request(SUMMIT, address, "POST", "/data/v1/push/0", content_type="application/json"):
        pass


@pytest.mark.parametrize("host", FORMS)
async def test_a_peer_that_announces_this_machine_is_not_dialled(host: str) -> None:
    """By whichever way its loopback address is written, nothing connects: not to fetch, and not to push."""
    async with Bystander() as bystander:
        client = far_client(Destination())
        with pytest.raises(SourceInvalid, match="not dialled"):
            await posted(client, f"{host}:{bystander.port}")
        await client.close()
    assert bystander.heard == 0


async def test_a_name_that_changes_its_meaning_leads_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at last is the address of the socket itself, whoever resolved it."""

    async def rebound(self: GuardedResolver, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    monkeypatch.setattr(GuardedResolver, "resolve", rebound)
    async with Bystander() as bystander:
        client = far_client(Destination())
        with pytest.raises(SourceInvalid, match="not dialled"):
            await posted(client, f"rebinding.example:{bystander.port}")
        await client.close()
    assert bystander.heard == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"-ERR secret\r\n",
        b"HTTP/1.1 500 secret\r\nContent-Length: 6\r\n\r\nsecret",
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n\r\n"
        b'{"code": "secret", "kind": "x", "message": "secret"}',
        b"HTTP/1.1 200 OK\r\nContent-Type: text/secret\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nsecret\r\n",
        b"HTTP/1.1 200 OK\r\nSecret: \x01secret\r\n\x02\r\n",
    ],
)
async def test_what_something_else_answers_is_not_passed_on(tmp_path: Path, answer: bytes) -> None:
    """Not its text, its reason, its type nor its headers: what a transfer failed of stands in the journal for good."""
    async with Bystander(answer) as bystander:
        adapter = adapter_of(Destination())
        item = Collection(tmp_path).add("f", noise(10))
        outcomes = await outcomes_of(adapter, batch_of([item], f"127.0.0.1:{bystander.port}"), WatchedStaging())
        (error,) = failures(outcomes).values()
        await adapter.close()
    assert bystander.heard >= 1
    assert isinstance(error, TransferError)
    assert "secret" not in f"{error.message} {error.hint}".lower()


@pytest.mark.parametrize("size_bytes", [200_000, 2 << 20])
async def test_a_source_that_is_never_silent_and_never_done_is_given_up(tmp_path: Path, size_bytes: int) -> None:
    """One byte at a time, in a bundle and in a request of its own; what came is kept, to go on with."""
    collection, destination = Collection(tmp_path / "store"), Destination()
    collection.keys[destination.name] = destination.key.public
    source = Source(collection)
    await source.start()
    item = collection.add("f", noise(size_bytes))
    paces = Paces(min_rate=100_000, over_s=0.5)
    with DrippingProxy(every_s=0.05) as proxy:
        proxy.target = int(source.address.rpartition(":")[2])
        adapter = LeastRate(StallingAdapter(adapter_of(destination), stall_s=60), paces)
        with pytest.raises(TransferSlow, match=r"less than replicator\.min_rate"):
            await outcomes_of(adapter, batch_of([item], proxy.address), WatchedStaging())
        await adapter.close()
    assert paces.slow() == {SUMMIT}
    await source.stop()
