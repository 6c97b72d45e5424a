"""Decides whether a directory looks like a store that lost its marker."""

from __future__ import annotations

import msgspec

#: So many of a hundred instances must stand there, with their sizes: some may have been lost with the marker.
ENOUGH_PERCENT = 90


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The instances that the catalog knows in the store, compared with the directory by names and sizes."""

    looked: int = 0
    missing: int = 0
    #: Something else stands at the name, or another size.
    wrong: int = 0

    @property
    def found(self) -> int:
        """Those that stand there as they should."""
        return self.looked - self.missing - self.wrong


def refusal(compared: Comparison) -> str:
    """Why it is not marked; "" where it looks like that store."""
    if not compared.looked:
        return "the catalog knows of nothing in that store: there is nothing to recognise it by"
    if compared.found * 100 < compared.looked * ENOUGH_PERCENT:
        return (
            f"of {compared.looked} instances that were looked for {compared.found} stand there with their sizes,"
            f" {compared.missing} are missing, and {compared.wrong} are something else"
        )
    return ""
