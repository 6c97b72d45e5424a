"""Offers: what a peer may fetch (docs/events.md). Only the site that gives keeps them."""

from __future__ import annotations

from collections.abc import Sequence

from librarian_protocol import globs
from librarian_protocol.entries import Access


def refusal(access: str) -> str:
    """Why a peer of that access may fetch no file at all; "" if it may."""
    return "it is a witness: it holds journals, and no files" if access == Access.WITNESS else ""


def is_offered(access: str, chosen: Sequence[str], name: str) -> bool:
    """Whether a peer may have the file of that name.

    ``chosen`` are the globs that were set for it. Where none were, a peer of full access may have everything, any other
    nothing.
    """
    if refusal(access):
        return False
    if not chosen:
        return access == Access.FULL
    return any(globs.matches(glob, name) for glob in chosen)
