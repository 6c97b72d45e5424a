"""A site whose daemon is an ordinary account's, and other accounts beside it: root may do what people may not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from tests.support.sites import Site, free_port, sites

ROOT = Path(__file__).parents[2]
#: Of the daemon, and of the group by which people drop.
DAEMON_UID, DROP_GID = 21_001, 21_100


def _as(uid: int, gid: int, groups: Sequence[int] = ()) -> list[str]:
    supplementary = [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", *supplementary, "--pdeathsig=KILL"]


class Person:
    """Another account of the same machine, of the group that may drop."""

    def __init__(self, uid: int, groups: Sequence[int] = (DROP_GID,)) -> None:
        self.uid = uid
        self._as = _as(uid, uid, groups)

    def does(self, script: str, cwd: Path, exit_code: int | None = 0) -> str:
        """Run a shell script as this person; what it printed."""
        done = subprocess.run(
            [*self._as, "sh", "-euc", script], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
        )
        assert exit_code is None or done.returncode == exit_code, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def lbctl(self, site: Site, *arguments: str, exit_code: int = 0) -> str:
        """Run ``lbctl`` for a site as this person; all that it printed."""
        done = self._ran(site, arguments)
        assert done.returncode == exit_code, f"lbctl {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def status(self, site: Site) -> str:
        """What ``lbctl status`` prints for this person, as :meth:`Site.status`."""
        done = self._ran(site, ["status"])
        assert done.returncode == int("NOT HEALTHY" in done.stdout), f"{done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def _ran(self, site: Site, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._as, site.python, "-m", "lbctl.main", "--config", site.config, *arguments],
            cwd="/",
            env=site.environ(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def begins(self, *command: str, cwd: Path) -> subprocess.Popen[bytes]:
        """Start a program as this person, in a group of processes of its own, and do not wait for it."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [*self._as, *command], cwd=cwd, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )


@cache
def _python() -> tuple[str, dict[str, str]] | None:
    """An interpreter of this version that an ordinary account may run, and the variables that it needs."""
    packages = [ROOT / part for part in ("protocol", "adapters", "daemon", "cli")]
    paths = [*map(str, packages), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        environ = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONDONTWRITEBYTECODE": "1"}
        environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])  # the bus server
        # setpriv itself may still run what the account may not.
        probe = "import os, sys, msgspec, aiohttp, librarian_daemon; sys.exit(not os.access(sys.executable, os.X_OK))"
        done = subprocess.run(
            [*_as(DAEMON_UID, DAEMON_UID), python, "-c", probe], env=environ, capture_output=True, check=False, cwd="/"
        )
        if done.returncode == 0:
            return python, environ
    return None


@contextmanager
def ordinary_site(changed: Mapping[str, str] | None = None) -> Generator[Site]:
    """A running site of an ordinary account. Skips where this process may not change accounts, or the other not run it.

    Its drop directories are made as deploy/README.md says: the group's, so that everybody of it may drop.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("other accounts take root and setpriv")
    python = _python()
    if python is None:
        pytest.skip("no Python of this version that an ordinary account may run")
    root = Path(tempfile.mkdtemp(prefix="librarian-"))
    try:
        root.chmod(0o755)
        site = Site(
            root / "summit",
            "summit",
            bus=f"embedded:{free_port()}",
            changed=changed,
            run_on=_as(DAEMON_UID, DAEMON_UID, [DROP_GID]),
            python=python[0],
            overlay=python[1],
        )
        with sites(site):
            subprocess.run(["chown", "-R", f"{DAEMON_UID}:{DAEMON_UID}", site.root], check=True)
            site.root.chmod(0o755)
            for drop in (site.drop, site.drop_books):
                os.chown(drop, DAEMON_UID, DROP_GID)
                drop.chmod(0o3770)
            os.chown(site.making, -1, DROP_GID)
            site.making.chmod(0o3777)
            site.start()
            yield site
    finally:
        shutil.rmtree(root, ignore_errors=True)
