"""The nats-server that a daemon runs as its child: finds, starts, reloads, restarts and stops it. It ends with the
daemon.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import sys
import sysconfig
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from pathlib import Path

import structlog

from librarian_adapters import child_process
from librarian_daemon.bus.connection import MINIMUM_VERSION, is_old
from librarian_daemon.fs import private_file
from librarian_daemon.ports.time import Clock
from librarian_protocol.errors import BusUnavailable, BusUnsafe

_log = structlog.get_logger(__name__)

_POLL_S = 0.02
_STOP_S = 10.0
#: The server of a killed daemon ends at once; one that still writes a large stream needs a little longer.
_LOCK_S = 15.0
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 30.0
#: A server that ran for this time was healthy: the delays of its restarts begin again.
_WELL_S = 60.0


def find_executable() -> str | None:
    """The wheel's nats-server beside this interpreter, else the one in PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    return str(beside) if beside.is_file() else shutil.which("nats-server")


def kept_port(directory: Path, host: str) -> int:
    """A free port, chosen at first use and then always the same: clients and tokens name it.

    Raises:
        OSError: the host is not an address of this machine, or the file cannot be written.
    """
    path = directory / "port"
    if path.exists():
        return int(path.read_text())
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as free:
        free.bind((host, 0))
        port = int(free.getsockname()[1])
    path.write_text(f"{port}\n")
    return port


class EmbeddedServer:
    """One nats-server on one directory. Never two: the child holds a lock as long as it lives."""

    def __init__(self, directory: Path, clock: Clock, *, executable: str | None = None) -> None:
        self._directory = directory
        self._clock = clock
        self._executable = executable
        self._config = directory / "nats.conf"
        self._process: Process | None = None
        #: A reload of a server that has no signal handlers yet would end it.
        self._starting = asyncio.Lock()
        #: Why it does not run; "" when it does.
        self.detail = "not started"

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process is not None else None

    async def configure(self, text: str) -> None:
        """Set the configuration, and reload a running server. Idempotent; an unchanged one does nothing.

        The server keeps the connections of remaining users and cuts those of removed users.

        Raises:
            BusUnsafe: the server would refuse it (nothing was changed), or there is no usable server.
        """
        async with self._starting:
            if self._config.exists() and self._config.read_text() == text:
                return
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = private_file.write_aside(self._config, text.encode())
            code, said = await _run(await self._checked_executable(), "-t", "-c", str(new))
            if code:
                raise BusUnsafe(f"nats-server refuses the configuration made from the roster: {said}")
            new.replace(self._config)
            if self._process is not None and self._process.returncode is None:
                self._process.send_signal(signal.SIGHUP)
                _log.info("bus_server_reloaded", pid=self._process.pid)

    def restart(self) -> None:
        """Restart it, with the present configuration. Does nothing if it does not run."""
        if self._process is not None and self._process.returncode is None:
            _log.info("bus_server_restarted", pid=self._process.pid)
            self._process.terminate()

    async def check(self) -> None:
        """Find the server.

        Raises:
            BusUnsafe: there is no nats-server, or only one too old: waiting does not help.
        """
        await self._checked_executable()

    async def run(self) -> None:
        """Keep the server running until cancelled, then stop it. ``check`` and ``configure`` come first."""
        pause_s = _FIRST_PAUSE_S
        while True:
            started_s = self._clock.boottime_s()
            try:
                await self._run_once()
                self.detail = f"nats-server ended: {self._last_words()}"
            except (BusUnavailable, BusUnsafe, OSError) as exc:
                self.detail = f"nats-server does not start: {exc}"
            _log.warning("bus_server_down", detail=self.detail, again_in_s=pause_s)
            if self._clock.boottime_s() - started_s > _WELL_S:
                pause_s = _FIRST_PAUSE_S
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _run_once(self) -> None:
        process: Process | None = None
        try:
            async with self._starting:
                self.detail = "nats-server is starting"
                process = await self._start()
                self._process = process
                if not await self._is_ready(process):
                    return
                self.detail = ""
                _log.info("bus_server_running", pid=process.pid)
            await process.wait()
        finally:
            self._process = None
            if process is not None:
                await _stop(process)

    async def _start(self) -> Process:
        executable = await self._checked_executable()
        lock = await self._lock()
        try:
            for left_over in self._directory.glob("nats-server_*.ports"):
                left_over.unlink()  # left by a killed server
            with (self._directory / "nats-server.out").open("wb") as out:
                return await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-I",
                    "-S",
                    child_process.__file__,
                    str(os.getpid()),
                    executable,
                    "-c",
                    str(self._config),
                    stdin=DEVNULL,
                    stdout=out,
                    stderr=STDOUT,
                    start_new_session=True,  # an operator's Ctrl-C is for the daemon, which then stops its child
                    pass_fds=(lock,),
                )
        finally:
            os.close(lock)  # now only the child holds it

    async def _lock(self) -> int:
        """Take the directory's lock, waiting for the server of a daemon that was killed.

        Raises:
            BusUnavailable: another server keeps it.
        """
        lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until_s = self._clock.boottime_s() + _LOCK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._clock.boottime_s() < until_s:
                    await self._clock.sleep(_POLL_S)
                    continue
                os.close(lock)
                raise BusUnavailable(f"another nats-server uses {self._directory}") from None
            return lock

    async def _is_ready(self, process: Process) -> bool:
        """Wait until it serves, or is gone. No time-out: a large stream takes long, and a kill would start it again."""
        ports = self._directory / f"nats-server_{process.pid}.ports"
        while process.returncode is None:
            try:
                json.loads(ports.read_bytes())
            except (FileNotFoundError, json.JSONDecodeError):
                await self._clock.sleep(_POLL_S)
            else:
                return True
        return False

    async def _checked_executable(self) -> str:
        hint = 'install the extra [server], which carries one, or set [bus] mode = "external"'
        executable = self._executable or find_executable()
        if executable is None:
            raise BusUnsafe("no nats-server was found beside this Python or in PATH", hint=hint)
        try:
            _, said = await _run(executable, "--version")
        except OSError as exc:
            raise BusUnsafe(f"{executable} cannot be run: {exc}", hint=hint) from exc
        found = re.search(r"v(\d+\.\d+\.\d+)", said)
        version = found[1] if found else said
        if is_old(version):
            floor = ".".join(map(str, MINIMUM_VERSION))
            raise BusUnsafe(f"{executable} is of version {version}; {floor} is the least that is safe", hint=hint)
        return executable

    def _last_words(self) -> str:
        for name in ("nats-server.out", "nats-server.log"):
            path = self._directory / name
            if path.exists():
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - 4096))
                    lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
                if lines:
                    return lines[-1][-400:]
        return "it said nothing"


async def _run(*command: str) -> tuple[int, str]:
    """Run a command to its end. Returns its exit code and output."""
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
    try:
        said, _ = await process.communicate()
    finally:
        await _stop(process)
    return process.returncode or 0, said.decode(errors="replace").strip()


async def _stop(process: Process) -> None:
    """End it, by force if necessary."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
