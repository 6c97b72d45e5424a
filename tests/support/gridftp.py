"""Two real GridFTP servers on loopback, with GSI by an authority of their own: Debian's globus packages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.support.programs import needs
from tests.support.rsyncd import answers
from tests.support.sites import free_port


class GridFtp:
    """Two servers that see this machine's files."""

    def __init__(self, source: int, destination: int, environ: dict[str, str]) -> None:
        self.source = f"gsiftp://localhost:{source}"
        self.destination = f"gsiftp://localhost:{destination}"
        self.environ = environ


def _openssl(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(["openssl", *arguments], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout


@contextmanager
def gridftp(root: Path) -> Generator[GridFtp]:
    """Running, for the block."""
    needs("globus-gridftp-server", "globus-url-copy", "openssl")
    certificates = root / "certificates"
    certificates.mkdir(parents=True)
    authority = "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /O=Grid/CN=CA -keyout ca.key -out ca.pem"
    _openssl(*authority.split(), cwd=root)
    name = _openssl(*["x509", "-in", "ca.pem", "-noout", "-hash"], cwd=root).strip()
    (certificates / f"{name}.0").write_bytes((root / "ca.pem").read_bytes())
    (certificates / f"{name}.signing_policy").write_text(
        "access_id_CA X509 '/O=Grid/CN=CA'\npos_rights globus CA:sign\ncond_subjects globus '\"/O=Grid/*\"'\n"
    )
    (root / "extensions").write_text(
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nkeyUsage=digitalSignature,keyEncipherment\n"
    )
    for part, subject in (("host", "localhost"), ("user", "lbuser")):
        request = f"req -newkey rsa:2048 -nodes -subj /O=Grid/CN={subject} -keyout {part}.key -out {part}.csr"
        _openssl(*request.split(), cwd=root)
        sign = f"x509 -req -in {part}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 20 -extfile extensions"
        _openssl(*f"{sign} -out {part}.pem".split(), cwd=root)
        (root / f"{part}.key").chmod(0o600)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    (root / "gridmap").write_text(f'"/O=Grid/CN=lbuser" {user}\n')

    def environ(part: str) -> dict[str, str]:
        return {
            **os.environ,
            "X509_CERT_DIR": str(certificates),
            "GRIDMAP": str(root / "gridmap"),
            "X509_USER_CERT": str(root / f"{part}.pem"),
            "X509_USER_KEY": str(root / f"{part}.key"),
        }

    ports = (free_port(), free_port())
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for port in ports:
            command = ["globus-gridftp-server", "-home-dir", "/", "-p", str(port)]
            command += ["-control-interface", "127.0.0.1", "-data-interface", "127.0.0.1"]
            command += ["-allow-root"] if os.geteuid() == 0 else []
            with (root / f"{port}.log").open("wb") as log:
                servers.append(subprocess.Popen(command, env=environ("host"), stdout=log, stderr=log))
        for port, server in zip(ports, servers, strict=True):
            answers(port, server)
        yield GridFtp(*ports, environ("user"))
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()
