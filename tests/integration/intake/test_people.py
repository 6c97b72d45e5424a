"""A new user, another account beside, a Mac, a cron job, a logger and an impatient Ctrl-C work into one site.

In CI for some seconds, by ``scripts/people`` for ten minutes. :data:`TABLE` says what must become of each input.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.people import DROP_GID, Person, ordinary_site
from tests.support.sites import Site, wait_for

from librarian_protocol import api

LASTS_S = float(os.environ.get("LIBRARIAN_PEOPLE_S", "10"))
ANNA, BEN, MAC, CRON, LOGGER, HASTY = (Person(21_010 + number) for number in range(6))
CHANGED = {
    "# walk_every_s = 60.0": "walk_every_s = 2.0",
    "# depth = 1": "walk_every_s = 2.0",
    "# quiet_s = 60.0": "quiet_s = 1.0",
}
#: Inputs that wait are made so many times: `status` names twenty of a drop directory.
SEVERAL = 3
#: So many things may wait for the daemon before people stop for a moment: at the end it must come to its end.
MOST_WAITING = 200

pytestmark = [
    pytest.mark.timeout(LASTS_S + 240),
    pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed"),
]


class Row(NamedTuple):
    """What must become of an input."""

    drop: str
    #: ``accepted``, ``waiting``, ``refused`` or ``ignored``.
    outcome: str
    #: Of what waits or is refused; the glob of what is ignored.
    reason: str = ""
    #: Code of the incident that a person is told by.
    incident: str = ""


STUCK, REFUSED = "intake-stuck", "intake-refused"
TABLE = {
    "moved in": Row("drop", "accepted"),
    "copied in place": Row("drop", "accepted"),
    "book, moved in": Row("drop-books", "accepted"),
    "name with a tab": Row("drop", "refused", "name-invalid", REFUSED),
    "link": Row("drop", "refused", "not-possible", REFUSED),
    "longer, under the same name": Row("drop", "refused", "name-taken", REFUSED),
    "private book": Row("drop-books", "waiting", "not-readable", STUCK),
    "private directory": Row("drop", "waiting", "not-readable", STUCK),
    "book of an ordinary umask": Row("drop-books", "waiting", "not-permitted", STUCK),
    "private, then made readable": Row("drop", "accepted"),
    "Mac's book": Row("drop-books", "accepted"),
    "Mac's leavings": Row("drop", "ignored", ".*"),
    "cron's rsync": Row("drop", "accepted"),
    "cron's delayed rsync": Row("drop", "accepted"),
    "log": Row("drop", "accepted"),
    "stopped rsync -P": Row("drop", "waiting", "not-seen-finished", STUCK),
    "rsync of a book, killed": Row("drop-books", "waiting", "holds-unfinished", STUCK),
}


class Scene:
    """What was put in, by whom, and how large it is when it is whole."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.made: dict[str, tuple[str, int]] = {}
        self.errors: list[BaseException] = []
        self._turn = threading.Lock()
        self._end = time.monotonic() + LASTS_S

    def put(self, row: str, name: str, size_bytes: int = 0) -> None:
        """An input was made."""
        assert row in TABLE
        self.made[name] = (row, size_bytes)

    def going_on(self, number: int) -> bool:
        """Everybody works for the time, and twice at least; nobody runs far ahead of the daemon."""
        if number % 10 == 0:
            # One after the other: else those who find room keep it from the others.
            with self._turn:
                wait_for("the daemon keeps up", lambda: self._waiting() < MOST_WAITING, self.site)
        return number < 2 or time.monotonic() < self._end

    def _waiting(self) -> int:
        return sum(drop.waiting for drop in self.site.client.status().intake)

    def named(self, outcome: str, drop: str | None = None) -> dict[str, tuple[str, int]]:
        """The inputs of which this must become."""
        return {
            name: case
            for name, case in self.made.items()
            if TABLE[case[0]].outcome == outcome and drop in {None, TABLE[case[0]].drop}
        }

    def incidents(self) -> dict[tuple[str, str], int]:
        """What a person must be told, with how many things it is about."""
        rows = [TABLE[row] for row, _ in self.made.values()]
        return dict(
            Counter((row.incident, f"{self.site.root}/{row.drop}: {row.reason}") for row in rows if row.incident)
        )


