"""``lbctl demo``: two live sites on this machine, a file and a book going from one to the other."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lbctl.app import App, Command, examples

if TYPE_CHECKING:
    from lbctl.demo_site import DemoSite
    from lbctl.demo_story import Story

#: From the drop to the acknowledgement of both.
TIMEOUT_S = 60.0
JOIN_TIMEOUT_S = 30.0
FILE, BOOK = "first-light.dat", "night-0001"
FILE_BYTES = 8 << 20
MEMBERS, MEMBER_BYTES = 12, 256 << 10


@click.command(
    cls=Command,
    epilog=examples("lbctl demo", "lbctl demo --once", "lbctl demo --dir /tmp/two-sites   # kept afterwards"),
)
@click.option("--keep", is_flag=True, help="Keep the directories at the end.")
@click.option("--once", is_flag=True, help="End by itself when both arrived; fail if not within 60 s.")
@click.option(
    "--dir", "directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where; kept."
)
@click.pass_obj
def demo(app: App, keep: bool, once: bool, directory: Path | None) -> int:
    """Run two sites here, drop a file and a book at the first, and watch them arrive at the second.

    No root, no containers, nothing outside of the directories; Ctrl-C ends it.
    """
    from lbctl.output import note

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, _interrupt)  # they end it as Ctrl-C does
    root = directory.absolute() if directory else Path(tempfile.mkdtemp(prefix="librarian-demo-"))
    try:
        return _run(app, root, once=once)
    finally:
        if keep or directory:
            note(f"kept: {root}")
        else:
            shutil.rmtree(root)


def _run(app: App, root: Path, *, once: bool) -> int:
    from lbctl.demo_site import DemoSite, free_ports
    from lbctl.demo_story import Story
    from lbctl.output import note
    from librarian_protocol.errors import LibrarianError

    bus_port, *data_ports = free_ports(3)
    summit = DemoSite(root, "summit", data_port=data_ports[0], bus_port=bus_port)
    archive = DemoSite(root, "archive", data_port=data_ports[1], bus_port=None)
    story = Story(app, summit, archive)
    arrived = False
    try:
        _connect(story, summit, archive)
        _drop(story, summit)
        _wait(story, summit, archive)
        arrived = True
        if not once:
            _explain(app, summit, archive)
            while True:
                time.sleep(0.5)
                for site in (summit, archive):
                    site.check()
                story.check()
    except KeyboardInterrupt:
        return 0 if arrived else 130
    except LibrarianError:
        for site in (summit, archive):
            note(f"---- the end of {site.log}")
            for line in site.log_tail():
                note(line)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        story.end()
        for site in (summit, archive):
            site.terminate()
        for site in (summit, archive):
            site.wait()
    story.tell("both", "done", "a file and a book, ingested at summit, stand verified at archive")
    return 0


def _interrupt(_number: int, _frame: object) -> None:
    """As Ctrl-C; and soon once more, where it was raised in a destructor, which swallows it."""
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    raise KeyboardInterrupt


def _connect(story: Story, summit: DemoSite, archive: DemoSite) -> None:
    """Start the first, have it invite the second, start that, and subscribe."""
    from lbctl.demo_site import START_TIMEOUT_S
    from lbctl.site import keep, standing
    from librarian_protocol import api
    from librarian_protocol.errors import TokenInvalid

    story.tell("summit", "starting", f"a site with a nats-server of its own, in {summit.root}")
    summit.start()
    summit.until("its bus is connected", START_TIMEOUT_S, lambda: summit.client.status().bus.connected)
    story.tell("summit", "started", "answers, bus connected")
    invited = summit.client.invite()
    story.tell("summit", "invited", f"a token, good once, from {invited.inviter}, {invited.fingerprint}")
    keep(archive.root, invited.token)
    story.tell("archive", "starting", f"with that token, in {archive.root}")
    archive.start()

    asked = api.JoinState(state="asking", inviter="summit", fingerprint=invited.fingerprint, detail="")

    def joined() -> bool:
        state = standing(archive.client, asked)
        if state.state == "refused":
            raise TokenInvalid(f"summit refused archive: {state.detail}")
        return state.state == "joined"

    archive.until("it has joined", JOIN_TIMEOUT_S, joined)
    story.tell("archive", "joined", "admitted by summit; both exchange journals from here on")
    made = archive.client.subscribe(api.SubscriptionAdd(from_site="summit"))
    story.tell("archive", "subscribed", f"to everything of summit, into {', '.join(made.labels) or 'its store'}")
    story.follow()


def _drop(story: Story, summit: DemoSite) -> None:
    """One file, one book. Made beside the drop directories and renamed into them: complete at once."""
    making = summit.root / "made"
    book = making / BOOK
    (book / "frames").mkdir(parents=True)
    (making / FILE).write_bytes(os.urandom(FILE_BYTES))
    for number in range(MEMBERS):
        (book / "frames" / f"f_{number:04}.dat").write_bytes(os.urandom(MEMBER_BYTES))
    (book / "README").write_text("A book is a directory that is one unit.\n")
    (making / FILE).rename(summit.drop / FILE)
    story.tell("you", "dropped", f"a file: {summit.drop / FILE}")
    book.rename(summit.drop_books / BOOK)
    story.tell("you", "dropped", f"a book: {summit.drop_books / BOOK}")
    making.rmdir()


def _wait(story: Story, summit: DemoSite, archive: DemoSite) -> None:
    from librarian_protocol.errors import TransferTimeout

    end = time.monotonic() + TIMEOUT_S
    while not (story.acknowledged(FILE) and story.acknowledged(BOOK)):
        for site in (summit, archive):
            site.check()
        story.check()
        if time.monotonic() > end:
            late = [f"{name} was not {story.missing(name)}" for name in (FILE, BOOK) if story.missing(name)]
            raise TransferTimeout(
                f"not done {TIMEOUT_S:g} s after the drop: {'; '.join(late)}", hint="the logs above say why"
            )
        time.sleep(0.05)


def _explain(app: App, summit: DemoSite, archive: DemoSite) -> None:
    from lbctl.output import say

    lbctl = sys.argv[0] if os.path.basename(sys.argv[0]) == "lbctl" else f"{sys.executable} -m lbctl.main"
    say(app)
    say(app, "Both sites run on. Drop more, and watch:")
    say(app, f"  files   {summit.drop}")
    say(app, f"  books   {summit.drop_books}")
    say(app, f"They arrive in {archive.root / 'store'}. In a browser on this machine:")
    for site in (summit, archive):
        say(app, f"  {site.name:7} {site.client.status().page}")
    say(app, "To try, in another terminal:")
    say(app, f"  export LBCTL_CONFIG={archive.config}")
    for command in ("status", f"file show {BOOK}", f"file verify {FILE}", "transfer list", "events tail --after 0"):
        say(app, f"  {lbctl} {command}")
    say(app, "Ctrl-C ends it.")
    say(app)
