"""The daemon is an ordinary account's. Others drop: an error of one thing is an error of that thing alone. Others look,
and change nothing."""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Callable, Generator

import pytest
from tests.support.people import DROP_GID, ROOT, Person, ordinary_site
from tests.support.sites import Site, wait_for

from librarian_client import Client
from librarian_protocol import api
from librarian_protocol.errors import NotPermitted

ANNA, BEN = Person(21_002), Person(21_003)
#: Of no group that the site knows.
STRANGER = Person(21_004, groups=())
CHANGED = {
    "# walk_every_s = 60.0": "walk_every_s = 1.0",
    "# depth = 1": "walk_every_s = 1.0",
    '# readers = ""': f'readers = "{DROP_GID}"',
}


@pytest.fixture(scope="module")
def site() -> Generator[Site]:
    with ordinary_site(CHANGED) as made:
        yield made


def waits(site: Site) -> dict[str, tuple[str, str]]:
    """What waits, with its reason and what else is said."""
    return {
        item.name: (item.reason, item.detail) for drop in site.client.status().intake for item in drop.waiting_items
    }


def is_taken(site: Site, name: str) -> None:
    wait_for(f"{name} is taken", lambda: site.told("file.ingested")[name], site)


def assert_not_paused(site: Site) -> None:
    assert {drop.state for drop in site.client.status().intake} <= {"watching", "polling"}
    assert not {"store-fault", "intake-paused"} & set(site.problems())


def test_a_book_that_may_not_be_read_waits_by_name_and_the_others_go_on(site: Site) -> None:
    ANNA.does("umask 077; mkdir bk; echo 1 > bk/x; mv bk ../drop-books/", site.making)
    wait_for("it waits by name", lambda: waits(site).get("bk") == ("not-readable", "Permission denied"), site)
    BEN.does("umask 002; mkdir other; echo 2 > other/x; mv other ../drop-books/", site.making)
    is_taken(site, "other")
    assert_not_paused(site)
    assert "bk: not-readable" in site.status()
    (found,) = wait_for("a person is told", lambda: site.problems().get("intake-stuck"), site)
    assert found == f"{site.drop_books}: not-readable"
    ANNA.does("chmod -R g+rwX bk; chgrp -R 21100 bk", site.drop_books)
    is_taken(site, "bk")
    wait_for("that ends it", lambda: "intake-stuck" not in site.problems(), site)


def test_an_unreadable_directory_in_a_book_is_named_and_holds_up_no_other(site: Site) -> None:
    ANNA.does(
        "umask 002; mkdir -p half/open half/secret; echo 1 > half/open/x; chmod 700 half/secret;"
        " mv half ../drop-books/",
        site.making,
    )
    wait_for("it waits", lambda: waits(site).get("half") == ("not-readable", "secret: Permission denied"), site)
    ANNA.does("umask 002; mkdir after; echo 1 > after/x; mv after ../drop-books/", site.making)
    is_taken(site, "after")
    assert_not_paused(site)
    ANNA.does("chmod 770 half/secret; chgrp 21100 half/secret", site.drop_books)
    is_taken(site, "half")


def test_an_unreadable_member_of_a_book_is_waited_for_not_refused(site: Site) -> None:
    ANNA.does("umask 002; mkdir member; echo 1 > member/x; chmod 600 member/x; mv member ../drop-books/", site.making)
    wait_for("it waits", lambda: waits(site).get("member") == ("not-readable", "x: Permission denied"), site)
    ANNA.does("chmod 664 x", site.drop_books / "member")
    is_taken(site, "member")
    assert site.rejected(site.drop_books) == {}


def test_private_directories_among_single_files_pause_nothing(site: Site) -> None:
    before = len(site.client.incidents().incidents)
    ANNA.does("mkdir -m 700 p1 p2; echo 1 > p1/x; mkdir -m 700 p3", site.drop)
    wait_for("they wait", lambda: set(waits(site)) >= {"p1", "p2", "p3"}, site)
    BEN.does("echo 1 > y; chgrp 21100 y; chmod 664 y", site.drop)
    is_taken(site, "y")
    assert_not_paused(site)
    wait_for("one incident for all", lambda: len(site.problems().get("intake-stuck", [])) == 1, site)
    assert len(site.client.incidents().incidents) == before + 1
    (problem,) = [known for known in site.client.status().problems if known.code == "intake-stuck"]
    assert "3 things wait (not-readable)" in problem.message
    ANNA.does("rm -r p1 p2 p3", site.drop)
    wait_for("when they are gone it ends", lambda: "intake-stuck" not in site.problems(), site)
    wait_for("nothing of them waits", lambda: waits(site) == {}, site)


def test_written_then_made_readable_is_taken(site: Site) -> None:
    ANNA.does("umask 077; echo first > later", site.drop)
    wait_for("it waits", lambda: waits(site).get("later", ("", ""))[0] == "not-readable", site)
    ANNA.does("chmod 664 later", site.drop)
    is_taken(site, "later")
    assert site.rejected() == {}