def new_user(scene: Scene, number: int) -> None:
    ANNA.does(
        f"umask 002; printf whole > m{number}; mv m{number} ../drop/; printf begin-and-end > ../drop/p{number};"
        f" mkdir ab{number}; printf 12345 > ab{number}/x; mv ab{number} ../drop-books/;"
        f" printf 1 > 'tab\t{number}'; mv 'tab\t{number}' ../drop/",
        scene.site.making,
    )
    scene.put("moved in", f"m{number}", 5)
    scene.put("copied in place", f"p{number}", 13)
    scene.put("book, moved in", f"ab{number}", 5)
    scene.put("name with a tab", f"tab\\t{number}")
    if number < SEVERAL:
        ANNA.does(f"ln -s /etc/passwd l{number}", scene.site.drop)
        scene.put("link", f"l{number}")
        wait_for("the first is taken", lambda: scene.site.told("file.ingested")[f"p{number}"], scene.site)
        ANNA.does(f"umask 002; printf begin-and-end-and-more > p{number}; mv p{number} ../drop/", scene.site.making)
        scene.made[f"p{number} again"] = ("longer, under the same name", 0)


def another_account(scene: Scene, number: int) -> None:
    BEN.does(f"umask 077; printf later > r{number}; sleep 0.1; chmod 664 r{number}", scene.site.drop)
    scene.put("private, then made readable", f"r{number}", 5)
    if number < SEVERAL:
        BEN.does(
            f"umask 077; mkdir bk{number}; printf 1 > bk{number}/x; mv bk{number} ../drop-books/;"
            f" umask 022; mkdir bo{number}; printf 1 > bo{number}/x; mv bo{number} ../drop-books/;"
            f" mkdir -m 700 ../drop/bd{number}",
            scene.site.making,
        )
        scene.put("private book", f"bk{number}")
        scene.put("book of an ordinary umask", f"bo{number}")
        scene.put("private directory", f"bd{number}")


def mac(scene: Scene, number: int) -> None:
    MAC.does(
        f"umask 002; mkdir mac{number}; printf 12 > mac{number}/x; printf 3 > mac{number}/.DS_Store;"
        f" printf 4 > mac{number}/._x; mv mac{number} ../drop-books/; printf 5 > ../drop/.DS_Store{number};"
        f" printf 6 > ../drop/._y{number}",
        scene.site.making,
    )
    scene.put("Mac's book", f"mac{number}", 4)
    scene.put("Mac's leavings", f".DS_Store{number}")
    scene.put("Mac's leavings", f"._y{number}")


def cron(scene: Scene, number: int) -> None:
    CRON.does(
        f"mkdir -p cron{number}; printf 123 > cron{number}/c{number}; printf 1234 > cron{number}/d{number};"
        f" touch -d '1 hour ago' cron{number}/*; rsync -t --chmod=F660 cron{number}/c{number} ../drop/;"
        f" rsync -rtp --chmod=D2770,F660 --delay-updates cron{number}/d{number} ../drop/",
        scene.site.making,
    )
    scene.put("cron's rsync", f"c{number}", 3)
    scene.put("cron's delayed rsync", f"d{number}", 4)


def logger(scene: Scene, number: int) -> None:
    lines = 20
    scene.put("log", f"log{number}", lines * 5)
    LOGGER.does(
        f"umask 002; for i in $(seq {lines}); do printf 'line\\n'; sleep 0.1; done >> log{number}", scene.site.drop
    )


def hasty(scene: Scene, number: int) -> None:
    if number >= SEVERAL:
        return
    making, drop, books = scene.site.making, scene.site.drop, scene.site.drop_books
    HASTY.does(
        f"umask 002; mkdir h{number}; head -c 3000000 /dev/urandom > h{number}/h{number};"
        f" touch -d '1 hour ago' h{number}/*",
        making,
    )
    _stop(scene, f"h{number}/h{number}", drop, signal.SIGINT)
    scene.put("stopped rsync -P", f"h{number}")
    _stop(scene, f"h{number}/", books / f"hb{number}", signal.SIGKILL)
    scene.put("rsync of a book, killed", f"hb{number}")


