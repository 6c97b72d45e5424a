"""Reads what other sites offer. It comes from them, and is not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def place_of_store(params: Mapping[str, Any], store: str) -> str | None:
    """The text that ``params["stores"]`` of an offer has for a store, by id; None where it has none."""
    stores: object = params.get("stores")
    place = cast("dict[object, object]", stores).get(store) if isinstance(stores, dict) else None
    return place if isinstance(place, str) else None
