"""What is an administrator's word: it is said at sites that may admit others, and at no other."""

from __future__ import annotations

from librarian_daemon.catalog.mesh.roster import roster
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.errors import NotPossible


def check_administrator(tx: Tx, to: str, there: str) -> None:
    """That this site may say it.

    Args:
        to: what is to be done, such as ``withdraw files``.
        there: what a person is told to do elsewhere, such as ``withdraw it``.

    Raises:
        NotPossible: it may not admit.
    """
    mine = roster(tx.connection).get(tx.site)
    if mine is None or not mine.may_admit:
        raise NotPossible(
            f"site {tx.site!r} may not {to}: that is an administrator's word",
            hint=f"{there} at a site that may admit others: `lbctl site list` shows which",
        )
