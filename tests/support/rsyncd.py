"""Real counterparts of the rsync adapter on loopback: rsync's own daemon, and sshd."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.programs import needs
from tests.support.sites import free_port


def answers(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something listens."""
    end = time.monotonic() + 15
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.connect(("127.0.0.1", port))
            return
        assert process.poll() is None, "it ended"
        assert time.monotonic() < end, "it does not listen"
        time.sleep(0.02)


@contextmanager
def rsync_daemon(root: Path, modules: dict[str, Path], *, secret: str = "", program: str = "rsync") -> Generator[int]:
    """rsync's daemon with modules that are only read, as user ``lb`` with the password where there is one; its port."""
    needs("rsync")
    root.mkdir(parents=True)
    port = free_port()
    text = "use chroot = no\nreverse lookup = no\n"
    if os.geteuid() == 0:
        text += "uid = root\ngid = root\n"
    for name, path in modules.items():
        text += f"[{name}]\npath = {path}\nread only = yes\nlist = no\nexclude = /.librarian/staging\n"
        if secret:
            text += f"auth users = lb\nsecrets file = {root}/secrets\n"
    (root / "rsyncd.conf").write_text(text)
    (root / "secrets").write_text(f"lb:{secret}\n")
    (root / "secrets").chmod(0o600)
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                "--daemon",
                "--no-detach",
                f"--port={port}",
                "--address=127.0.0.1",
                f"--config={root}/rsyncd.conf",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        answers(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


class Sshd:
    """Where an sshd listens, and what a client needs."""

    def __init__(self, port: int, identity: Path, known_hosts: Path) -> None:
        self.port = port
        self.identity = identity
        self.known_hosts = known_hosts


@contextmanager
def sshd(root: Path) -> Generator[Sshd]:
    """An sshd for this user alone."""
    needs("ssh-keygen", "ssh", "sshd", "rsync")
    root.mkdir(parents=True)
    port = free_port()
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / name)], check=True)
    shutil.copy(root / "client.pub", root / "authorized_keys")
    (root / "known_hosts").write_text(f"[127.0.0.1]:{port} {(root / 'host.pub').read_text()}")
    (root / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {root}/host\nAuthorizedKeysFile {root}/authorized_keys\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nPermitRootLogin yes\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", str(root / "sshd_config")], stdin=subprocess.DEVNULL, stderr=log
        )
    try:
        answers(port, process)
        yield Sshd(port, root / "client", root / "known_hosts")
    finally:
        process.terminate()
        process.wait()
