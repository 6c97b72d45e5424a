"""The commit protocol, for all that land bytes: intake, transfers, the simulator (docs/architecture.md)::

    seal ─► begin ─► place ─► accept
      │                │
      └ not sealed     └ not placed

The order makes it safe. Bytes are durable before anything is recorded about them; landing rows exist before a byte is
moved; and a file is registered only when it is durable at its name. A crash leaves landing rows: :func:`recover`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from librarian_daemon.ports.store import Landing, NotPlaced, Placed, Store


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """The steps at the end of a landing. They are also called with no landings."""

    #: They are durable at their names: one commit registers that, and deletes the rows.
    accept: Callable[[Sequence[Landing]], Awaitable[None]]
    #: They were not placed. :func:`recover` handles rows that are not deleted.
    not_placed: Callable[[Sequence[NotPlaced]], Awaitable[None]]


class Steps(Ends, frozen=True, kw_only=True):
    """The steps of landing a batch."""

    #: They are not durable, or have changed; they have no row.
    not_sealed: Callable[[Sequence[NotPlaced]], Awaitable[None]]
    #: One commit writes the landing rows. Returns which landings to place, and how.
    begin: Callable[[Sequence[Landing]], Awaitable[Sequence[Landing]]]


async def seal(
    store: Store, landings: Sequence[Landing], not_sealed: Callable[[Sequence[NotPlaced]], Awaitable[None]]
) -> list[Landing]:
    """Make the bytes durable; nothing is recorded yet. Those that go on to :func:`place`.

    Raises:
        LibrarianError: what ``not_sealed`` raises, or the store.
    """
    sealed = await store.seal(landings)
    await not_sealed([outcome for outcome in sealed if isinstance(outcome, NotPlaced)])
    return [outcome for outcome in sealed if isinstance(outcome, Landing)]


async def place(
    store: Store,
    sealed: Sequence[Landing],
    begin: Callable[[Sequence[Landing]], Awaitable[Sequence[Landing]]],
    ends: Ends,
) -> None:
    """Bring what is sealed to its names.

    Raises:
        LibrarianError: as :func:`land`.
    """
    async with store.names.landing():
        begun = await begin(sealed)
        if not begun:
            return
        placed = await store.place(begun)
        await ends.accept([outcome.landing for outcome in placed if isinstance(outcome, Placed)])
        await ends.not_placed([outcome for outcome in placed if isinstance(outcome, NotPlaced)])


async def land(store: Store, landings: Sequence[Landing], steps: Steps) -> None:
    """Bring a batch to its names.

    Raises:
        LibrarianError: what a step raises, or the store. Landing rows that were begun remain, and must be recovered.
    """
    await place(store, await seal(store, landings, steps.not_sealed), steps.begin, steps)


async def recover(store: Store, begun: Sequence[Landing], ends: Ends) -> None:
    """Finish, one by one, what a crash or an error left between begin and accept.

    Raises:
        LibrarianError: as above.
    """
    async with store.names.landing():
        for landing in begun:
            outcome = await store.recover(landing)
            if isinstance(outcome, Placed):
                await ends.accept([outcome.landing])
            else:
                await ends.not_placed([outcome])
