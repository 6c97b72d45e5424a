"""Checks that this daemon was started with its site's key. Otherwise it does not start (docs/keys.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog, end_of_journal
from librarian_daemon.catalog.journal import segments
from librarian_daemon.catalog.mesh import own_key
from librarian_daemon.journal.incarnation import heads_of
from librarian_daemon.ports.store import Witness
from librarian_daemon.runtime import machine
from librarian_protocol.errors import ConfigInvalid
from librarian_protocol.keys import SiteKey, fingerprint
from librarian_protocol.names import SiteName
from librarian_protocol.own_key import Fit, KeyEvidence, fit

_log = structlog.get_logger(__name__)


async def check(
    catalog: Catalog, stores: Sequence[Witness], site: SiteName, key: SiteKey, directory: Path, accepted: str
) -> None:
    """Must be called before anything is signed.

    ``accepted`` is the fingerprint of a key that a person says is right, whatever catalog and roster know; else "".

    Raises:
        ConfigInvalid: the key is not this site's. Nothing was changed.
    """
    path = directory / "site.key"
    mine = fingerprint(key.public)
    if accepted and accepted not in {mine, key.public}:
        raise ConfigInvalid(
            f"{path} is the key {mine}, not {accepted}", hint="give the fingerprint of the key in the file"
        )
    known = await _known(catalog, stores, site, key, directory / "site.key.next")
    found = fit(key.public, known)
    if found is Fit.OWN:
        return
    other = _other(known)
    if accepted:
        _log.warning("site_key_accepted", key=mine, known=fingerprint(other) if other else "")
        return
    theirs = f"the key {fingerprint(other)}" if other else "another key"
    if found is Fit.FORMER:
        raise ConfigInvalid(
            f"{path} is the key {mine}, which this site had before; {theirs} came after it, and what is signed with the"
            " former one is not believed",
            hint=f"put the present key into {path} (docs/keys.md, “A wrong key”)",
        )
    raise ConfigInvalid(
        f"{path} is the key {mine}; what site {site!r} has said is signed with {theirs}. With a wrong key nobody would"
        " believe it, now or later",
        hint=f"put the right key back. If this site was readmitted elsewhere with this one and has not heard of it:"
        f" lbd --config FILE --accept-key {mine} (docs/keys.md, “A wrong key”)",
    )


async def _known(
    catalog: Catalog, stores: Sequence[Witness], site: SiteName, key: SiteKey, waiting: Path
) -> KeyEvidence:
    known = await catalog.read(own_key.known_of, site, key.public)
    seq, _ = await catalog.read(end_of_journal, site)
    epoch = await catalog.read(segments.greatest_epoch_begun)
    heads = [head for head in await heads_of(stores) if head.seq > seq or head.epoch > epoch]
    latest = max(heads, key=lambda head: (head.epoch, head.seq), default=None)
    return msgspec.structs.replace(
        known,
        waiting=machine.load_key(waiting).public if waiting.exists() else None,
        behind=latest is not None,
        witnessed=(latest.key or None) if latest else None,
    )


def _other(known: KeyEvidence) -> str | None:
    """The key that the site signed with, as far as it is known."""
    return known.roster or known.ran_with or known.witnessed
