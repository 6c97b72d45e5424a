"""One connection to the server, made again whenever it is lost. Only this module uses nats-py.

nats-py's own reconnecting is off: it buffers what is published while away and sends it all at once later, and a
question asked before the cut can be answered after it. Here each connection is a separate :class:`Session`; everything
that depends on it ends with it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from librarian_daemon.bus.safe_client import HardenedClient
from librarian_daemon.ports.time import Clock
from librarian_protocol.errors import BusUnavailable, BusUnsafe, ConfigInvalid

_log = structlog.get_logger(__name__)

#: Errors of nats-py when the server is away, slow, or closes the connection. Its TimeoutError is not always its own.
NATS_ERRORS = (nats.errors.Error, OSError, TimeoutError)
#: ``CONSUMER.RESET`` came with it, and older ones have open advisories.
MINIMUM_VERSION = (2, 14)
_CONNECT_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0


@asynccontextmanager
async def heeding() -> AsyncGenerator[None]:
    """A block whose end raises CancelledError if this task is being cancelled, whatever the block made of that.

    nats-py swallows it in places (``_flush_pending``), and before Python 3.12 ``asyncio.wait_for``, by which nats-py
    connects, does when the result comes at the same moment (CPython issue 86296). The daemon would never stop.
    """
    try:
        yield
    finally:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The address and the user of a connection."""

    url: str
    #: For people, in the server's list of connections.
    name: str
    #: NKEY seed; None if URL and password identify us.
    seed: str | None = None
    #: Password of the URL's user, or a token if the URL names no user.
    password: str | None = None
    inbox_prefix: str = "_INBOX"


