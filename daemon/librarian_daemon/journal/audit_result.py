"""When the catalog was last audited, and with which result: a small file that the daemon shows to monitoring.

The audit is a program of its own and never writes into a catalog that a daemon runs on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from librarian_protocol import wire

FILE = "audit.json"


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """The last audit."""

    at: Annotated[str, Meta(max_length=40)]
    ok: bool


_AUDITED = wire.decoder(Audited)


def note(state: Path, found: Audited) -> None:
    """Write it atomically."""
    part = state / f"{FILE}.part"
    part.write_bytes(wire.encode(found))
    part.replace(state / FILE)


def last(state: Path) -> Audited | None:
    """The last audit; None where there was none, or the file is damaged."""
    try:
        return _AUDITED.decode((state / FILE).read_bytes())
    except (OSError, *wire.NOT_DECODABLE):
        return None
