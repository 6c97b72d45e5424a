"""Whole sites for tests: directories made by ``lbctl init``, real daemons, and what a test asks of them.

A daemon never outlives its test: the fixture kills it, and where the test process itself is killed, the kernel does.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from librarian_adapters import child_process
from librarian_client import Client
from librarian_protocol import api, wire
from librarian_protocol.errors import ArgumentInvalid, BusUnavailable, DaemonUnreachable

T = TypeVar("T")

START_S = 90.0
POLL_S = 0.05
LOG_LINES = 40
SQLITE = "sqlite:///catalog.sqlite"
#: Tests have less patience than people: what was not renamed into place is taken after this time.
QUIET = {"# quiet_s = 5.0": "quiet_s = 0.5", "# quiet_s = 60.0": "quiet_s = 0.5"}


#: Ports for each of the processes that run tests side by side, and the next of them.
_PORTS_EACH = 2_000
_NEXT_PORT = itertools.count(int.from_bytes(os.urandom(2), "big"))


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, outside of the range from which the kernel gives ports away.

    It may be listened on later: no other test that runs at the same time is given it.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw")) % 10
    while True:
        port = 10_000 + worker * _PORTS_EACH + next(_NEXT_PORT) % _PORTS_EACH
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Site:
    """One site below ``root``: its directory is made at once, its daemon runs from :meth:`start` on."""

    def __init__(
        self,
        root: Path,
        name: str,
        *,
        bus: str = "join",
        catalog: str = SQLITE,
        advertise: str = "",
        changed: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        run_on: Sequence[str] = (),
        overlay: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        """``changed``: lines of ``site.toml`` that stand there commented out, and what stands there instead.

        ``address`` is where the daemon listens, ``run_on`` what to put before its command, ``overlay`` variables of its
        environment, ``python`` what runs it.
        """
        self.name = name
        self.metrics_port = free_port()
        self.python = python
        self.run_on = list(run_on)
        self.overlay = {
            "LIBRARIAN_PAGE__LISTEN": "",
            "LIBRARIAN_METRICS__LISTEN": f"127.0.0.1:{self.metrics_port}",
        } | dict(overlay or {})
        self.root = root
        self.drop = root / "drop"
        self.drop_books = root / "drop-books"
        self.store = root / "store"
        self.making = root / "making"
        self.config = root / "site.toml"
        self.log = root / "lbd.log"
        self.data_port = free_port()
        options = ["--site", name, "--bus", bus, "--catalog", catalog, "--listen", f"{address}:{self.data_port}"]
        if advertise:
            options += ["--advertise", advertise]
        self.lbctl("init", str(root), *options)
        self.making.mkdir()
        text = self.config.read_text()
        for line, instead in {**QUIET, **(changed or {})}.items():
            assert f"\n{line}\n" in text, f"there is no line {line!r} in site.toml"
            text = text.replace(f"\n{line}\n", f"\n{instead}\n")
        self.config.write_text(text)
        self.client = Client.from_config(self.config)
        self.process: subprocess.Popen[bytes] | None = None

    # ---- the command line and the daemon -----------------------------------------------------------------

    def environ(self) -> dict[str, str]:
        """The environment, without what is meant for other sites, and what has each start compile all anew."""
        others = ("LIBRARIAN_", "LBCTL_", "PYTHONDONTWRITEBYTECODE")
        own = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        return own | self.overlay

    def lbctl(self, *arguments: str, exit_code: int = 0, stdin: str | None = None) -> str:
        """Run ``lbctl`` for this site; what it printed on stdout, and on stderr too where it must fail."""
        done = self._ran(arguments, stdin)
        assert done.returncode == exit_code, f"lbctl {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr if exit_code else done.stdout

    def status(self) -> str:
        """What ``lbctl status`` prints. It ends with 1 exactly where it prints that the site is not healthy."""
        done = self._ran(["status"])
        assert done.returncode == int("NOT HEALTHY" in done.stdout), f"{done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _ran(self, arguments: Sequence[str], stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lbctl.main", "--config", str(self.config), *arguments],
            env=self.environ(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def try_now(self, transfer: int) -> None:
        """Do not wait for the next try, unless it was just made."""
        with suppress(ArgumentInvalid):
            self.client.retry(transfer)

    def spawn(self, options: Sequence[str] = ()) -> None:
        """Start the daemon, with these options of ``lbd``, and do not wait."""
        command = [*self.run_on, self.python, "-m", "librarian_daemon", "--config", str(self.config), *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", child_process.__file__, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ(),
            )

    def start(self, options: Sequence[str] = ()) -> None:
        """Start the daemon, with these options of ``lbd``, and wait until it answers."""
        self.spawn(options)
        wait_for(f"{self.name} answers", self.answers, self, deadline_s=START_S)

    def answers(self) -> bool:
        """Whether the control API does."""
        try:
            self.client.status()
        except DaemonUnreachable:
            return False
        return True

    def stop(self, patience_s: float = 15.0) -> int:
        """End the daemon in good order; its exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(patience_s)
        self.process = None
        return code

    def kill(self) -> None:
        """``kill -9``; harmless where it does not run."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def bus_pid(self) -> int | None:
        """Process id of the embedded nats-server, where it runs."""
        ports = [int(path.stem.split("_")[1]) for path in (self.root / "nats").glob("nats-server_*.ports")]
        return ports[0] if len(ports) == 1 and Path(f"/proc/{ports[0]}").exists() else None

    def kill_bus(self) -> bool:
        """``kill -9`` the embedded nats-server; False where there was none just now."""
        pid = self.bus_pid()
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    # ---- dropping ----------------------------------------------------------------------------------------

    def drop_file(self, name: str | bytes, data: bytes) -> None:
        """Put a file into the drop directory: made elsewhere on the filesystem, then renamed, complete at once."""
        made = self.making / "file"
        made.write_bytes(data)
        target = os.fsencode(self.drop) + b"/" + os.fsencode(name)
        while True:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                os.rename(made, target)
            except FileNotFoundError:
                continue  # the daemon removed the emptied directory meanwhile
            return

    def make_book(self, name: str, members: Mapping[str, bytes | None]) -> Path:
        """Make a book beside the drop directory; a member of None is an empty directory."""
        book = self.making / name
        book.mkdir()
        for path, data in members.items():
            member = book / path
            if data is None:
                member.mkdir(parents=True)
            else:
                member.parent.mkdir(parents=True, exist_ok=True)
                member.write_bytes(data)
        return book

    def drop_book(self, name: str, members: Mapping[str, bytes | None]) -> None:
        """Put a book into the drop directory, complete at once."""
        self.make_book(name, members).rename(self.drop_books / name)

    def drop_tree(self, name: str, files: Mapping[str, bytes]) -> None:
        """Put a directory with single files into the drop directory, complete at once."""
        self.make_book(name, files).rename(self.drop / name)

    def rejected(self, drop: Path | None = None) -> dict[str, str]:
        """What stands in ``.rejected``, by the paths it was dropped under, with the reason beside it."""
        found: dict[str, str] = {}
        for place in (drop or self.drop).glob(".rejected/*"):
            reason = place / "REASON.txt"  # it stands there before the thing itself; and before it, its beginning
            if reason.exists():
                found |= {path.name: reason.read_text() for path in place.iterdir() if path != reason}
        return found

    # ---- looking -----------------------------------------------------------------------------------------

    def is_healthy(self) -> bool:
        """Whether ``status`` says so."""
        return self.client.status().healthy

    def status_code(self) -> int:
        """What ``lbctl status`` must end with."""
        return 0 if self.client.status().healthy else 1

    def problems(self) -> dict[str, list[str]]:
        """What ``status`` lists: subjects by code."""
        found: dict[str, list[str]] = {}
        for problem in self.client.status().problems:
            found.setdefault(problem.code, []).append(problem.subject)
        return found

    def entries(self, kind: str, site: str | None = None) -> list[dict[str, Any]]:
        """Entries of a kind in the journals held here."""
        events = self.client.events(kind=kind, site=site, after=0)
        return [wire.decoder(dict[str, Any]).decode(event.entry) for event in events]

    def told(self, kind: str, site: str | None = None) -> Counter[str]:
        """How often each name is told of in entries of a kind."""
        return Counter(str(entry["name"]) for entry in self.entries(kind, site))

    def verified_at(self, name: str) -> list[str]:
        """Sites at which the only file of that name has a verified instance."""
        (file,) = self.client.file(name).files
        return sorted(instance.site for instance in file.instances if instance.state == "verified")

    def transfers(self) -> list[api.FileTransfer]:
        """The transfers into this site, newest first."""
        return self.client.transfers().transfers

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Lines of the log about an event."""
        lines = (_event_of(line) for line in self.log.read_text(errors="replace").splitlines())
        return [line for line in lines if line.get("event") == event]

    def left_in_staging(self) -> list[Path]:
        """Staged bytes that nobody took away."""
        return list((self.store / ".librarian" / "staging").rglob("*"))

    def left_taken(self) -> list[Path]:
        """What was claimed and has not come to its end."""
        return [path for drop in (self.drop, self.drop_books) for path in drop.glob(".claimed/*")]

    def left_in_drop(self) -> list[Path]:
        """Everything that still stands below the drop directories, but for their own empty directories."""
        own = {".claimed", ".rejected"}
        return [path for drop in (self.drop, self.drop_books) for path in drop.rglob("*") if path.name not in own]

    def report(self) -> str:
        """What a person would look at if this site did not do as it should."""
        lines = [f"---- {self.name}"]
        try:
            lines.append(json.dumps(json.loads(wire.encode(self.client.status())), indent=1))
            lines += [
                f"transfer {transfer.id} {transfer.name!a} {transfer.state} {transfer.reason}"
                f" {transfer.attempts}x {transfer.message}"
                for transfer in self.transfers()[:20]
                if transfer.state != "stored"
            ]
        except DaemonUnreachable as exc:
            lines.append(exc.message)
        with suppress(FileNotFoundError), self.log.open(errors="replace") as log:
            lines += [line.rstrip() for line in deque(log, maxlen=LOG_LINES)]
        return "\n".join(lines)


