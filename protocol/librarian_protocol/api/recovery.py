"""Comparing and recovering."""

from __future__ import annotations

import msgspec


class Reconciled(msgspec.Struct, kw_only=True):
    """What holding one store against the catalog found."""

    store: str
    label: str
    #: Rows and names.
    looked: int = 0
    #: Available instances that are missing or have another size, and the first of them.
    wrong: int = 0
    examples: list[str] = []
    #: False where they were too many to be believed: nothing was said of them.
    acted: bool = True
    #: What stands there and is of no file that should, and the first of it.
    unknown: int = 0
    unknown_examples: list[str] = []
    #: Staged for transfers that have ended, and removed.
    removed: int = 0
    seconds: float = 0.0
    #: Why the store could not be looked at; nothing is concluded then.
    error: str = ""


class Recovering(msgspec.Struct, kw_only=True):
    """How the recovery of a lost or restored catalog stands."""

    #: None where there is none.
    since: str | None = None
    reasons: list[str] = []
    waits_for: list[str] = []
    #: The catalog knows of no mesh: a token, or a person's word that the site is alone, is needed.
    without_mesh: bool = False
