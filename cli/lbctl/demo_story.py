"""Prints what happens in the demo, from both sites' journals, and checks it against their catalogs."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import msgspec

from lbctl.app import App, Format
from lbctl.demo_site import DemoSite
from lbctl.shown import digest, safe, size
from librarian_protocol import api
from librarian_protocol.errors import DaemonUnreachable, LibrarianError

#: Seconds in which the catalog must show what the journal has told; they are one commit.
CATALOG_TIMEOUT_S = 5.0


class Entry(msgspec.Struct, kw_only=True):
    """Of ``file.ingested`` and ``instance.registered``, what is told here."""

    name: str
    digest: str
    size_bytes: int
    unit: str


class Step(msgspec.Struct, kw_only=True):
    """One line of the story, as ``-o jsonl`` prints it."""

    after_s: float
    site: str
    step: str
    detail: str


class Story:
    """Tells steps with the time since the beginning, and knows which files were acknowledged."""

    def __init__(self, app: App, source: DemoSite, destination: DemoSite) -> None:
        self._app = app
        self._source = source
        self._destination = destination
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._steps: dict[str, set[str]] = defaultdict(set)
        self._failed: LibrarianError | None = None

    def tell(self, site: str, step: str, detail: str = "") -> None:
        """Print a line. Threads may call it."""
        told = Step(after_s=round(time.monotonic() - self._began, 3), site=site, step=step, detail=detail)
        with self._lock:
            if self._app.output is Format.TABLE:
                line = f"{told.after_s:6.1f} s  {site:<9} {step:<13} {detail}".rstrip()
                print(safe(line), flush=True)
            else:
                print(msgspec.json.encode(told).decode(), flush=True)

    def follow(self) -> None:
        """Begin to read both sites' events, from the first one on."""
        for site in (self._source, self._destination):
            threading.Thread(target=self._follow, args=(site,), daemon=True).start()

    def end(self) -> None:
        """The daemons are about to stop: losing them is no failure from here on."""
        self._ended.set()

    def check(self) -> None:
        """Raise what went wrong in a reader."""
        if self._failed is not None:
            raise self._failed

    def acknowledged(self, name: str) -> bool:
        """Whether the source knows of a verified instance at the destination."""
        return "acknowledged" in self._steps[name]

    def missing(self, name: str) -> str:
        """The first step that has not happened; "" where all have."""
        order = ("ingested", "announced", "pulled", "verified", "acknowledged")
        return next((step for step in order if step not in self._steps[name]), "")

    def _follow(self, site: DemoSite) -> None:
        try:
            for event in site.client.events(after=0, follow=True):
                self._event(site, event)
            if not self._ended.is_set():
                self._failed = DaemonUnreachable(f"{site.name}: its stream of events ended")
        except LibrarianError as exc:
            if not self._ended.is_set():
                self._failed = exc

    def _event(self, at: DemoSite, event: api.Event) -> None:
        if event.kind not in {"file.ingested", "instance.registered"}:
            return
        entry = msgspec.json.decode(event.entry, type=Entry)
        source, destination = self._source.name, self._destination.name
        match (at.name, event.site, event.kind):
            case (self._source.name, self._source.name, "file.ingested"):
                what = f"{entry.name} ({entry.unit}, {size(entry.size_bytes)}, {digest(entry.digest)})"
                self._step(entry, source, "ingested", what)
            case (self._destination.name, self._source.name, "file.ingested"):
                self._step(entry, destination, "announced", f"{entry.name}: heard of it from {source}")
            case (self._destination.name, self._destination.name, "instance.registered"):
                self._step(entry, destination, "pulled", f"{entry.name}: {size(entry.size_bytes)} from {source}")
                if self._verified(self._destination, entry):
                    self._step(entry, destination, "verified", f"{entry.name}: {digest(entry.digest)} stands there")
            case (self._source.name, self._destination.name, "instance.registered"):
                if self._verified(self._source, entry):
                    what = f"{entry.name}: {source} knows of a verified instance at {destination}"
                    self._step(entry, source, "acknowledged", what)
            case _:
                pass

    def _step(self, entry: Entry, site: str, step: str, detail: str) -> None:
        self.tell(site, step, detail)
        self._steps[entry.name].add(step)

    def _verified(self, at: DemoSite, entry: Entry) -> bool:
        """Whether ``at`` itself lists a verified instance of exactly this file at the destination."""
        end = time.monotonic() + CATALOG_TIMEOUT_S
        while time.monotonic() < end:
            for found in at.client.file(entry.name).files:
                for instance in found.instances:
                    here = instance.site == self._destination.name and instance.state == "verified"
                    if here and found.digest == entry.digest:
                        return True
            time.sleep(0.05)
        return False
