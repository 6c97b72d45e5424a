"""Where a bench runs is said, and is gone when it is over."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.bench.rows.intake import write_and_rename
from benchmarks.bench.scratch import scratch
from tests.support.programs import needs


def test_where_nothing_is_mounted_the_result_says_so(tmp_path: Path) -> None:
    with scratch(0.1, tmp_path, mounted=False) as place:
        assert not place.own
        assert "shared (not wanted)" in place.filesystem
        (place.path / "file").write_text("")
        place.settle()
    assert not list(tmp_path.iterdir())


def test_a_filesystem_of_its_own_is_empty_and_goes_with_the_run(tmp_path: Path) -> None:
    needs("mkfs.ext4", "losetup")
    with scratch(0.1, tmp_path) as place:
        if not place.own:
            pytest.skip(f"not permitted here: {place.filesystem}")
        assert place.path.is_mount()
        assert not list(place.path.iterdir())
    assert not place.path.exists()
    assert not list(tmp_path.iterdir())


def test_the_floor_leaves_every_file_at_its_name(tmp_path: Path) -> None:
    for directory in ("staging", "a", "b"):
        (tmp_path / directory).mkdir()
    write_and_rename(tmp_path, 10, ["a", "b"])
    assert sorted(path.name for path in tmp_path.rglob("*.dat")) == [f"{number:06}.dat" for number in range(10)]
    assert len(list((tmp_path / "a").iterdir())) == 5
    assert not list((tmp_path / "staging").iterdir())
