"""A second control socket for users who may only read (``[control] readers``): of a group, mode 0660.

This module lists the allowed routes; all others are refused by name. Everything else works without the socket; ``lbctl
doctor`` and the log say why it is missing.
"""

from __future__ import annotations

import grp
from collections.abc import Sequence
from pathlib import Path

import structlog
from aiohttp import web

from librarian_daemon.config.settings import ControlSettings
from librarian_daemon.runtime import machine
from librarian_daemon.runtime.json_http import refusal
from librarian_daemon.status.doctor_machine import check
from librarian_protocol import api
from librarian_protocol.api import DoctorCheck
from librarian_protocol.errors import DaemonUnreachable, LibrarianError, NotPermitted

#: The routes for readers: GET only. None that reads whole journals or books, or concerns keys and joining.
READABLE = frozenset(
    api.PREFIX + route
    for route in (
        "/status",
        "/doctor",
        "/store",
        "/files",
        "/file",
        "/subscriptions",
        "/keeps",
        "/holds",
        "/transfers",
        "/transfer",
        "/incidents",
        "/incident",
        "/sites",
        "/offers",
        "/stores",
        "/events",
        "/explain",
        "/retention",
        "/retention/plan",
        "/trash",
        "/recovery",
        "/scrub",
        "/pauses",
        "/rejected",
        "/ignored",
        "/channels",
        "/log",
    )
)
#: Requests at the same time.
MOST = 16
_NAME = "readers' socket"


def readable(routes: Sequence[web.RouteDef]) -> list[web.RouteDef]:
    """The routes that readers may use."""
    return [route for route in routes if route.method == "GET" and route.path in READABLE]


class Readers:
    """The socket."""

    def __init__(self, settings: ControlSettings) -> None:
        """There is no socket before :meth:`open`, or if no readers are configured."""
        self._settings = settings
        self._runner: web.AppRunner | None = None
        #: Why the socket is missing; "" if it is there, or is not configured.
        self._problem: LibrarianError | None = None
        self._gid = -1
        self._busy = 0
        self._log = structlog.get_logger("readers")

    @web.middleware
    async def guard(self, request: web.Request, handler: machine.Handler) -> web.StreamResponse:
        """Refuse requests that are not reads, and too many requests at once."""
        if request.method != "GET" or request.path not in READABLE:
            what = f"{request.method} {request.path.removeprefix(api.PREFIX)[:100]}"
            return refusal(
                NotPermitted(
                    f"the read-only socket does not answer {what}",
                    hint="run lbctl as the daemon's user to change something",
                )
            )
        if self._busy >= MOST:
            return refusal(DaemonUnreachable(f"{MOST} requests of readers are under way", hint="ask again"))
        self._busy += 1
        try:
            return await handler(request)
        finally:
            self._busy -= 1

    async def open(self, application: web.Application) -> None:
        """Listen. If that is not possible, keep the reason."""
        if not self._settings.readers:
            return
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            self._gid = _group(self._settings.readers)
            await machine.listen(self._runner, Path(self._settings.read_socket), gid=self._gid)
        except (LibrarianError, OSError) as exc:
            self._problem = exc if isinstance(exc, LibrarianError) else _cannot(self._settings, exc)
            self._log.error("no_readers_socket", error=self._problem.message)
            return
        self._log.info("readers_socket", socket=self._settings.read_socket, group=self._settings.readers)

    async def close(self) -> None:
        """Close the socket."""
        if self._runner is not None:
            await self._runner.cleanup()
            if self._problem is None:
                Path(self._settings.read_socket).unlink(missing_ok=True)

    def checks(self) -> list[DoctorCheck]:
        """Whether readers can connect."""
        if not self._settings.readers:
            return []
        if self._problem is not None:
            return [check(_NAME, "error", self._problem.message, self._problem.hint)]
        for directory in reversed(Path(self._settings.read_socket).parents):
            if not _may_pass(directory, self._gid):
                hint = f"chmod o+x {directory}; or set control.read_socket to a place that the group may enter"
                message = f"group {self._settings.readers} may not pass through {directory}"
                return [check(_NAME, "error", message, hint)]
        return [check(_NAME, "ok", f"group {self._settings.readers} may read by {self._settings.read_socket}")]


def _group(name: str) -> int:
    """The number of a group, by its name or number.

    Raises:
        NotPermitted: there is none.
    """
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as exc:
        raise NotPermitted(
            f"control.readers: there is no group {name!r} on this machine",
            hint=f"groupadd --system {name}; then restart the daemon",
        ) from exc


def _cannot(settings: ControlSettings, error: OSError) -> LibrarianError:
    return NotPermitted(
        f"control.readers: {settings.read_socket} cannot be given to group {settings.readers}: {error.strerror}",
        hint=f"the daemon's user must be of the group: usermod -aG {settings.readers} USER; then restart the daemon",
    )


def _may_pass(directory: Path, gid: int) -> bool:
    state = directory.stat()
    return bool(state.st_mode & (0o010 if state.st_gid == gid else 0o001))
