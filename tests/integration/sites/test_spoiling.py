"""Bits that flip: on the way, in staging, in the source's store. Nothing wrong is ever stored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from tests.support.flipping_proxy import FlippingProxy
from tests.support.oracle import digest_of, in_book, some_bytes, standing
from tests.support.sites import Pair, pair

LARGE = some_bytes(8 << 20)
SMALL = some_bytes(64 << 10)
BOOK: dict[str, bytes | None] = {f"m/{n}": some_bytes(9000, n) for n in range(20)}


def drop_large(both: Pair, name: str = "large.dat") -> dict[str, str]:
    both.source.drop_file(name, LARGE)
    return {name: digest_of(LARGE)}


def drop_small(both: Pair, name: str) -> dict[str, str]:
    both.source.drop_file(name, SMALL)
    return {name: digest_of(SMALL)}


def drop_book(both: Pair, name: str = "book") -> dict[str, str]:
    both.source.drop_book(name, BOOK)
    return in_book(name, BOOK)


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[FlippingProxy, Pair]]:
    """A pair whose bytes go by way of a proxy."""
    with FlippingProxy() as proxy, pair(tmp_path_factory.mktemp("sites"), advertise=proxy.address) as both:
        proxy.target = both.source.data_port
        yield proxy, both


@pytest.mark.parametrize(
    ("drop", "offset"), [(drop_large, 5_000_000), (drop_small, 30_000), (drop_book, 700), (drop_book, 50_000)]
)
def test_a_bit_flipped_on_the_way_is_caught_and_pulled_again(
    spoiled: tuple[FlippingProxy, Pair], drop: Callable[[Pair, str], dict[str, str]], offset: int
) -> None:
    """By a request of its own, in a bundle, in a book's manifest and among its members."""
    proxy, both = spoiled
    name = f"{drop.__name__}-{offset}"
    before, failed = proxy.flipped, len(both.destination.logged("attempt_failed"))
    proxy.flip_next(offset)
    wanted = drop(both, name)
    for site in both.sites:
        both.wait_for("it arrives", lambda: both.source.told("instance.registered", "archive")[name])
        assert site.told("instance.registered", "archive")[name] == 1
        # Once is bad luck on the way: nobody is accused.
        assert site.entries("instance.doubted") == site.entries("transfer.parked") == []
    assert proxy.flipped == before + 1
    assert len(both.destination.logged("attempt_failed")) == failed + 1
    assert standing(both.destination.store).items() >= wanted.items()
    assert both.destination.left_in_staging() == []


@pytest.mark.fault(6)
def test_a_bit_flipped_in_staging_is_caught_and_pulled_again(tmp_path: Path) -> None:
    """The destination dies in the middle of a file; what it had staged rots before it comes back."""
    with FlippingProxy() as proxy, pair(tmp_path, advertise=proxy.address) as both:
        proxy.target = both.source.data_port
        proxy.stall(5 << 20)
        wanted = drop_large(both)

        def staged() -> list[Path]:
            return [path for path in both.destination.left_in_staging() if path.stat().st_size >= 1 << 20]

        (path,) = both.wait_for("a part of it is staged", staged)
        both.destination.kill()
        begun = path.stat().st_size
        flip(path, 500_000)
        proxy.flowing.set()
        both.destination.start()
        both.acknowledged(1)
        assert begun < len(LARGE)
        assert standing(both.destination.store) == wanted
        (failed,) = both.destination.logged("attempt_failed")
        assert "as announced" in failed["error"]
        assert both.destination.told("instance.registered", "archive") == Counter(["large.dat"])
        assert both.destination.entries("instance.doubted") == []
        assert both.destination.left_in_staging() == []


@pytest.mark.fault(16)
def test_a_transfer_that_was_cut_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with FlippingProxy() as proxy, pair(tmp_path, advertise=proxy.address) as both:
        proxy.target = both.source.data_port
        proxy.stall(5 << 20)
        wanted = drop_large(both)
        both.wait_for(
            "a part of it is staged",
            lambda: [path for path in both.destination.left_in_staging() if path.stat().st_size == 5 << 20],
        )
        both.destination.kill()
        before = proxy.passed_bytes
        proxy.flowing.set()
        both.destination.start()
        both.acknowledged(1)
        assert standing(both.destination.store) == wanted
        assert not both.destination.logged("attempt_failed")
        assert proxy.passed_bytes - before < len(LARGE), "it was fetched from its beginning again"


def flip(path: Path, offset: int) -> None:
    """Flip one bit of a file, whatever its mode, and leave its size and mode as they were."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x01]))
    os.chmod(path, mode)


@pytest.mark.parametrize("unit", ["file", "book"])
@pytest.mark.fault(6)
def test_a_bit_flipped_in_the_sources_store_is_never_stored_elsewhere(tmp_path: Path, unit: str) -> None:
    """The destination gives up and says so; the source reads again and withdraws its word; both show it."""
    with pair(tmp_path, subscribe=False) as both:
        source, destination = both.sites
        name = "large.dat" if unit == "file" else "book"
        (drop_large if unit == "file" else drop_book)(both)
        source.drop_file("good.dat", b"nobody touched this")
        both.wait_for("archive has heard", lambda: len(destination.client.files().files) == 2)
        flip(source.store / "large.dat" if unit == "file" else source.store / "book" / "m" / "7", 4000)
        destination.lbctl("subscription", "add", "--from", "summit")

        both.wait_for("the transfer is parked", lambda: destination.client.status().transfers.get("parked") == 1)
        both.at_both("the instance is suspected", lambda site: site.entries("instance.suspected", "summit"))
        both.at_both("the other file is there", lambda site: site.told("instance.registered")["good.dat"])
        for site in both.sites:
            (doubted,) = site.entries("instance.doubted")
            (suspected,) = site.entries("instance.suspected")
            (parked,) = site.entries("transfer.parked")
            assert doubted["name"] == suspected["name"] == parked["name"] == name
            assert doubted["owner"] == "summit"
            assert parked["reason"] == "checksum-mismatch"
            (instance,) = [held for file in site.client.file(name).files for held in file.instances]
            assert (instance.site, instance.state) == ("summit", "suspected")
            assert site.problems()["instance-suspected"] == [name]
            assert "no longer vouches" in site.lbctl("status", exit_code=1) or site is source
            assert site.told("instance.registered") == Counter(["good.dat"])
        assert standing(destination.store) == {"good.dat": digest_of(b"nobody touched this")}
        assert destination.problems()["transfer-parked"] == [name]
        (transfer,) = destination.client.transfers("parked").transfers
        assert (transfer.reason, transfer.attempts) == ("checksum-mismatch", 3)
        source.lbctl("file", "verify", name, exit_code=6)
        # Nothing of it is removed at the source: a person may still save what there is.
        assert set(standing(source.store)) >= {"good.dat"}
        both.assert_whole()
