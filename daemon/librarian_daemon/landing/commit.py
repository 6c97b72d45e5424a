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


async def land(store: Store, landings: Sequence[Landing], steps: Steps) -> None:
    """Bring a batch to its names.

    Raises:
        LibrarianError: what a step raises, or the store. Landing rows that were begun remain, and must be recovered.
    """
    sealed = await store.seal(landings)
    await steps.not_sealed([outcome for outcome in sealed if isinstance(outcome, NotPlaced)])
    begun = await steps.begin([outcome for outcome in sealed if isinstance(outcome, Landing)])
    if not begun:
        return
    placed = await store.place(begun)
    await steps.accept([outcome.landing for outcome in placed if isinstance(outcome, Placed)])
    await steps.not_placed([outcome for outcome in placed if isinstance(outcome, NotPlaced)])


async def recover(store: Store, begun: Sequence[Landing], ends: Ends) -> None:
    """Finish, one by one, what a crash or an error left between begin and accept.

    Raises:
        LibrarianError: as above.
    """
    for landing in begun:
        outcome = await store.recover(landing)
        if isinstance(outcome, Placed):
            await ends.accept([outcome.landing])
        else:
            await ends.not_placed([outcome])