class Pair:
    """Two sites, the second subscribed to the first. Made by :func:`pair`."""

    def __init__(self, source: Site, destination: Site) -> None:
        self.source = source
        self.destination = destination

    @property
    def sites(self) -> tuple[Site, Site]:
        """Both."""
        return self.source, self.destination

    def join(self) -> None:
        """Start both, and make one mesh of them."""
        self.source.start()
        wait_for("the bus is up", lambda: self.source.client.status().bus.connected, self.source)
        join(self.source, self.destination)

    def wait_for(self, what: str, condition: Callable[[], T | None], deadline_s: float = 120.0) -> T:
        """See the function."""
        return wait_for(what, condition, *self.sites, deadline_s=deadline_s)

    def at_both(self, what: str, condition: Callable[[Site], object], deadline_s: float = 120.0) -> None:
        """Wait until it is so at the one and at the other."""
        for site in self.sites:
            self.wait_for(f"{site.name}: {what}", partial(condition, site), deadline_s)

    def acknowledged(self, number: int, deadline_s: float = 120.0) -> None:
        """Wait until the source knows of so many instances at the destination, and none is on its way."""
        self.wait_for(
            f"{number} files are acknowledged",
            lambda: (
                self.source.client.status().counts.instances_elsewhere >= number
                and not set(self.destination.client.status().transfers) - {"stored", "cancelled"}
            ),
            deadline_s,
        )

    def assert_whole(self) -> None:
        """Both hold both journals, and every signature, chain and hash of them is right."""
        for site in self.sites:
            reports = {report.site: report for report in site.client.verify_journals()}
            assert set(reports) == {known.name for known in self.sites}
            assert [report.problems for report in reports.values()] == [[], []]
            site.lbctl("events", "verify")
            site.lbctl("events", "audit")


