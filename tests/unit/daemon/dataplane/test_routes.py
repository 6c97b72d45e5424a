"""The data plane: who gets what, and what strangers learn."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.support.source import NOW, SUMMIT, Collection, Destination, Source, noise
from yarl import URL

from librarian_adapters.contract import Item, Part
from librarian_adapters.http.bundle import BUNDLE_TARGET, BYTES_TARGET, Asked, FrameReader
from librarian_daemon.dataplane.gate import DataLimits
from librarian_protocol import wire
from librarian_protocol.digests import Digest
from librarian_protocol.names import MemberPath, SiteName


class Asker:
    """Sends requests, well signed or not."""

    def __init__(self, source: Source, collection: Collection, session: aiohttp.ClientSession) -> None:
        self.source = source
        self.collection = collection
        self.session = session
        self.site = Destination()

    def signed(
        self, target: str, *, method: str = "GET", byte_range: str = "", body: bytes = b"", source: SiteName = SUMMIT
    ) -> dict[str, str]:
        """The headers of a well-made request."""
        headers = self.site.sign(source=source, method=method, target=target, range=byte_range, body=body)
        return headers | ({"Range": byte_range} if byte_range else {})

    async def send(
        self, target: str, headers: dict[str, str], *, method: str = "GET", body: bytes = b""
    ) -> tuple[int, bytes]:
        """Status and body of the answer."""
        url = URL(f"http://{self.source.address}{target}", encoded=True)
        async with self.session.request(method, url, headers=headers, data=BytesIO(body) if body else None) as response:
            return response.status, await response.read()

    async def get(self, target: str, byte_range: str = "") -> tuple[int, bytes]:
        """A well-signed GET."""
        return await self.send(target, self.signed(target, byte_range=byte_range))

    async def bundle(self, body: bytes) -> tuple[int, bytes]:
        """A well-signed bundle request."""
        return await self.send(
            BUNDLE_TARGET, self.signed(BUNDLE_TARGET, method="POST", body=body), method="POST", body=body
        )


LIMITS = DataLimits(requests_per_site=2, body_s=0.3, stall_s=0.3)


@pytest.fixture
async def asker(tmp_path: Path) -> AsyncGenerator[Asker]:
    collection = Collection(tmp_path / "store")
    source = Source(collection, limits=LIMITS)
    await source.start()
    async with aiohttp.ClientSession() as session:
        asker = Asker(source, collection, session)
        collection.keys[asker.site.name] = asker.site.key.public
        yield asker
    await source.stop()


def target_of(item: Item) -> str:
    return f"{BYTES_TARGET}{item.file_digest}?part={item.part}"


def asked(item: Item, **changes: Any) -> Asked:
    given = Asked(digest=item.file_digest, part=item.part, member=item.member, size_bytes=item.size_bytes)
    return msgspec.structs.replace(given, **changes)


# ---- who -----------------------------------------------------------------------------------------------


async def test_an_admitted_site_gets_what_it_asks_for(asker: Asker) -> None:
    item = asker.collection.add("f", b"bytes")
    assert await asker.get(target_of(item)) == (200, b"bytes")


@pytest.mark.parametrize("missing", ["Lb-Site", "Lb-Expires", "Lb-Body", "Lb-Signature"])
async def test_an_unsigned_request_is_refused(asker: Asker, missing: str) -> None:
    target = target_of(asker.collection.add("f", b"bytes"))
    headers = asker.signed(target)
    del headers[missing]
    assert (await asker.send(target, headers))[0] == 401


async def test_a_request_under_a_wrong_key_is_refused(asker: Asker) -> None:
    target = target_of(asker.collection.add("f", b"bytes"))
    asker.site.key = Destination(seed=7).key
    assert (await asker.get(target))[0] == 401


@pytest.mark.parametrize("expires", [NOW - 1, NOW + 601, 0, -1])
async def test_a_request_that_is_old_or_long_dated_is_refused(asker: Asker, expires: int) -> None:
    target = target_of(asker.collection.add("f", b"bytes"))
    asker.site.expires = expires
    assert (await asker.get(target))[0] == 401


async def test_a_captured_request_is_good_for_a_short_while_only(asker: Asker) -> None:
    target = target_of(asker.collection.add("f", b"bytes"))
    headers = asker.signed(target)
    assert (await asker.send(target, headers))[0] == 200
    asker.source.clock.now += 121
    assert (await asker.send(target, headers))[0] == 401


async def test_a_request_to_another_source_is_refused_here(asker: Asker) -> None:
    target = target_of(asker.collection.add("f", b"bytes"))
    headers = asker.signed(target, source=SiteName.parse("university"))
    assert (await asker.send(target, headers))[0] == 401


async def test_a_site_that_is_not_admitted_is_refused(asker: Asker) -> None:
    target = target_of(asker.collection.add("f", b"bytes"))
    asker.collection.keys.clear()
    assert (await asker.get(target))[0] == 401


async def test_nothing_that_is_signed_can_be_changed(asker: Asker) -> None:
    target = target_of(asker.collection.add("f", b"0123456789"))
    other = target_of(asker.collection.add("other", b"other"))
    ranged = asker.signed(target, byte_range="bytes=5-")
    assert (await asker.send(target, ranged))[0] == 206
    assert (await asker.send(other, asker.signed(target)))[0] == 401
    assert (await asker.send(target + "&x=1", asker.signed(target)))[0] == 401
    assert (await asker.send(target, ranged | {"Range": "bytes=4-"}))[0] == 401
    del ranged["Range"]
    assert (await asker.send(target, ranged))[0] == 401
    body = wire.encode([])
    headers = asker.signed(BUNDLE_TARGET, method="POST", body=body)
    assert (await asker.send(BUNDLE_TARGET, headers, method="POST", body=body))[0] == 200
    for tampered in (b"", body + b" ", b"()", b"[" * 2_000_000):
        assert (await asker.send(BUNDLE_TARGET, headers, method="POST", body=tampered))[0] == 401
    declared = {"Lb-Body": Digest.blake3(body + b" ").hex}
    assert (await asker.send(BUNDLE_TARGET, headers | declared, method="POST", body=body + b" "))[0] == 401
    assert (await asker.send(BUNDLE_TARGET, asker.signed(BUNDLE_TARGET, body=body), method="POST", body=body))[0] == 401


async def test_a_stranger_learns_nothing_of_what_is_here(asker: Asker) -> None:
    there = target_of(asker.collection.add("f", b"bytes"))
    absent = f"{BYTES_TARGET}{Digest.blake3(b'absent')}?part=file"
    broken = f"{BYTES_TARGET}nonsense?part=?"
    asker.site.key = Destination(seed=7).key
    answers = {await asker.get(target) for target in (there, absent, broken)}
    answers |= {await asker.bundle(body) for body in (b"", b"nonsense", wire.encode([]))}
    assert len(answers) == 1
    assert asker.collection.lookups == 0
    assert asker.collection.suspected == []


async def test_a_stranger_learns_neither_who_is_a_member_nor_what_was_made_of_its_headers(asker: Asker) -> None:
    target = target_of(asker.collection.add("f", b"bytes"))
    good = asker.signed(target)
    asker.source.clock.now += 10_000  # a late request that is well signed is told of the clocks; these are not
    changes = [
        {"Lb-Signature": "0" * 128},
        {"Lb-Signature": "x"},
        {"Lb-Site": "nobody"},
        {"Lb-Site": "No Site"},
        {"Lb-Expires": "tomorrow"},
        {"Lb-Expires": "9" * 5000},
        {"Lb-Body": "short"},
    ]
    answers = {await asker.send(target, good | change) for change in changes}
    assert len(answers) == 1
    ((status, body),) = answers
    assert status == 401
    assert not any(word in body for word in (b"ed25519", b"invalid literal", b"tomorrow", b"nobody", b"archive"))
    assert b"clock" in (await asker.send(target, good))[1]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "nonsense"])
async def test_a_signed_body_that_cannot_be_unpacked_is_a_bad_request(asker: Asker, encoding: str) -> None:
    headers = asker.signed(BUNDLE_TARGET, method="POST", body=b"not packed") | {"Content-Encoding": encoding}
    status, body = await asker.send(BUNDLE_TARGET, headers, method="POST", body=b"not packed")
    assert (status, b'"code":"E108"' in body) == (400, True)


async def test_a_signed_body_in_broken_chunks_is_a_bad_request(asker: Asker) -> None:
    lines = [f"POST {BUNDLE_TARGET} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked"]
    lines += [f"{key}: {value}" for key, value in asker.signed(BUNDLE_TARGET, method="POST", body=b"[]").items()]
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", asker.source.port)
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        writer.write(b"nonsense\r\n")
        assert (await reader.readuntil(b"\r\n")).endswith(b" 400 Bad Request\r\n")
        writer.transport.abort()


async def status_line(
    asker: Asker, headers: dict[str, str], *, length: int, body: bytes = b"", till_end: bool = False
) -> tuple[bytes, bytes]:
    """The first line answered to a bundle request of which only ``body`` is sent, and what follows if asked for."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", asker.source.port)
        lines = [f"POST {BUNDLE_TARGET} HTTP/1.1", "Host: x", f"Content-Length: {length}"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer = await reader.readuntil(b"\r\n")
        rest = await reader.read() if till_end else b""
        writer.transport.abort()
    return answer, rest


UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\n"


@pytest.mark.parametrize("stranger", ["not admitted", "wrong key", "no signature", "another body declared"])
async def test_a_strangers_body_is_not_waited_for(asker: Asker, monkeypatch: pytest.MonkeyPatch, stranger: str) -> None:
    monkeypatch.setattr("aiohttp.web.Request.read", None)
    headers = asker.signed(BUNDLE_TARGET, method="POST")
    match stranger:
        case "not admitted":
            asker.collection.keys.clear()
        case "wrong key":
            asker.collection.keys[asker.site.name] = Destination(seed=7).key.public
        case "no signature":
            headers["Lb-Signature"] = "0" * 128
        case _:
            headers["Lb-Body"] = Digest.blake3(b"another").hex
    begun = asyncio.get_running_loop().time()
    assert (await status_line(asker, headers, length=4_000_000))[0] == UNAUTHORIZED
    assert asyncio.get_running_loop().time() - begun < LIMITS.body_s
    answer, rest = await status_line(asker, headers, length=4_000_000, till_end=True)
    assert answer == UNAUTHORIZED
    assert b"\r\nConnection: close\r\n" in rest


async def test_a_body_that_stops_coming_is_refused(asker: Asker) -> None:
    headers = asker.signed(BUNDLE_TARGET, method="POST", body=b"[]")
    assert (await status_line(asker, headers, length=2, body=b"["))[0] == UNAUTHORIZED


async def test_bodies_on_their_way_count_as_requests_of_their_site(asker: Asker) -> None:
    headers = asker.signed(BUNDLE_TARGET, method="POST", body=b"[]")
    waiting = [asyncio.create_task(status_line(asker, headers, length=2, body=b"[")) for _ in range(2)]
    await asyncio.sleep(LIMITS.body_s / 3)
    assert (await status_line(asker, headers, length=2, body=b"["))[0].startswith(b"HTTP/1.1 503 ")
    assert [answer for answer, _ in await asyncio.gather(*waiting)] == [UNAUTHORIZED] * 2
    assert (await status_line(asker, headers, length=2, body=b"[]"))[0] == b"HTTP/1.1 200 OK\r\n"


async def test_a_body_announced_larger_than_any_request_is_not_waited_for(asker: Asker) -> None:
    headers = asker.signed(BUNDLE_TARGET, method="POST", body=b"[]")
    answer, _ = await status_line(asker, headers, length=(4 << 20) + 1)
    assert answer == b"HTTP/1.1 413 Request Entity Too Large\r\n"


async def test_a_body_larger_than_any_request_is_refused(asker: Asker) -> None:
    assert (await asker.bundle(b" " * ((4 << 20) + 1)))[0] == 413


# ---- what ----------------------------------------------------------------------------------------------


async def test_a_range_goes_to_the_end(asker: Asker) -> None:
    item = asker.collection.add("f", b"0123456789")
    assert await asker.get(target_of(item), "bytes=7-") == (206, b"789")
    assert await asker.get(target_of(item), "bytes=0-") == (200, b"0123456789")


@pytest.mark.parametrize("byte_range", ["bytes=10-", "bytes=99-", "bytes=1-2", "bytes=-1", "lines=1-", "bytes=1-,3-"])
async def test_any_other_range_is_refused(asker: Asker, byte_range: str) -> None:
    item = asker.collection.add("f", b"0123456789")
    assert (await asker.get(target_of(item), byte_range))[0] == 400


@pytest.mark.parametrize(
    "query", ["", "?part", "?part=dir", "?part=member&member=../x", "?part=member&member=%ff", "?part=file&more=1"]
)
async def test_a_request_that_makes_no_sense_is_refused(asker: Asker, query: str) -> None:
    item = asker.collection.add("f", b"1")
    assert (await asker.get(f"{BYTES_TARGET}{item.digest}{query}"))[0] == 400
    assert (await asker.get(f"{BYTES_TARGET}sha1:00{query}"))[0] == 400


async def test_what_is_not_held_is_missing_and_nobody_is_suspected(asker: Asker) -> None:
    book = asker.collection.add_book("book", {"m": b"1"})
    single = asker.collection.add("f", b"2")
    absent = Digest.blake3(b"absent")
    for digest, part in ((absent, "file"), (book[0].file_digest, "file"), (single.digest, "manifest")):
        status, body = await asker.get(f"{BYTES_TARGET}{digest}?part={part}")
        assert status == 404
        assert b'"code":"E301"' in body
    assert asker.collection.suspected == []


@pytest.mark.parametrize("damage", ["gone", "longer", "shorter", "a link"])
async def test_an_instance_that_is_not_as_it_should_be_is_missing_and_suspected(asker: Asker, damage: str) -> None:
    item = asker.collection.add("f", b"bytes")
    path = asker.collection.path(item)
    path.unlink()
    match damage:
        case "longer":
            path.write_bytes(b"bytes!")
        case "shorter":
            path.write_bytes(b"byte")
        case "a link":
            path.symlink_to("/etc/hostname")
        case _:
            pass
    status, body = await asker.get(target_of(item))
    assert (status, b'"code":"E301"' in body) == (404, True)
    status, body = await asker.bundle(wire.encode([asked(item)]))
    [frame] = FrameReader(100).feed(body)
    assert (status, frame.head.code) == (200, "E301")
    assert [digest for digest, _ in asker.collection.suspected] == [item.digest] * 2


async def test_a_store_that_is_not_mounted_is_not_an_empty_one(asker: Asker) -> None:
    item = asker.collection.add("f", b"bytes")
    asker.collection.mounted = False
    status, body = await asker.get(target_of(item))
    assert (status, b"secret" in body) == (503, False)
    _, body = await asker.bundle(wire.encode([asked(item)]))
    [frame] = FrameReader(100).feed(body)
    assert frame.head.code == "E304"
    assert "secret" not in frame.head.message
    assert asker.collection.suspected == []


async def test_a_file_cut_while_it_is_sent_breaks_the_answer(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    item = asker.collection.add("f", noise(3 << 20))
    send = os.sendfile

    def sendfile(connection: int, file: int, offset: int, count: int) -> int:
        return 0 if offset else send(connection, file, offset, count)

    monkeypatch.setattr("os.sendfile", sendfile)
    with pytest.raises(aiohttp.ClientPayloadError):
        await asker.get(target_of(item))
    assert [digest for digest, _ in asker.collection.suspected] == [item.digest]


async def test_where_the_kernel_cannot_go_on_the_rest_is_read(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some filesystems do not send."""
    data = noise(3 << 20)
    item = asker.collection.add("f", data)
    send = os.sendfile

    def sendfile(connection: int, file: int, offset: int, count: int) -> int:
        if offset >= 1 << 20:
            raise OSError(errno.EINVAL, "Invalid argument")
        return send(connection, file, offset, count)

    monkeypatch.setattr("os.sendfile", sendfile)
    assert await asker.get(target_of(item)) == (200, data)
    assert asker.collection.suspected == []


async def test_a_file_that_cannot_be_read_while_it_is_sent_is_suspected(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = asker.collection.add("f", noise(3 << 20))

    def failing(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.sendfile", failing)
    monkeypatch.setattr("os.pread", failing)
    with pytest.raises(aiohttp.ClientPayloadError):
        await asker.get(target_of(item))
    assert [digest for digest, _ in asker.collection.suspected] == [item.digest]


async def test_what_the_kernel_sends_is_followed_by_the_next_answer(asker: Asker) -> None:
    """On one connection."""
    data = noise(2 << 20)
    item = asker.collection.add("f", data)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as asker.session:
        for begin in (0, 1 << 20, 0):
            status, body = await asker.get(target_of(item), f"bytes={begin}-")
            assert (status, body == data[begin:]) == (206 if begin else 200, True)


async def test_a_bundle_answers_each_item_by_its_place(asker: Asker) -> None:
    file = asker.collection.add("one", b"1")
    manifest, member = asker.collection.add_book("book", {"a b": b"22"})
    body = wire.encode(
        [
            asked(file),
            asked(file, digest=Digest.blake3(b"absent")),
            asked(member),
            asked(member, member=MemberPath.parse("other")),
            asked(manifest),
            asked(manifest, size_bytes=5),
            asked(file, part=Part.MEMBER),
            asked(file),
        ]
    )
    status, answer = await asker.bundle(body)
    frames = sorted(FrameReader(1000).feed(answer), key=lambda frame: frame.head.item)
    codes = [(frame.head.item, frame.head.code) for frame in frames]
    assert status == 200
    assert codes == [(0, ""), (1, "E301"), (2, ""), (3, "E301"), (4, ""), (5, "E303"), (6, "E301"), (7, "")]
    assert [frames[at].body for at in (0, 2, 7)] == [b"1", b"22", b"1"]


@pytest.mark.parametrize("body", [b"", b"nonsense", b'[{"digest":"x"}]'])
async def test_a_bundle_request_that_makes_no_sense_is_refused(asker: Asker, body: bytes) -> None:
    assert (await asker.bundle(body))[0] == 400


# ---- how much ------------------------------------------------------------------------------------------


async def test_a_site_with_too_many_requests_is_told_to_wait(asker: Asker) -> None:
    item = asker.collection.add("f", b"bytes")
    entered, leave = asyncio.Semaphore(0), asyncio.Event()
    find = asker.collection.find

    async def waiting(asker: SiteName, digests: Sequence[Digest]) -> Any:
        entered.release()
        await leave.wait()
        return await find(asker, digests)

    asker.collection.find = waiting  # type: ignore[method-assign]  # holds two requests under way
    under_way = [asyncio.create_task(asker.get(target_of(item))) for _ in range(2)]
    for _ in under_way:
        await entered.acquire()
    status, body = await asker.get(target_of(item))
    assert (status, b"E304" in body) == (503, True)
    leave.set()
    assert [(await task)[0] for task in under_way] == [200, 200]
    assert (await asker.get(target_of(item)))[0] == 200


async def test_a_reader_that_stops_reading_is_cut_and_its_place_given_back(asker: Asker) -> None:
    item = asker.collection.add("f", noise(64 << 20))
    target = target_of(item)
    writers: list[asyncio.StreamWriter] = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", asker.source.port, limit=1 << 10)
        headers = "".join(f"{key}: {value}\r\n" for key, value in asker.signed(target).items())
        writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        await reader.readuntil(b"\r\n")
        writers.append(writer)
    assert (await asker.get(target))[0] == 503
    async with asyncio.timeout(10):
        while (await asker.get(f"{BYTES_TARGET}{Digest.blake3(b'absent')}?part=file"))[0] == 503:
            await asyncio.sleep(0.05)
    for writer in writers:
        writer.transport.abort()
