"""What the doctor asks the machine."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from librarian_daemon.config.settings import IntakeSettings
from librarian_daemon.runtime.clock import SystemClock
from librarian_daemon.status import doctor_machine
from librarian_daemon.stores.posix.local_directory import made_directory
from librarian_daemon.stores.posix.modes import Modes

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
    assert doctor_machine.filesystem_of(path, MOUNTS) == kind
    assert doctor_machine.filesystem_of(path, "") == ""


def test_sqlite_on_a_network_filesystem_is_red() -> None:
    red = doctor_machine.catalog_place("sqlite:////data/catalog.sqlite", MOUNTS)
    assert red is not None
    assert (red.level, "nfs4" in red.message) == ("error", True)
    green = doctor_machine.catalog_place("sqlite:////srv/catalog.sqlite", MOUNTS)
    assert green is not None
    assert green.level == "ok"
    assert doctor_machine.catalog_place("postgresql://here/there", MOUNTS) is None


def test_a_drop_directory_says_how_it_is_watched_and_whether_it_is_there(tmp_path: Path) -> None:
    drop, store = tmp_path / "drop", tmp_path / "store"
    drop.mkdir()
    store.mkdir()

    def told(path: Path, root: Path = store) -> tuple[str, str]:
        said = doctor_machine.drop_directory(IntakeSettings(path=str(path), store="main"), str(root), MOUNTS)
        return said.level, said.message

    level, message = told(drop)
    assert (level, "renamed into the store" in message) == ("ok", True)
    level, message = told(Path("/dev/shm"))
    assert (level, "renamed" in message, "another filesystem" in message) == ("ok", False, True)
    drop.chmod(0o777)
    level, message = told(drop)
    assert (level, "renamed into" in message, "others may rename" in message) == ("ok", False, True)
    assert told(tmp_path / "gone")[0] == told(drop, tmp_path / "gone")[0] == "error"


@pytest.mark.parametrize("mode", [0o750, 0o2750, 0o755])
def test_directories_that_get_their_mode_are_fine(tmp_path: Path, mode: int) -> None:
    """Made in the store as work makes them, and removed."""
    staging = tmp_path / ".librarian" / "staging"
    staging.mkdir(parents=True)
    told = made_directory("main", str(tmp_path), Modes(directory=mode, group=os.getegid()))
    assert (told.level, f"{mode:04o}" in told.message) == ("ok", True)
    assert list(staging.iterdir()) == []


def test_directories_that_cannot_be_made_as_set_are_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a unit that takes the right away, or where the group is not the user's."""
    (tmp_path / ".librarian" / "staging").mkdir(parents=True)

    def refused(fd: int, uid: int, gid: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    told = made_directory("main", str(tmp_path), Modes(group=4711))
    assert (told.level, "the group with id 4711" in told.message) == ("error", True)

    def passed_over(fd: int, mode: int) -> None:
        """As the kernel does with setgid, where the group is not the user's."""

    monkeypatch.setattr(os, "fchmod", passed_over)
    told = made_directory("main", str(tmp_path), Modes(directory=0o2750))
    assert (told.level, "not 2750" in told.message) == ("error", True)
    assert made_directory("main", str(tmp_path / "gone"), Modes()).level == "error"


def test_a_store_that_the_umask_closes_says_so(tmp_path: Path) -> None:
    (tmp_path / ".librarian" / "staging").mkdir(parents=True)
    before = os.umask(0o077)
    try:
        told = made_directory("main", str(tmp_path), Modes())
    finally:
        os.umask(before)
    assert (told.level, "nobody else reads the store" in told.message) == ("ok", True)


def test_few_watches_are_a_warning() -> None:
    assert "watched directories" in [check.check for check in doctor_machine.limits("8192\n")]
    assert "watched directories" not in [check.check for check in doctor_machine.limits("524288\n")]
    assert doctor_machine.limits("")


def test_a_disk_that_cannot_be_written_is_red(tmp_path: Path) -> None:
    assert doctor_machine.sync_speed(tmp_path, SystemClock()).level in {"ok", "warning"}
    assert list(tmp_path.iterdir()) == []
    assert doctor_machine.sync_speed(tmp_path / "gone", SystemClock()).level == "error"


@pytest.mark.parametrize(("days", "level"), [(-1, "error"), (5, "warning"), (100, "ok")])
def test_an_authoritys_certificate_ends(tmp_path: Path, days: int, level: str) -> None:
    """A certificate that was given by an authority is renewed by a person: the doctor warns before it ends."""
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
    found = doctor_machine.certificate(str(path), now.timestamp())
    assert found is not None
    assert found.level == level
    assert doctor_machine.certificate("", 0.0) is None
    broken = doctor_machine.certificate(str(tmp_path / "gone"), 0.0)
    assert broken is not None
    assert broken.level == "error"


@pytest.mark.parametrize(
    ("listen", "level"),
    [
        ("127.0.0.1:4222", None),
        ("[::1]:4222", None),
        ("10.0.0.7:4222", "warning"),
        ("0.0.0.0:4222", "error"),
        ("[::]:4222", "error"),
        ("8.8.8.8:4222", "error"),
        ("summit.example:4222", "error"),
    ],
)
def test_a_bus_that_listens_beyond_this_machine_in_plain_text_is_told(listen: str, level: str | None) -> None:
    assert [check.level for check in doctor_machine.bus_listener(listen)] == ([] if level is None else [level])