class Inbox:
    """Messages of one subscription. It holds at most ``limit``; further messages are lost, and this is logged."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: asyncio.Queue[Msg | None] = asyncio.Queue()
        self.overflowed = False

    async def put(self, message: Msg) -> None:
        """Called by nats-py."""
        if self._queue.qsize() >= self._limit:
            self.overflowed = True
        else:
            self._queue.put_nowait(message)

    def end(self) -> None:
        """Wake the reader: the connection is gone."""
        self._queue.put_nowait(None)

    async def get(self, timeout_s: float | None) -> Msg:
        """The next message.

        Raises:
            BusUnavailable: none came in time, or the connection is gone.
        """
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._queue.get()
        except TimeoutError as exc:
            raise BusUnavailable(f"silence for {timeout_s} s") from exc
        if message is None:
            raise BusUnavailable("the connection to the bus was lost")
        return message


class Session:
    """A live connection, until it ends. It never comes back."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ended = asyncio.Event()
        self._inboxes: set[Inbox] = set()

    async def end(self) -> None:
        """Called by nats-py when it closed the connection: wake all that wait for it. Idempotent."""
        if self._ended.is_set():
            return
        self._ended.set()
        for inbox in self._inboxes:
            inbox.end()

    @property
    def ended(self) -> bool:
        """Whether the connection is gone. Another one may be there by now."""
        return self._ended.is_set()

    async def wait_ended(self) -> None:
        """Return when the connection is gone."""
        await self._ended.wait()

    @property
    def version(self) -> str:
        """The server's version: ``2.15.1``; "unknown" if it gives none."""
        found = self._client.connected_server_version
        try:
            return f"{found.major}.{found.minor}.{found.patch}"
        except ValueError:
            return "unknown"

    @property
    def max_payload(self) -> int:
        """Largest message that the server accepts, in bytes."""
        return self._client.max_payload

    @property
    def server_id(self) -> str:
        """The server's own id, used to ask its system account."""
        return str(self._client._server_info.get("server_id", ""))  # pyright: ignore[reportPrivateUsage]  # no other way

    async def publish(
        self, subject: str, payload: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send, without confirmation.

        Raises:
            BusUnavailable: the connection is gone.
        """
        try:
            async with heeding():
                await self._client.publish(subject, payload, reply=reply, headers=dict(headers or {}) or None)
        except NATS_ERRORS as exc:
            raise BusUnavailable(f"cannot publish {subject}: {exc}") from exc

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Send and wait for the one answer.

        Raises:
            BusUnavailable: no answer in time, nobody there, or the connection is gone.
        """
        asking = asyncio.ensure_future(
            self._client.request(subject, payload, timeout=timeout_s, headers=dict(headers or {}) or None)
        )
        # On a lost connection nats-py would wait for the whole time-out.
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({asking, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise BusUnavailable(f"the connection was lost while {subject} was asked")
            return asking.result().data
        except NATS_ERRORS as exc:
            raise BusUnavailable(f"no answer to {subject}: {exc}") from exc
        finally:
            asking.cancel()
            ended.cancel()

    @asynccontextmanager
    async def inbox(self, subject: str, limit: int) -> AsyncGenerator[Inbox]:
        """Listen on a subject for as long as the block lasts.

        Raises:
            BusUnavailable: the connection is gone.
        """
        async with self.listening([subject], limit) as inbox:
            yield inbox

    @asynccontextmanager
    async def listening(self, subjects: Sequence[str], limit: int) -> AsyncGenerator[Inbox]:
        """Listen on several subjects, all into one inbox.

        Raises:
            BusUnavailable: the connection is gone.
        """
        inbox = Inbox(limit)
        subscriptions: list[Subscription] = []
        self._inboxes.add(inbox)
        try:
            for subject in subjects:
                try:
                    async with heeding():
                        subscriptions.append(await self._client.subscribe(subject, cb=inbox.put))
                except NATS_ERRORS as exc:
                    raise BusUnavailable(f"cannot listen on {subject}: {exc}") from exc
            if self._ended.is_set():
                inbox.end()
            yield inbox
        finally:
            self._inboxes.discard(inbox)
            async with heeding():
                for subscription in subscriptions:
                    with suppress(*NATS_ERRORS):  # it may have gone with the connection
                        await subscription.unsubscribe()

    async def flush(self) -> None:
        """Wait until the server has seen all that was sent.

        Raises:
            BusUnavailable: it did not say so.
        """
        try:
            async with heeding():
                await self._client.flush(timeout=5)
        except NATS_ERRORS as exc:
            raise BusUnavailable(f"the bus does not answer: {exc}") from exc

    async def close(self) -> None:
        """Idempotent."""
        await _close(self._client)


async def open_session(target: Target) -> Session:
    """Connect once, to a URL that was checked.

    Raises:
        BusUnavailable: no server there, or it refuses us; the message says which.
    """
    client = HardenedClient()
    session = Session(client)
    said: list[str] = []  # the last error of the server: a refusal has no other form

    async def remember(error: Exception) -> None:
        said[:] = [str(error)]

    options: dict[str, Any] = {"nkeys_seed_str": target.seed} if target.seed else _password(target)
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S), heeding():
            await client.connect(
                target.url,
                name=target.name,
                allow_reconnect=False,
                max_reconnect_attempts=1,  # 0 means for ever
                reconnect_time_wait=0,
                connect_timeout=int(_CONNECT_TIMEOUT_S),
                ping_interval=10,
                max_outstanding_pings=2,
                inbox_prefix=target.inbox_prefix,
                error_cb=remember,
                closed_cb=session.end,
                **options,
            )
    except BaseException as exc:
        await _close(client)
        if not isinstance(exc, (*NATS_ERRORS, ValueError)):
            raise
        reason = said[0] if said else str(exc) or "no answer"
        raise BusUnavailable(f"{shown(target.url)}: {reason}") from exc
    if not client.is_connected:
        await _close(client)
    return session


def _password(target: Target) -> dict[str, Any]:
    if target.password is None:
        return {}
    user = urlsplit(target.url).username
    return {"user": user, "password": target.password} if user else {"token": target.password}


async def _close(client: Client) -> None:
    async with heeding():
        with suppress(*NATS_ERRORS):  # a connection that fails to close is gone
            await client.close()


def checked(url: str) -> str:
    """The URL, if it is one that can be connected to.

    Raises:
        ConfigInvalid: it is not.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"nats", "tls"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port, or a bracket
        usable = False
    if not usable:
        raise ConfigInvalid("the bus's URL is not nats://[user:password@]host[:port]")
    return url


def shown(url: str) -> str:
    """The URL without its secrets."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def is_old(version: str) -> bool:
    """Whether a server of this version cannot be used."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return found is None or (int(found[1]), int(found[2])) < MINIMUM_VERSION


class Connection:
    """Keeps one session alive for as long as :meth:`run` runs."""

    def __init__(self, clock: Clock, target: Target | None) -> None:
        self._clock = clock
        #: The target of the connection, once it is known.
        self.target = target
        self._retarget = asyncio.Event()
        self._up = asyncio.Event()
        self._session: Session | None = None
        self._too_old: BusUnsafe | None = None
        #: Why there is no session; "" when there is one.
        self.detail = "not started"

    @property
    def current(self) -> Session | None:
        """The session, if there is one now."""
        return self._session

    def use(self, target: Target) -> None:
        """Connect there from now on. Idempotent."""
        if target != self.target:
            self.target = target
            self._retarget.set()

    async def session(self, timeout_s: float | None = 0) -> Session:
        """The session; wait for one at most this long (None: for ever).

        Raises:
            BusUnavailable: there is none; says why.
            BusUnsafe: the server is too old.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self._session is None:
                    await self._up.wait()
                return self._session
        except TimeoutError as exc:
            raise (self._too_old or BusUnavailable(f"no connection to the bus: {self.detail}")) from exc

    async def run(self) -> None:
        """Connect, and again whenever the session ends, until cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            self._retarget.clear()
            if self.target is None:
                self._say("no bus yet: join a mesh")
                await self._retarget.wait()
                continue
            try:
                session = await open_session(self.target)
            except BusUnavailable as exc:
                admitted = self.target.seed is None or "authorization" not in exc.message.casefold()
                self._say(exc.message if admitted else f"{exc.message} (this site's bus keys are not admitted yet)")
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            await self._hold(session)
            await self._pause(_FIRST_PAUSE_S)

    async def _hold(self, session: Session) -> None:
        """Offer the session until it ends."""
        try:
            if is_old(session.version):
                floor = ".".join(map(str, MINIMUM_VERSION))
                self._too_old = BusUnsafe(
                    f"the NATS server is of version {session.version}; {floor} is the least that is safe",
                    hint="upgrade it, or use the embedded one (extra [server])",
                )
                self._say(self._too_old.message)
                await self._pause(10 * _LONGEST_PAUSE_S)
                return
            self._too_old = None
            self._session = session
            self._say("")
            self._up.set()
            await self._first_of(session.wait_ended())
            self._say("the connection was lost")
        finally:
            self._up.clear()
            self._session = None
            await session.close()

    async def _pause(self, seconds: float) -> None:
        await self._first_of(self._clock.sleep(seconds))

    async def _first_of(self, waiting: Any) -> None:
        """Wait for that, or for another target."""
        tasks = {asyncio.ensure_future(waiting), asyncio.ensure_future(self._retarget.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _say(self, detail: str) -> None:
        """Log once for each change: a peer may be away for weeks."""
        if detail != self.detail:
            _log.info("bus_connection", detail=detail or "connected", url=shown(self.target.url) if self.target else "")
        self.detail = detail
