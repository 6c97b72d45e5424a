"""Whether a file that the catalog calls present is really there, every byte: only then are dropped bytes removed."""

from __future__ import annotations

from librarian_daemon.intake.examined import Ready, unit_of
from librarian_daemon.ports.store import Store
from librarian_protocol.errors import LibrarianError, NotPossible, SourceMissing, StoreNotMounted


async def is_in_store(store: Store, ready: Ready) -> bool:
    """Read the stored instance whole. False: it, or a part of it, is missing, and may be ingested again.

    Raises:
        StoreNotMounted: the store does not answer.
        NotPossible: the stored bytes are not what was ingested, or cannot be read: the dropped bytes must be kept.
    """
    check = await store.check(ready.name, ready.found.digest, unit_of(ready.found), ready.found.size_bytes)
    if check.error is None:
        return True
    if isinstance(check.error, StoreNotMounted):
        raise check.error
    if isinstance(check.error, SourceMissing):
        return False
    raise altered(ready, check.error)


def altered(ready: Ready, wrong: LibrarianError) -> NotPossible:
    """The refusal of good bytes whose stored instance is wrong."""
    return NotPossible(
        f"the catalog knows {ready.name!a} with exactly these bytes, but the stored instance is not what was ingested, "
        f"or cannot be read: {wrong.message}",
        hint="these dropped bytes are good and are kept here, beside this text; "
        f"do not remove them. `lbctl file heal {ready.name}` at this site has the stored instance fetched again from "
        "another site; where none has it, move these bytes into the drop directory again then: they take its place",
    )
