"""``lbctl file verify --everywhere``: what every holder says of its instances."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from lbctl.app import App, Format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from librarian_protocol import api

#: It asks the daemon so often for what has come, seconds.
_ASK_EVERY_S = 0.5
_HEADINGS = ("NAME", "SITE", "STORE", "RESULT", ">SIZE", ">NOW", "DIGEST", "NOW", "READ", "HOW", "")


def verify_everywhere(app: App, match: str, *, fresh: bool, wait_s: float) -> int:
    """Ask, wait until all that are there have answered, and print it. Returns the exit code."""
    from lbctl.output import note, rows
    from librarian_protocol.errors import ChecksumMismatch, StoreError

    client = app.client()
    found = client.verify_everywhere(match, fresh=fresh)
    end_s = time.monotonic() + wait_s
    while set(found.waiting) - set(found.away) and time.monotonic() < end_s:
        _progress(found)
        time.sleep(_ASK_EVERY_S)
        found = client.verified_everywhere(found.inquiry)
    _progress(None)
    rows(app, found.instances, _HEADINGS, _row)
    if app.output is Format.TABLE:
        for site in found.waiting:
            why = found.away.get(site)
            note(f"{site} is away: {why}" if why else f"{site} has not answered yet: --wait waits longer")
    if any(instance.outcome == "bad" for instance in found.instances):
        return ChecksumMismatch.exit_code
    return StoreError.exit_code if any(instance.outcome != "right" for instance in found.instances) else 0


def _progress(found: api.EverywhereVerified | None) -> None:
    """One line on a terminal, in place of the one before; None: it is over."""
    if not sys.stderr.isatty():
        return
    text = ""
    if found is not None:
        text = f"{found.answered:,} of {len(found.instances):,} instances; waiting for {', '.join(found.waiting)}"
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


def _row(instance: api.InstanceVerified) -> Sequence[str]:
    from lbctl.shown import ago, size

    how = "-" if instance.read_at is None else "read now" if instance.fresh else "as last read"
    return (
        instance.name,
        instance.site,
        instance.label or instance.store[:8],
        "BAD" if instance.outcome == "bad" else instance.outcome,
        size(instance.size_bytes),
        "-" if instance.found_size_bytes is None else size(instance.found_size_bytes),
        instance.digest.removeprefix("blake3:")[:12],
        "-" if instance.found_digest is None else instance.found_digest.removeprefix("blake3:")[:12],
        ago(instance.read_at) if instance.read_at else "-",
        how,
        instance.message,
    )
