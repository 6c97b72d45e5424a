"""Names of tools for what is not finished."""

from __future__ import annotations

import pytest

from librarian_protocol import globs
from librarian_protocol.unfinished import IGNORED, MARKS, is_rsyncs, unfinished

UNFINISHED = [
    (".f3.fits.klTaX3", "rsync"),
    (".~tmp~", "rsync --delay-updates"),
    (".rsync-partial", "rsync --partial-dir"),
    ("X.1a2b3c4d.partial", "rclone"),
    ("x.fits.filepart", "WinSCP"),
    (".in.x.fits", "lftp, ncftp, ProFTPD"),
    (".syncthing.x.fits.tmp", "Syncthing"),
    ("x.part", "Firefox, KDE, Nextcloud, yt-dlp"),
    ("x.crdownload", "Chrome, Edge"),
    ("x.aria2", "aria2"),
    (".goutputstream-ABC123", "GNOME (GIO)"),
    (".x.txt.swp", "vim"),
    ("#x.txt#", "Emacs"),
    (".~lock.x.ods#", "LibreOffice"),
    (".nfs000000000001a2b3", "NFS clients"),
    (".fuse_hidden0000000100000001", "FUSE"),
]
FINISHED = [
    "x.fits", ".zattrs", ".zgroup", ".hidden", "x~", ".DS_Store", "._x", "Thumbs.db", "#hash", "part", "x.parts",
    ".gitignore", "a.b.c", "tmp", "swp", "",
]  # fmt: skip


@pytest.mark.parametrize(("name", "tool"), UNFINISHED)
def test_a_tools_temporary_name_says_that_something_is_not_finished(name: str, tool: str) -> None:
    mark = unfinished(name)
    assert mark is not None
    assert mark.tool == tool
    assert any(globs.matches(glob, name) for glob in IGNORED), "and as a single file it is passed over"


@pytest.mark.parametrize("name", FINISHED)
def test_other_names_say_nothing_of_the_kind(name: str) -> None:
    assert unfinished(name) is None


@pytest.mark.parametrize("name", [".DS_Store", "._x.fits", "Thumbs.db", "desktop.ini", "x.txt~", "lost+found"])
def test_what_lies_about_is_passed_over_as_a_single_file(name: str) -> None:
    assert any(globs.matches(glob, name) for glob in IGNORED)


@pytest.mark.parametrize("name", ["x.fits", "~", "partial", "lost", "back\\slash", "[a-z]", "*", "a b"])
def test_ordinary_names_are_not_passed_over(name: str) -> None:
    assert not any(globs.matches(glob, name) for glob in IGNORED)


def test_every_row_has_a_source_and_a_glob_of_its_own() -> None:
    assert len({mark.glob for mark in MARKS}) == len(MARKS)
    for mark in MARKS:
        assert mark.source.startswith("https://")
        globs.check(mark.glob)


@pytest.mark.parametrize(
    ("before", "after", "is_its"),
    [
        (".x.fits.klTaX3", "x.fits", True),
        ("a/b/.x.fits.klTaX3", "a/b/x.fits", True),
        ("a/.x.fits.klTaX3", "b/x.fits", False),
        (".x.fits.klTaX3", "y.fits", False),
        (".x.fits.klTa", "x.fits", False),
        ("x.fits.klTaX3", "x.fits", False),
        (".~tmp~/x.fits", "x.fits", False),
        ("x.part", "x", False),
        (".two\nlines.klTaX3", "two\nlines", True),
    ],
)
def test_a_rename_by_rsync_is_known_by_both_names(before: str, after: str, is_its: bool) -> None:
    assert is_rsyncs(before, after) is is_its
