"""A whole systemd in a container (systemd-nspawn) that runs the shipped unit, driven by a script inside of it.

The container has this machine's ``/usr``, and else nothing of it: ``/etc`` and ``/var`` are empty at each boot.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tests.support.programs import needs

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
BOOT_S = 240

_LBD = """#!/bin/sh
# The daemon of the tree under test, where the unit looks for the installed one.
export LD_LIBRARY_PATH=/opt/python/lib PATH=/opt/programs:/usr/bin:/bin
export PYTHONPATH=/opt/packages:/opt/source/protocol:/opt/source/adapters:/opt/source/daemon:/opt/source/cli
exec /opt/python/bin/python3 -m {module} "$@"
"""

_DRIVER = """[Service]
Type=oneshot
ExecStart=/opt/librarian/bin/driver
ExecStopPost=/bin/systemctl poweroff --no-block
TimeoutStartSec=200
"""


def needs_nspawn() -> None:
    """Skip the test where containers cannot be booted, and say why."""
    needs("systemd-nspawn")
    if os.geteuid() != 0:
        pytest.skip("booting a container needs root")


def boot(root: Path, driver: str, *, dropin: str, config: Path, binds: dict[Path, str]) -> Path:
    """Boot, run ``driver`` (Python) as root, power off. What it wrote to ``/results`` is in the directory returned.

    ``config`` is linked as ``/etc/librarian/site.toml``; ``dropin`` is added to the shipped unit.
    """
    made = root / "container"
    results = root / "results"
    programs = made / "librarian" / "bin"
    programs.mkdir(parents=True)
    results.mkdir()
    for name, module in (("lbd", "librarian_daemon"), ("lbctl", "lbctl.main"), ("driver", "driver")):
        text = _LBD.format(module=module)
        if name == "driver":
            text = text.replace("-m driver", "/opt/librarian/driver.py")
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (made / "librarian" / "driver.py").write_text(driver)
    (made / "driver.service").write_text(_DRIVER)
    (made / "short.conf").write_text(dropin)
    (made / "etc-librarian").mkdir()
    (made / "etc-librarian" / "site.toml").symlink_to(config)
    readable = {
        UNITS / "lbd.service": "/etc/systemd/system/lbd.service",
        UNITS / "librarian.sysusers": "/etc/sysusers.d/librarian.conf",
        made / "short.conf": "/etc/systemd/system/lbd.service.d/short.conf",
        made / "driver.service": "/etc/systemd/system/driver.service",
        made / "etc-librarian": "/etc/librarian",
        made / "librarian": "/opt/librarian",
        Path(sys.base_prefix): "/opt/python",
        Path(sysconfig.get_path("purelib")): "/opt/packages",
        Path(sys.executable).parent: "/opt/programs",
        ROOT: "/opt/source",
        # There is no network to wait for.
        Path("/dev/null"): "/etc/systemd/system/systemd-networkd-wait-online.service",
    }
    command = [
        "systemd-nspawn",
        "--directory=/",
        "--volatile=yes",
        "--private-network",
        "--register=no",
        "--keep-unit",
        "--console=pipe",
        f"--machine=librarian-{os.getpid()}",
        *(f"--bind-ro={here}:{there}" for here, there in readable.items()),
        *(f"--bind={here}:{there}" for here, there in (binds | {results: "/results"}).items()),
        "--boot",
        "systemd.unit=driver.service",
    ]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=BOOT_S)
    (results / "console").write_text(done.stdout + done.stderr)
    if "Operation not permitted" in done.stderr and not (results / "began").exists():
        pytest.skip(f"containers are not permitted here: {done.stderr[-300:]}")
    return results
