"""Keys in staging: for the bytes of a transfer or of a landing, and for a book's manifest and list."""

from __future__ import annotations

import re

_MANIFEST, _LIST = "-manifest", "-attributes"
_TRANSFER = re.compile(rf"t[0-9]+({_MANIFEST}|{_LIST})?")


def transfer_key(transfer_id: int) -> str:
    """Key of a transfer's bytes. Each attempt has the same key, and continues where the last one ended."""
    return f"t{transfer_id}"


def manifest_key(key: str) -> str:
    """Key of the manifest of the book whose bytes are staged under ``key``."""
    return key + _MANIFEST


def list_key(key: str) -> str:
    """Key of the list of attributes of that book's members."""
    return key + _LIST


def transfer_keys(transfer_id: int) -> tuple[str, ...]:
    """All keys that a transfer may use."""
    key = transfer_key(transfer_id)
    return key, manifest_key(key), list_key(key)


def is_transfer_key(key: str) -> bool:
    """Whether a key in staging is named after a transfer."""
    return _TRANSFER.fullmatch(key) is not None
