"""A filesystem for one run: made for it, so that neither deletes of earlier runs nor neighbours are measured."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SBIN = "/usr/sbin:/sbin"


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """Where everything of a run stands: sites, peers, sources, destinations."""

    path: Path
    #: What it is, for the result: ``ext4 of its own on a loop device``, or why not.
    filesystem: str
    #: Whether nobody else writes to it.
    own: bool

    def settle(self) -> None:
        """Write everything dirty."""
        subprocess.run(["sync", "-f", str(self.path)], check=True)


@contextmanager
def scratch(size_gib: float, beside: Path | None = None, *, mounted: bool = True) -> Generator[Scratch]:
    """A new ext4 on a loop device where that is permitted, else a directory; the result says which.

    ``beside``: the directory in which the image or the directory is made. Lazy initialisation is off, since the kernel
    would do it in the background during the run.
    """
    root = Path(tempfile.mkdtemp(prefix="librarian-bench-", dir=beside))
    try:
        why = _mount(root, int(size_gib * 1024)) if mounted else "not wanted"
        if why:
            (root / "mounted").mkdir(exist_ok=True)
            kind = _run("stat", "-f", "-c", "%T", str(root)).stdout.strip()
            yield Scratch(path=root / "mounted", filesystem=f"a directory on {kind}, shared ({why})", own=False)
            return
        try:
            yield Scratch(path=root / "mounted", filesystem="ext4 of its own on a loop device", own=True)
        finally:
            done = _run("umount", str(root / "mounted"))
            if done.returncode != 0:  # something still has a file open there: it goes when that ends
                subprocess.run(["umount", "-l", str(root / "mounted")], check=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _mount(root: Path, size_mib: int) -> str:
    """Mount it at ``root/mounted``; why not, where that cannot be."""
    if os.geteuid() != 0:
        return "mounting needs root"
    image, target = root / "image", root / "mounted"
    with image.open("wb") as file:
        file.truncate(size_mib << 20)
    target.mkdir()
    lazy = "lazy_itable_init=0,lazy_journal_init=0"
    for command in (
        ["mkfs.ext4", "-q", "-m", "0", "-E", lazy, str(image)],
        ["mount", "-o", "loop", str(image), str(target)],
    ):
        try:
            done = _run(*command)
        except FileNotFoundError:
            return f"{command[0]} is not installed"
        if done.returncode != 0:
            image.unlink()
            return f"{command[0]}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"
    (target / "lost+found").rmdir()
    return ""


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _found(command),
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{os.environ.get('PATH', os.defpath)}:{_SBIN}", "LC_ALL": "C"},
    )


def _found(command: Sequence[str]) -> list[str]:
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")
    if program is None:
        raise FileNotFoundError(command[0])
    return [program, *command[1:]]