def join(inviter: Site, newcomer: Site) -> None:
    """Invite, start the newcomer, join."""
    token = inviter.lbctl("site", "invite").strip()
    newcomer.lbctl("site", "join", token)  # before the daemon's first start: it finds the token
    newcomer.start()
    wait_for(
        f"{newcomer.name} has joined",
        lambda: inviter.name in {peer.site for peer in newcomer.client.sites() if peer.admitted_by or peer.access},
        inviter,
        newcomer,
    )
    wait_for(
        "both know one another",
        lambda: all(len(site.client.status().peers) >= 1 for site in (inviter, newcomer)),
        inviter,
        newcomer,
    )


@contextmanager
def sites(*all_of_them: Site) -> Generator[None]:
    """Whatever happens in the block, no daemon outlives it, and no bytes stay."""
    try:
        yield
    finally:
        for site in all_of_them:
            with suppress(ProcessLookupError):
                site.kill()
        for site in all_of_them:
            for large in (site.store, site.making, site.root / "nats"):
                shutil.rmtree(large, ignore_errors=True)


@contextmanager
def pair(
    root: Path,
    *,
    catalogs: tuple[str, str] = (SQLITE, SQLITE),
    bus: str = "",
    advertise: str = "",
    subscribe: bool = True,
    changed: Mapping[str, str] | None = None,
) -> Generator[Pair]:
    """Two running sites: ``summit``, with a bus of its own or ``bus``, and ``archive``, subscribed to it.

    ``advertise`` is by which address the first has the second fetch bytes.
    """
    bus = bus or f"embedded:{free_port()}"
    source = Site(root / "summit", "summit", bus=bus, catalog=catalogs[0], advertise=advertise, changed=changed)
    destination = Site(root / "archive", "archive", catalog=catalogs[1], changed=changed)
    with sites(source, destination):
        made = Pair(source, destination)
        made.join()
        if subscribe:
            destination.lbctl("subscription", "add", "--from", "summit")
        yield made


def _event_of(line: str) -> dict[str, Any]:
    """A line of the log; {} where it is none. After a power cut it may stand behind what is left of another one."""
    for begin in (at for at, char in enumerate(line) if char == "{"):
        with suppress(json.JSONDecodeError):
            found: dict[str, Any] = json.loads(line[begin:])
            return found
    return {}


def wait_for(what: str, condition: Callable[[], T | None], *watched: Site, deadline_s: float = 120.0) -> T:
    """Look until there is something true; else fail with all that the sites say.

    A daemon that does not answer just now is looked at again; one that has ended by itself is a failure.
    """
    end = time.monotonic() + deadline_s
    while True:
        try:
            found = condition()
        except (DaemonUnreachable, BusUnavailable):
            found = None
        if found:
            return found
        ended = [site for site in watched if site.process is not None and site.process.poll() not in {None, -9}]
        if ended or time.monotonic() > end:
            why = f"{ended[0].name} ended" if ended else f"not within {deadline_s:g} s"
            raise AssertionError("\n".join([f"{why}: {what}", *(site.report() for site in watched)]))
        time.sleep(POLL_S)
