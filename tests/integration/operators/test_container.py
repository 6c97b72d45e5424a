"""The entry point of the image with the options of the compose file, for real; there is no container around it here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from ruamel.yaml import YAML
from tests.support.sites import free_port

from librarian_client import Client
from librarian_protocol.errors import LibrarianError

DEPLOY = Path(__file__).parents[3] / "deploy"


class Container:
    """What the image would run, with directories of this machine in place of its volumes."""

    def __init__(self, root: Path, name: str) -> None:
        compose = YAML(typ="safe").load((DEPLOY / "compose" / "compose.yaml").read_text())
        self.root = root / name
        self.data = self.root / "data"
        self.state = self.root / "state"
        self.data.mkdir(parents=True)
        self.log = self.root / "log"
        port, bus, metrics = free_port(), free_port(), free_port()
        self.options = [
            option.replace("/data", str(self.data))
            .replace("0.0.0.0:7400", f"127.0.0.1:{port}")
            .replace("0.0.0.0:7401", f"127.0.0.1:{metrics}")
            .replace(f"{name}:7400", f"127.0.0.1:{port}")
            .replace("embedded:0.0.0.0:4222", f"embedded:127.0.0.1:{bus}")
            for option in compose["services"][name]["command"]
        ]
        self.environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LBCTL_CONFIG": str(self.state / "site.toml"),
        }

    @contextmanager
    def running(self) -> Generator[Client]:
        """From start to ``docker stop``."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [str(DEPLOY / "container" / "entrypoint"), *self.options], env=self.environ, stdout=log, stderr=log
            )
        try:
            self.until((self.state / "site.toml").exists)
            client = Client.from_config(self.state / "site.toml")
            self.until(lambda: client.status().site)
            yield client
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                if condition():
                    return
            except LibrarianError:
                pass  # it does not answer yet
            if time.monotonic() > end:
                raise AssertionError(self.log.read_text()[-3000:])
            time.sleep(0.1)

    def lbctl(self, *arguments: str, given: str = "") -> str:
        done = subprocess.run(
            ["lbctl", *arguments], env=self.environ, input=given, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def test_the_sites_of_the_compose_file_join_and_exchange(tmp_path: Path) -> None:
    summit, archive = Container(tmp_path, "summit"), Container(tmp_path, "archive")
    with summit.running(), archive.running() as client:
        token = summit.lbctl("site", "invite")
        archive.lbctl("site", "join", "-", given=token)
        archive.lbctl("subscription", "add", "--from", "summit")
        dropping = summit.data / "made"
        dropping.write_bytes(b"first light")
        dropping.rename(summit.data / "drop" / "first-light.dat")
        archive.until((archive.data / "store" / "first-light.dat").exists)
        assert client.status().page == ""
        summit.lbctl("store", "list")
    before = (summit.state / "site.toml").read_bytes()
    with summit.running() as client:
        assert client.status().counts.files == 1
    assert (summit.state / "site.toml").read_bytes() == before, "a later start takes it as it stands"
