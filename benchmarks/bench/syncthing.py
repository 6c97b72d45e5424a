"""Syncthing as a peer: two of it on this machine, which share one folder, its watcher at its least delay of 1 s."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.bench.peer_server import listening
from tests.support.sites import free_port

_PROGRAM = "syncthing"
_JOINED_S = 120.0


def why_absent() -> str:
    """Empty where it is installed."""
    return "" if shutil.which(_PROGRAM) else "syncthing is not installed"


class Device:
    """One that is made, but does not run."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.folder = root / "folder"
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self.gui_port = free_port()
        self.environ = os.environ | {"STNOUPGRADE": "1", "HOME": str(root), "STHASHING": "standard"}
        self._run("generate", f"--home={self.home}", "--no-default-folder", "--skip-port-probing")
        self.id = self._run(f"--home={self.home}", "--device-id").strip()

    def know(self, other: Device) -> None:
        """Write its configuration: the folder, shared with the other, and nothing beyond this machine."""
        path = self.home / "config.xml"
        tree = ElementTree.parse(path)
        root = tree.getroot()
        for tag in ("folder", "device"):
            for element in root.findall(tag):
                root.remove(element)
        for device in (self, other):
            added = ElementTree.SubElement(root, "device", id=device.id, name=device.id[:7])
            ElementTree.SubElement(added, "address").text = f"tcp://127.0.0.1:{device.port}"
        folder = ElementTree.SubElement(
            root,
            "folder",
            id="bench",
            path=str(self.folder),
            type="sendreceive",
            fsWatcherEnabled="true",
            fsWatcherDelayS="1",
        )
        for device in (self, other):
            ElementTree.SubElement(folder, "device", id=device.id)
        gui = root.find("gui")
        options = root.find("options")
        assert gui is not None
        assert options is not None
        _set(gui, "address", f"127.0.0.1:{self.gui_port}")
        _set(options, "listenAddress", f"tcp://127.0.0.1:{self.port}")
        for name in ("globalAnnounceEnabled", "localAnnounceEnabled", "relaysEnabled", "natEnabled", "startBrowser"):
            _set(options, name, "false")
        for name in ("crashReportingEnabled", "autoUpgradeIntervalH"):
            _set(options, name, "false" if name.startswith("crash") else "0")
        _set(options, "urAccepted", "-1")
        tree.write(path)

    def command(self) -> list[str]:
        """What runs it."""
        return [_PROGRAM, "serve", f"--home={self.home}", "--no-browser", "--no-restart", "--logfile=-"]

    def _run(self, *arguments: str) -> str:
        command = [_PROGRAM, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=self.environ).stdout


def _set(parent: ElementTree.Element, tag: str, text: str) -> None:
    found = parent.find(tag)
    (ElementTree.SubElement(parent, tag) if found is None else found).text = text


@asynccontextmanager
async def two_devices(root: Path) -> AsyncGenerator[tuple[Device, Device]]:
    """Both run, and a first file has gone from the first to the second."""
    first, second = Device(root / "first"), Device(root / "second")
    async with AsyncExitStack() as stack:
        for device, other in ((first, second), (second, first)):
            device.know(other)
            await stack.enter_async_context(listening(device.command(), device.gui_port, environ=device.environ))
        (first.folder / "hello").write_text("hello")
        end = time.monotonic() + _JOINED_S
        while not (second.folder / "hello").exists():
            if time.monotonic() > end:
                raise RuntimeError(f"the first file has not gone over in {_JOINED_S:g} s")
            time.sleep(0.1)
        yield first, second