def _stop(scene: Scene, what: str, target: Path, by: signal.Signals) -> None:
    """Have rsync stopped as soon as it has received something."""
    command = ("rsync", "-rtpP", "--chmod=D2770,F660", "--bwlimit=300", what, str(target))
    end = time.monotonic() + 60
    with HASTY.begins(*command, cwd=scene.site.making) as running:
        while not any(path.stat().st_size for path in target.glob(".h*.??????")):
            assert time.monotonic() < end
            time.sleep(0.02)
        os.killpg(running.pid, by)


@pytest.fixture(scope="module")
def scene() -> Generator[Scene]:
    with ordinary_site(CHANGED) as site:
        made = Scene(site)

        def works(actor: Callable[[Scene, int], None]) -> None:
            number = 0
            try:
                while made.going_on(number):
                    actor(made, number)
                    number += 1
            except BaseException as exc:
                made.errors.append(exc)
                raise

        actors = [
            threading.Thread(target=works, args=(actor,), daemon=True)
            for actor in (new_user, another_account, mac, cron, logger, hasty)
        ]
        for thread in actors:
            thread.start()
        for thread in actors:
            thread.join()
        yield made


def test_what_people_do_comes_to_what_the_table_says(scene: Scene) -> None:
    site = scene.site
    assert scene.errors == []
    assert {row for row, _ in scene.made.values()} == set(TABLE)

    whole = {name: size_bytes for name, (_, size_bytes) in scene.named("accepted").items()}
    wait_for("what is whole is taken", lambda: set(site.told("file.ingested")) >= set(whole), site)
    taken = {str(entry["name"]): entry["size_bytes"] for entry in site.entries("file.ingested")}
    assert taken == whole, "all that is whole, and nothing else"

    wait_for(
        "one incident for each cause, with its number",
        lambda: (
            {(problem.code, problem.subject): problem.count for problem in site.client.status().problems}
            == scene.incidents()
        ),
        site,
    )
    status = site.client.status()
    assert len(site.client.incidents().incidents) == len(scene.incidents()), "and there never were others"
    for drop in status.intake:
        name = Path(drop.path).name
        waits = {item.name: item.reason for item in drop.waiting_items}
        assert waits == {waiting: TABLE[row].reason for waiting, (row, _) in scene.named("waiting", name).items()}
        assert drop.waiting == len(waits) == sum(drop.waiting_for.values())
        assert drop.standing_refused == len(scene.named("refused", name))
        assert sum(drop.ignored.values()) == len(scene.named("ignored", name))

    said = site.lbctl("status", exit_code=1)
    assert f"{len(scene.incidents())} problems, NOT HEALTHY" in said
    assert f"refused: {len(scene.named('refused')):,} in {site.drop}/.rejected: lbctl rejected list" in said


def test_when_people_have_put_it_right_status_says_that_all_is_well(scene: Scene) -> None:
    site = scene.site
    for name, (row, _) in scene.made.items():
        match row:
            case "private book" | "book of an ordinary umask":
                BEN.does(f"chgrp -R {DROP_GID} {name}; chmod -R g+rwX {name}", site.drop_books)
            case "private directory":
                BEN.does(f"rmdir {name}", site.drop)
            case "stopped rsync -P":
                HASTY.does(f"rsync -tP --chmod=F660 {name}/{name} ../drop/", site.making)
            case "rsync of a book, killed":
                HASTY.does(
                    f"rsync -rtpP --chmod=D2770,F660 {name.replace('b', '')}/ ../drop-books/{name};"
                    f" rm -f ../drop-books/{name}/.h*.??????",
                    site.making,
                )
            case _:
                pass
    back = site.root / "back"
    back.mkdir(mode=0o777)
    back.chmod(0o777)
    site.client.return_refused(api.RefusedChoice(all=True, to=str(back)))
    wait_for("nothing waits", lambda: not sum(drop.waiting for drop in site.client.status().intake), site)
    wait_for("no problem is left", lambda: site.client.status().healthy, site)
    assert "no problems" in site.lbctl("status")
    ingested = site.told("file.ingested")
    for name in scene.named("waiting"):
        assert (name in ingested) is not name.startswith("bd")
