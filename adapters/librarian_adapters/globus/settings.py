"""What the Globus adapter is told: by its own site's settings, and by other sites' offers, which are not trusted."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from librarian_adapters.contract import Context
from librarian_adapters.peer_offers import place_of_store
from librarian_protocol.errors import ConfigInvalid, SourceInvalid

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_PATH = re.compile(r"/(?:[^/\x00-\x1f\x7f]{1,255}/?){0,64}\Z")

Uuid = Annotated[str, Meta(pattern=f"^{_UUID}$")]
Seconds = Annotated[float, Meta(gt=0, le=30 * 86400)]


class GlobusSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[adapters.settings.globus]``."""

    #: Of the application registered at Globus; with a secret it is a confidential one, else a person logs in.
    client_id: Uuid
    client_secret_file: str = ""
    #: This site's own collection, and where directories of this machine stand in it.
    collection: Uuid
    roots: dict[str, str]
    #: Labels of stores that others may fetch from by this collection.
    serve: list[str] = []
    #: Mapped collections of others whose data this site was granted consent to.
    data_access: list[Uuid] = []
    encrypt: bool = False
    verify: bool = True
    poll_s: Seconds = 10.0
    #: A task in which nothing moves for so long is cancelled, and tried again.
    stall_s: Seconds = 6 * 3600.0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A store's root in a collection; ``path`` ends with ``/``."""

    collection: str
    path: str


def settings_of(context: Context) -> GlobusSettings:
    """The adapter's own settings.

    Raises:
        ConfigInvalid: a key is wrong, or a store lies in none of the roots.
    """
    try:
        settings = msgspec.convert(dict(context.settings), GlobusSettings)
    except msgspec.ValidationError as exc:
        raise ConfigInvalid(f"adapters.settings.globus: {exc}", hint="docs/adapters/globus.md has all keys") from exc
    for local, path in settings.roots.items():
        if not os.path.isabs(local) or not _plain(path):
            raise ConfigInvalid(
                f"adapters.settings.globus.roots: {local!r} = {path!r} is not a pair of absolute paths",
                hint='such as { "/data" = "/" }: a directory here, and where it stands in the collection',
            )
    for label in settings.serve:
        if label not in context.labels.values():
            raise ConfigInvalid(f"adapters.settings.globus.serve: this site has no store {label!r}")
    for root in context.roots.values():
        in_collection(settings, root)
    return settings


def in_collection(settings: GlobusSettings, path: str) -> str:
    """A path of this machine as it is called in the site's collection.

    Raises:
        ConfigInvalid: it lies in none of the roots.
    """
    for local in sorted(settings.roots, key=len, reverse=True):
        base = local.rstrip("/") + "/"
        if f"{path}/".startswith(base):
            return f"{settings.roots[local].rstrip('/')}/{path[len(base) :]}"
    raise ConfigInvalid(
        f"adapters.settings.globus.roots: {path} lies in none of them",
        hint="every store must be seen by the collection: name its directory, and where that stands there",
    )


def place_of(params: Mapping[str, Any], store: str) -> Place:
    """Where another site's store stands, by its offer.

    Raises:
        SourceInvalid: the offer names no collection, or no plain path for that store.
    """
    collection: object = params.get("collection")
    path = place_of_store(params, store)
    if not isinstance(collection, str) or re.fullmatch(_UUID, collection) is None:
        raise SourceInvalid("the offer of globus names no collection", hint="compare the settings there")
    if path is None or not _plain(path):
        raise SourceInvalid(f"the offer of globus has no place for store {store}", hint="set serve there")
    return Place(collection=collection, path=path.rstrip("/") + "/")


def _plain(path: str) -> bool:
    return _PATH.match(path) is not None and ".." not in path.split("/")
