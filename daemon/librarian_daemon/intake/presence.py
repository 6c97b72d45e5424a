"""Whether what the catalog takes for present is really there, every byte: only then may dropped bytes go."""

from __future__ import annotations

from librarian_daemon.intake.ready import Ready, unit_of
from librarian_daemon.ports import Store
from librarian_protocol.errors import LibrarianError, NotPossible, SourceMissing, StoreNotMounted


async def is_in_store(store: Store, one: Ready) -> bool:
    """Read the stored instance whole. False: it, or a part of it, is missing, and may be ingested again.

    Raises:
        StoreNotMounted: the store does not answer.
        NotPossible: what stands there is not what was ingested, or cannot be read: the dropped bytes must be kept.
    """
    check = await store.check(one.name, one.found.digest, unit_of(one.found), one.found.size_bytes)
    if check.error is None:
        return True
    if isinstance(check.error, StoreNotMounted):
        raise check.error
    if isinstance(check.error, SourceMissing):
        return False
    raise altered(store, one, check.error)


def altered(store: Store, one: Ready, wrong: LibrarianError) -> NotPossible:
    """The refusal of good bytes whose stored instance is wrong."""
    return NotPossible(
        f"the catalog knows {one.name!a} with exactly these bytes, but the stored instance is not what was ingested, "
        f"or cannot be read: {wrong.message}",
        hint="these dropped bytes are good and are kept here, beside this text; "
        f"`lbctl file verify {one.name}` at this site marks the stored instance; to heal it, move "
        f"{store.root}/{one.name} out of the store, then move these bytes into the drop directory again",
    )
