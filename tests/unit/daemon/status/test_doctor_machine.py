"""What the doctor asks the machine."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from librarian_daemon import doctor_host
from librarian_daemon.clock import SystemClock

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:30 / /data rw - nfs4 server:/export rw
23 22 8:2 / /data/local\\040disk rw - xfs /dev/sdb rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/data/x", "nfs4"),
        ("/data", "nfs4"),
        ("/database", "ext4"),
        ("/data/local disk/x", "xfs"),
    ],
)
def test_the_nearest_mount_says_the_filesystem(path: str, kind: str) -> None:
    assert doctor_host.filesystem_of(path, MOUNTS) == kind
    assert doctor_host.filesystem_of(path, "") == ""


def test_sqlite_on_a_network_filesystem_is_red() -> None:
    red = doctor_host.catalog_place("sqlite:////data/catalog.sqlite", MOUNTS)
    assert red is not None
    assert (red.level, "nfs4" in red.message) == ("error", True)
    green = doctor_host.catalog_place("sqlite:////srv/catalog.sqlite", MOUNTS)
    assert green is not None
    assert green.level == "ok"
    assert doctor_host.catalog_place("postgresql://here/there", MOUNTS) is None


def test_a_drop_directory_says_how_it_is_watched_and_whether_it_is_there(tmp_path: Path) -> None:
    said = doctor_host.drop_place(str(tmp_path), str(tmp_path), MOUNTS)
    assert (said.level, "renamed into the store" in said.message) == ("ok", True)
    assert "copied" in doctor_host.drop_place("/proc", str(tmp_path), MOUNTS).message
    assert doctor_host.drop_place(str(tmp_path / "gone"), str(tmp_path), MOUNTS).level == "error"


def test_few_watches_are_a_warning() -> None:
    assert "watched directories" in [one.check for one in doctor_host.limits("8192\n")]
    assert "watched directories" not in [one.check for one in doctor_host.limits("524288\n")]
    assert doctor_host.limits("")


def test_a_disk_that_cannot_be_written_is_red(tmp_path: Path) -> None:
    assert doctor_host.sync_speed(tmp_path, SystemClock()).level in {"ok", "warning"}
    assert list(tmp_path.iterdir()) == []
    assert doctor_host.sync_speed(tmp_path / "gone", SystemClock()).level == "error"


@pytest.mark.parametrize(("days", "level"), [(-1, "error"), (5, "warning"), (100, "ok")])
def test_an_authoritys_certificate_ends(tmp_path: Path, days: int, level: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "archive")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "tls.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    found = doctor_host.certificate(str(path), now.timestamp())
    assert found is not None
    assert found.level == level
    assert doctor_host.certificate("", 0.0) is None
    broken = doctor_host.certificate(str(tmp_path / "gone"), 0.0)
    assert broken is not None
    assert broken.level == "error"
