"""One run of the program rsync: its arguments, what it says, and what its end means."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from librarian_adapters import child_process
from librarian_adapters.contract import Item
from librarian_adapters.rsync.settings import Place, RsyncSettings
from librarian_protocol.errors import (
    LibrarianError,
    SourceIdentity,
    SourceInvalid,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
    StoreFault,
    StoreFull,
    TransferError,
    TransferTimeout,
)
from librarian_protocol.names import SiteName

_PROGRESS = re.compile(rb"\s*([\d,.]+)\s+\d+%\s")
_CHUNK_BYTES = 64 << 10
_STDERR_BYTES = 64 << 10
#: rsync puts a partial file in its place when it is asked to end; then it must.
_MANNERS_S = 5.0
#: For the second of its processes, when the first one has ended.
_GRACE_S = 1.0
_CONNECT_S = 20
_CODE = re.compile(r"rsync error: .*\(code (\d+)\)")
_VERSION = re.compile(r"rsync\s+version\s+v?(\d+)\.(\d+)\.(\d+)")


def arguments(settings: RsyncSettings, source: SiteName, place: Place, target: str, most_bytes: int) -> list[str]:
    """The command. Names go in by stdin, so that nothing of another site stands among options but the place.

    Nothing but plain files below ``target`` can come of it: no links, devices, owners; names that were not asked for
    are refused by rsync itself, from 3.2.5 on.
    """
    own = settings.at(source)
    command = [
        settings.program,
        "--files-from=-",
        "--from0",
        "--relative",
        "--no-implied-dirs",
        "--no-links",
        "--no-devices",
        "--no-specials",
        "--no-owner",
        "--no-group",
        "--no-times",
        "--perms",
        "--chmod=D0700,F0600",
        "--ignore-times",
        "--inplace",
        "--sparse",
        f"--max-size={most_bytes}",
        f"--timeout={max(1, round(settings.timeout_s))}",
        "--info=name1,progress1",
        "--no-human-readable",
        "--8-bit-output",
        "--outbuf=N",
    ]
    if settings.bandwidth:
        command.append(f"--bwlimit={max(1, settings.bandwidth // 1024)}")
    if place.ssh:
        shell = [settings.ssh, "-T", "-p", str(place.port), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
        shell += ["-o", f"ConnectTimeout={_CONNECT_S}", "-o", "ServerAliveInterval=15"]
        if own.identity_file:
            shell += ["-i", own.identity_file, "-o", "IdentitiesOnly=yes"]
        if own.known_hosts_file:
            shell += ["-o", f"UserKnownHostsFile={own.known_hosts_file}"]
        shell += place.ssh_options()
        command.append(f"--rsh={' '.join(shell)}")
    else:
        command.append(f"--contimeout={_CONNECT_S}")
        if own.password_file:
            command.append(f"--password-file={own.password_file}")
    return [*command, "--", place.argument(own.user), f"{target}/"]


class Run:
    """A running rsync, tied to this process: it ends with us, however we end."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._said = bytearray()
        #: Why we ended it, where we did.
        self.stopped_for: TransferError | None = None
        self._feeding: asyncio.Task[None]
        self._listening: asyncio.Task[None]
        self._reaping: asyncio.Task[None]

    @classmethod
    async def start(cls, command: Sequence[str], names: bytes, most_bytes: int) -> Run:
        """Start it, and give it ``names``. No file becomes larger than ``most_bytes``, whatever the other side sends.

        Raises:
            TransferError: the program is not there.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                child_process.__file__,
                f"{os.getpid()},{most_bytes}",
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C"},
            )
        except OSError as exc:
            raise TransferError(f"rsync cannot be started: {exc}") from exc
        run = cls(process)
        run._feeding = asyncio.create_task(run._feed(names))
        run._listening = asyncio.create_task(run._listen())
        run._reaping = asyncio.create_task(run._reap())
        return run

    async def _feed(self, names: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # it ended; its code says why
            for at in range(0, len(names), _CHUNK_BYTES):
                stdin.write(names[at : at + _CHUNK_BYTES])
                await stdin.drain()
        stdin.close()

    async def _listen(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        while data := await stderr.read(_CHUNK_BYTES):
            self._said += data
            del self._said[:-_STDERR_BYTES]

    async def _reap(self) -> None:
        """rsync is two processes: where the first one gives up, the other would wait for as long as the source likes.

        ``Process.wait`` is of no use here: it also waits for the pipes, which the other one holds open.
        """
        while self._process.returncode is None:  # noqa: ASYNC110 - nothing tells of it but this
            await asyncio.sleep(_GRACE_S)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """What it prints, by lines and by the carriage returns of its progress. Ends with it."""
        stdout = self._process.stdout
        assert stdout is not None
        rest = b""
        while data := await stdout.read(_CHUNK_BYTES):
            *whole, rest = re.split(rb"[\r\n]", rest + data)
            rest = rest[-_CHUNK_BYTES:]
            for line in whole:
                if line:
                    yield line

    async def ended(self) -> int:
        """Its exit code, or the one that it told before it had to be ended."""
        code = await self._process.wait()
        await self._listening
        told = _CODE.search(self.said)
        return int(told[1]) if code < 0 and told else code

    @property
    def said(self) -> str:
        """The end of what it said on stderr."""
        return self._said.decode(errors="replace")

    async def stop(self, why: TransferError) -> None:
        """Have it end for a reason of ours."""
        self.stopped_for = self.stopped_for or why
        await self.kill()

    async def kill(self) -> None:
        """Ask the process to end; kill it if it does not. Idempotent."""
        for number, patience_s in ((signal.SIGTERM, _MANNERS_S), (signal.SIGKILL, 60.0)):
            if self._process.returncode is not None:
                break
            self._signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._process.wait()

    async def close(self) -> None:
        """Have it end, and forget it."""
        await self.kill()
        self._signal(signal.SIGKILL)
        tasks = (self._feeding, self._listening, self._reaping)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def progress(line: bytes) -> int | None:
    """Bytes of the current file that have come, where the line says so."""
    found = _PROGRESS.match(line)
    return int(found[1].replace(b",", b"").replace(b".", b"")) if found else None


def failure(code: int, said: str, source: SiteName) -> LibrarianError | None:
    """What an exit code means for the whole batch; None for 0 and for partial ones, where each file says for itself."""
    last = " ".join(said.split())[-300:] or "it said nothing"
    shown = f"rsync from site {source} ended with code {code}: {last}"
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return StoreFull(f"no space left for what rsync brings: {last}", hint="free space; work goes on by itself")
    if "File too large" in said:
        return SourceInvalid(f"site {source} sent more bytes than it had announced: {last}")
    match code:
        case 0 | 23 | 24:
            return None
        case 5:
            return SourceRefused(shown, hint="is the module offered to this host and user? docs/adapters/rsync.md")
        case 10 | 12:
            return SourceUnreachable(shown, hint="is rsync's daemon reached? docs/adapters/rsync.md")
        case 11:
            return StoreFault(shown, hint="look at the kernel's log")
        case 30 | 35:
            return TransferTimeout(shown)
        case 255:
            if "Host key verification failed" in said:
                return SourceIdentity(shown, hint="put the host's key into known_hosts: docs/adapters/rsync.md")
            if "Permission denied" in said:
                return SourceRefused(shown, hint="does ssh's key fit there? docs/adapters/rsync.md")
            return SourceUnreachable(shown, hint="does ssh reach the host? docs/adapters/rsync.md")
        case 2 | 4 | 6:
            return SourceInvalid(shown, hint="compare the versions of rsync at both ends")
        case _:
            return TransferError(shown, hint="docs/adapters/rsync.md lists the codes")


def why_not(item: Item, relative: str, code: int, said: str) -> TransferError:
    """Why one file did not come in a run that did not fail as a whole."""
    shown = f"{item.part} of {item.name!a}"
    mentioned = [line for line in said.splitlines() if f'/{relative}"' in line or f'"{relative}"' in line]
    if any("Permission denied" in line for line in mentioned):
        return SourceRefused(f"{shown}: the source may not read it: {mentioned[-1].strip()[:300]}")
    detail = mentioned[-1].strip()[:300] if mentioned else f"rsync ended with code {code} without it"
    return SourceMissing(f"{shown}: {detail}")


async def version(program: str) -> tuple[int, int, int]:
    """The installed program's version.

    Raises:
        TransferError: it is not there, or says none.
    """
    try:
        process = await asyncio.create_subprocess_exec(program, "--version", stdout=PIPE, stderr=PIPE)
    except OSError as exc:
        raise TransferError(
            f"rsync is not installed: {exc.strerror}", hint="install rsync, or take it out of adapters.order"
        ) from exc
    out, _ = await process.communicate()
    found = _VERSION.search(out.decode(errors="replace"))
    if found is None:
        raise TransferError(f"{program} --version says no version of rsync")
    return int(found[1]), int(found[2]), int(found[3])
