"""Small and broken filesystems for tests, where mounting is permitted."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.programs import needs

_FIBMAP = 1
_BLOCK = 4096


@contextmanager
def tmpfs(path: Path, options: str) -> Generator[Path]:
    """A tmpfs mounted at ``path``; skips the test where that is not permitted."""
    path.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", options, "tmpfs", str(path))
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    """Change the options of what is mounted."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")


class Disk:
    """ext4 on a loop device whose end can be cut off: what lies there is answered with EIO."""

    def __init__(self, image: Path, device: str) -> None:
        self._image = image
        self._device = device
        self._lost: tuple[int, bytes] | None = None

    def break_at(self, file: Path, offset: int) -> None:
        """From this byte of the file on, and from there on the disk on, nothing can be read or written."""
        subprocess.run(["sync", "-f", str(file)], check=True)
        with file.open("rb") as opened:
            found = fcntl.ioctl(opened, _FIBMAP, struct.pack("i", offset // _BLOCK))
        start = struct.unpack("i", found)[0] * _BLOCK
        self._lost = (start, self._image.read_bytes()[start:])
        os.truncate(self._image, start)
        self._take_notice()

    def mend(self) -> None:
        """Give back what was cut off."""
        assert self._lost is not None
        with self._image.open("r+b") as image:
            image.seek(self._lost[0])
            image.write(self._lost[1])
        self._take_notice()

    def _take_notice(self) -> None:
        """The device's size is read anew, and what the kernel remembers of files does not stand in for the disk."""
        subprocess.run(["losetup", "--set-capacity", self._device], check=True)
        Path("/proc/sys/vm/drop_caches").write_text("3\n")


@contextmanager
def breakable(image: Path, path: Path, *, size_bytes: int) -> Generator[Disk]:
    """A new disk, mounted at ``path``; skips the test where that is not permitted."""
    needs("mkfs.ext4", "losetup")
    with image.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run(["mkfs.ext4", "-q", "-b", str(_BLOCK), "-m", "0", "-O", "^has_journal", str(image)], check=True)
    found = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True)
    if found.returncode != 0:
        pytest.skip(f"loop devices are not permitted here: {found.stderr.strip()}")
    device = found.stdout.strip()
    try:
        _mount(device, str(path))
        try:
            (path / "lost+found").rmdir()
            yield Disk(image, device)
        finally:
            subprocess.run(["umount", str(path)], check=True)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


class Fuse:
    """A FUSE mount whose server can be stopped: every access hangs, as on a dead NFS."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        self._server = server

    def hang(self) -> None:
        """From now on nothing is answered."""
        self._server.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """What hangs is answered."""
        self._server.send_signal(signal.SIGCONT)


@contextmanager
def fuse(path: Path, beside: Path) -> Generator[Fuse]:
    """Mount a FUSE filesystem at ``path``, whose bytes stand in ``beside``; skips where that is not permitted.

    It is fuse-overlayfs, since the daemon needs renames that overwrite nothing, which few others have.
    """
    needs("fuse-overlayfs")
    path.mkdir()
    for part in ("lower", "upper", "work"):
        (beside / part).mkdir(parents=True)
    layers = f"lowerdir={beside}/lower,upperdir={beside}/upper,workdir={beside}/work"
    command = ["fuse-overlayfs", "-f", "-o", layers, str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as server:
        try:
            end = time.monotonic() + 30
            while not path.is_mount():
                if server.poll() is not None or time.monotonic() > end:
                    assert server.stderr is not None
                    server.kill()
                    pytest.skip(f"FUSE is not permitted here: {server.stderr.read().decode().strip()}")
                time.sleep(0.02)
            yield Fuse(server)
        finally:
            server.send_signal(signal.SIGCONT)
            subprocess.run(["umount", "-l", str(path)], check=False)
            server.terminate()