def test_made_under_an_ordinary_umask_it_waits_and_the_hint_puts_it_right(site: Site) -> None:
    """`mkdir` and `cp` under umask 022: the daemon may read it all, and may not move it."""
    ANNA.does("umask 022; mkdir plain; echo 1 > plain/x; mv plain ../drop-books/", site.making)
    wait_for("it waits", lambda: waits(site).get("plain", ("", ""))[0] == "not-permitted", site)
    (problem,) = wait_for(
        "it is told", lambda: [known for known in site.client.status().problems if known.code == "intake-stuck"], site
    )
    assert "`chmod -R g+rwX PATH`, `chgrp -R GROUP PATH`" in problem.hint
    ANNA.does("chmod -R g+rwX plain; chgrp -R 21100 plain", site.drop_books)
    is_taken(site, "plain")
    wait_for("that ends it", lambda: "intake-stuck" not in site.problems(), site)


def test_what_deploy_says_to_who_drops_does_it_as_written(site: Site) -> None:
    told = (ROOT / "deploy" / "README.md").read_text().partition("To drop, do one of these:")[2]
    lines = [line.partition("  #")[0].strip() for line in told.split("```")[1].splitlines()[1:] if line.strip()]
    assert len(lines) == 3
    ANNA.does("mkdir anna; chgrp 21002 anna; chmod g-s anna; chmod 755 anna", site.making)
    home = site.making / "anna"
    for number, line in enumerate(lines):
        if "rsync" in line and shutil.which("rsync") is None:
            continue
        written = line.replace("/somewhere/", "").replace("/data/drop", str(site.drop))
        written = re.sub(r"\bnight\b", f"night{number}", written).replace("chgrp -R drop", f"chgrp -R {DROP_GID}")
        ANNA.does(
            f"umask 022; mkdir night{number}; echo 1 > night{number}/x; echo 1 > night{number}.fits;"
            f" touch -d '1 hour ago' night{number}/x",
            home,
        )
        ANNA.does(written, home)
        is_taken(site, f"night{number}.fits" if ".fits" in line else f"night{number}/x")
    wait_for("rsync's temporary names, which were seen, are gone as well", lambda: waits(site) == {}, site)


def test_what_was_refused_its_owner_can_take_out_again_and_nobody_else(site: Site) -> None:
    ANNA.does("umask 022; mkdir -p deep/er; chmod 775 deep deep/er; printf 1 > deep/er/'a\tb'", site.drop)
    place = wait_for("it is refused", lambda: list(site.drop.glob(".rejected/*/deep/er/a\tb")), site)[0]
    wait_for("it is told", lambda: site.problems().get("intake-refused"), site)
    BEN.does("mv 'a\tb' /tmp/", place.parent, exit_code=1)
    ANNA.does(f"mv 'a\tb' {site.making}/back; cat {site.making}/back", place.parent)
    wait_for("it is over", lambda: "intake-refused" not in site.problems(), site)


def test_an_original_that_may_not_be_removed_is_in_the_store_and_its_text_says_so(site: Site) -> None:
    ANNA.does(
        "umask 002; mkdir -p left/sub; echo 1 > left/sub/x; chmod 755 left/sub; chgrp -R 21100 left;"
        " mv left ../drop-books/",
        site.making,
    )
    is_taken(site, "left")
    reason = wait_for("the rest is set aside", lambda: site.rejected(site.drop_books).get("left"), site)
    assert "left was ingested and is in the store" in reason
    (told,) = wait_for("it is told", lambda: site.problems().get("intake-refused"), site)
    assert told == f"{site.drop_books}: original-left"
    ANNA.does("rm -r left", next(iter(site.drop_books.glob(".rejected/*"))))
    wait_for("it is over", lambda: "intake-refused" not in site.problems(), site)


def test_a_reader_asks_without_rights_and_can_change_nothing(site: Site) -> None:
    site.config.chmod(0o644)
    socket = site.root / "lbd-read.sock"
    assert (stat.S_IMODE(socket.stat().st_mode), socket.stat().st_gid) == (0o660, DROP_GID)
    assert stat.S_IMODE((site.root / "lbd.sock").stat().st_mode) == 0o600
    (said,) = [check for check in site.client.doctor() if check.check == "readers' socket"]
    assert said.level == "ok"

    shown = ANNA.status(site)
    assert "summit   mesh" in shown
    assert f"read-only: by {socket}" in shown
    assert "readers' socket" in ANNA.lbctl(site, "doctor")
    ANNA.lbctl(site, "transfer", "list")
    refused = ANNA.lbctl(site, "pause", "intake", "--for", "1h", "--reason", "x", exit_code=12)
    assert "the read-only socket does not answer POST /pauses" in refused
    assert "the read-only socket does not answer GET /bus/config" in ANNA.lbctl(site, "bus", "config", exit_code=12)
    assert "not allowed to speak to the daemon" in STRANGER.lbctl(site, "status", exit_code=12)
    assert not site.client.pauses()

    reading = Client(socket)
    wrong: list[Callable[[], object]] = [
        lambda: reading.withdraw("a", "x"),
        lambda: reading.heal("a"),
        lambda: reading.subscribe(api.SubscriptionAdd(from_site=None)),
        lambda: reading.unsubscribe("a"),
        lambda: reading.resume("intake"),
        lambda: reading.ask_transfer("cancel", None),
        reading.invite,
        reading.reconcile,
        lambda: reading.set_log_level("debug"),
        reading.acknowledge_many,
        lambda: list(reading.verify_journals()),
    ]
    for ask in wrong:
        with pytest.raises(NotPermitted, match="read-only socket does not answer"):
            ask()
