"""The bus, as services see it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

import msgspec

from librarian_protocol.names import SiteName


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message read from a site's stream."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]
    #: Its number in the stream: the reader's cursor.
    stream_seq: int


class BusState(msgspec.Struct, frozen=True, kw_only=True):
    """State of the bus, for status and readiness."""

    connected: bool
    url: str
    server_version: str
    #: Why it is not connected, or what is unsafe about it; "" if there is no problem.
    detail: str
    #: How it can lose acknowledged messages (nats/README.md).
    unsafe: Sequence[str] = ()
    #: Other information for the operator.
    notes: Sequence[str] = ()


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """State of reading one other site's stream."""

    #: Its consumer for us answers.
    up: bool
    #: Since when it is up or down, for people; "" if it was never tried.
    since: str
    #: Why it is down.
    detail: str


class BusMember(msgspec.Struct, frozen=True, kw_only=True):
    """A site of the roster, with what the bus needs."""

    #: NKEYs of its journal and link connections, if it uses another site's server; otherwise empty.
    keys: Sequence[str] = ()
    #: NKEY by which its own server dials out.
    leaf: str | None = None
    access: str = "full"
    #: The address of its own server, and the server's certificate (DER in base64).
    leaf_address: str = ""
    certificate: str | None = None


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """The bus part of an invitation."""

    #: Where clients connect; "" if only servers can, by a leaf link.
    url: str
    #: Where a newcomer's own server dials in, and the certificate there (DER in base64); "" for nowhere.
    leaf_address: str = ""
    certificate: str = ""
    #: The invited user; None for an external server, whose URL carries its own credential.
    seed: str | None = None
    public: str | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of an answer to a question."""

    payload: bytes
    headers: Mapping[str, str] = {}


class Answerer(Protocol):
    """What answers another site's question; ``asker`` is vouched for by the servers' permissions alone."""

    def __call__(self, asker: SiteName, what: str, body: bytes) -> AsyncGenerator[Part, None]:
        """The parts of the answer, in order. Raising ``LibrarianError`` ends the answer with that message."""
        ...


class StreamPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Our own stream's state, from the server."""

    created: str
    last_seq: int


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The place of a message in our own stream."""

    stream_seq: int
    #: It is a repetition: this is the place of the first one.
    again: bool


class BusHealth(Protocol):
    """Whether the bus is there."""

    def state(self) -> BusState:
        """How it is now."""
        ...


class OwnStream(BusHealth, Protocol):
    """Where this site publishes its journal."""

    async def ensure_stream(self) -> StreamPosition:
        """Make this site's stream if it is missing, with the settings of docs/events.md; returns where it ends.

        Raises:
            BusUnavailable: the server does not answer.
            BusUnsafe: it is too old, or refuses the settings.
        """
        ...

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Stored:
        """Publish into this site's stream and wait for the acknowledgement.

        Raises:
            BusUnavailable: no acknowledgement came. It may have been stored all the same: publish it again.
        """
        ...

    async def revive(self) -> str:
        """Called after several publications without acknowledgement: try to repair the bus, and return the cause.

        "" if it is unknown, or the bus is not connected. Call it again as long as this lasts.
        """
        ...


class Streams(Protocol):
    """Where other sites' journals are read."""

    def read(self, origin: SiteName, after: int) -> AsyncGenerator[Message, None]:
        """Messages of ``origin``'s stream behind the cursor ``after``, in order, for ever. Close it when done.

        It survives outages by itself, beginning again behind the last message it yielded. A message is asked for
        only when those before it were taken.
        """
        ...

    def links(self) -> Mapping[SiteName, Link]:
        """State of reading each other site."""
        ...


class HeadsChannel(Protocol):
    """Heads: how far each site's journal is. Sent every few seconds, never stored."""

    async def announce(self, heads: bytes) -> None:
        """Publish this site's heads to all that listen now. Lost if nobody listens.

        Raises:
            BusUnavailable: not connected.
        """
        ...

    def heads(self) -> AsyncGenerator[tuple[SiteName, bytes], None]:
        """Heads of the sites in the roster as they come, for ever; unchecked. Some may be lost.

        Includes those of this site: another daemon with its key is a twin.
        """
        ...


class Questions(Protocol):
    """One site asks another for segments."""

    def ask(self, peer: SiteName, what: str, body: bytes, *, silence_s: float) -> AsyncGenerator[Part, None]:
        """Ask another site. Yields the parts of its answer, in order; it is complete if it ends without an error.

        Raises:
            BusUnavailable: it is away, silent for longer than ``silence_s``, or a part was lost.
            RequestRefused: it refused, with its message.
        """
        ...

    async def answer(self, answerer: Answerer) -> None:
        """Service: answers the questions of the sites in the roster, a bounded number at once for each, for ever."""
        ...


class BusAccess(Protocol):
    """Who may use the bus."""

    async def set_roster(self, members: Mapping[SiteName, BusMember], invited: Sequence[str]) -> None:
        """Who may use the bus, and whom this site listens to; ``invited`` are public NKEYs of open invitations.

        Regenerates an own server's configuration and reloads it; links of sites that are gone are cut. Idempotent.
        """
        ...

    async def ensure_readers(self, readers: Mapping[SiteName, str]) -> None:
        """Have one durable consumer on this site's stream for each reader, by its access. Idempotent."""
        ...


class JoinRequests(Protocol):
    """The inviting site's side of a join."""

    async def invite_credential(self) -> Credential:
        """The bus part of a token, with a new invited user. Valid once :meth:`set_roster` names it."""
        ...

    def joins(self) -> AsyncGenerator[bytes, None]:
        """Join requests addressed to this site, for ever."""
        ...

    async def answer_join(self, key: str, message: bytes) -> None:
        """Answer the invited user of this public NKEY. Lost if nobody listens.

        Raises:
            BusUnavailable: not connected.
        """
        ...


class JoiningBus(BusHealth, Protocol):
    """The newcomer's side of a join."""

    async def use(self, url: str, *, external: bool) -> None:
        """For a site that joins: the bus that its token named. ``external``: the URL carries its own credential."""
        ...

    async def dial(self, hub: SiteName, credential: Credential | None) -> None:
        """For a joining site with its own server: the server that it dials.

        ``credential`` is the invitation's while this site is not admitted; None once it is: by its own key, at the
        address and with the certificate that :meth:`set_roster` tells.
        """
        ...

    async def ask_to_join(self, credential: Credential, inviter: SiteName, message: bytes) -> bytes | None:
        """Send a join request as the invited user. Returns the inviter's answer, unchecked; None without an answer.

        Raises:
            BusUnavailable: the bus is away, or does not know the invitation.
        """
        ...

    def leaf_key(self) -> str | None:
        """Public NKEY with which this site's own server dials out; None if it has no server."""
        ...

    def public_keys(self) -> Sequence[str]:
        """This site's two public NKEYs, journal and link, if it uses another site's server; otherwise none."""
        ...


class Bus(OwnStream, Streams, HeadsChannel, Questions, BusAccess, JoinRequests, JoiningBus, Protocol):
    """The bus delivers messages. It may lose, repeat and delay them; only journals are reliable.

    A service names the part that it needs.
    """
