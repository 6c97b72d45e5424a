"""Names that a drop directory's settings ignore: what is quick about it changes no answer."""

from __future__ import annotations

import os

from hypothesis import example, given
from hypothesis import strategies as st

from librarian_daemon.config.settings import IntakeSettings
from librarian_daemon.intake.directory.scanner import Scanner
from librarian_protocol import globs

_GLOBS = st.lists(st.text("ab.*?[]!-{},/é", min_size=1, max_size=7), min_size=1, max_size=3)
_NAMES = st.text("ab.*?[]{}é\u212a\u0301", min_size=1, max_size=6)


@given(_GLOBS, _NAMES)
@example(["**/ab"], "ab")
@example(["{a,b}.b"], "a.b")
@example(["[*]a"], "*a")
@example(["a[}]"], "a}")
@example(["K"], "\u212a")
def test_a_name_is_ignored_by_the_first_glob_that_matches_it(given_globs: list[str], name: str) -> None:
    scanner = Scanner(IntakeSettings(path="/drop", store="archive", ignore=given_globs))
    expected = next((glob for glob in given_globs if globs.matches(glob, name)), "")
    assert scanner.ignored(os.fsencode(name)) == expected


def test_all_globs_that_are_ignored_by_default_match_what_they_say() -> None:
    scanner = Scanner(IntakeSettings(path="/drop", store="archive"))
    for name in ("x.tmp", ".hidden", "Thumbs.db", "#x#", "x~", "lost+found", "~syncthing~x.tmp", "x.part"):
        assert scanner.ignored(name.encode()), name
    for name in ("x.dat", "tmp", "x.tmp.g3", "lost", "#x", "~"):
        assert not scanner.ignored(name.encode()), name
