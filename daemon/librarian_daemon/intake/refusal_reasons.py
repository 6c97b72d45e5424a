"""What the catalog's answer about a name means for what was dropped under it."""

from __future__ import annotations

from librarian_daemon.intake.examined import Ready
from librarian_daemon.ports.ledger import NameStatus
from librarian_protocol.errors import CaseTwin, LibrarianError, NameTaken, NotPossible
from librarian_protocol.names import Name


def refusal(
    ready: Ready, standing: NameStatus, other: str, *, allow_case_twins: bool, other_bytes: int | None = None
) -> LibrarianError | None:
    """Why it is refused; None if it goes on. ``other_bytes``: size of the file that has the name, where known."""
    match standing:
        case NameStatus.TAKEN:
            return _taken(ready, other, other_bytes)
        case NameStatus.TWIN if not allow_case_twins:
            return case_twin(ready.name, other)
        case NameStatus.BELOW:
            return NameTaken(
                f"the name {ready.name!a} lies below the file {other!a}: a book is whole, a file is no directory",
                hint="give it a name outside of that file",
            )
        case NameStatus.WITHDRAWN:
            return NotPossible(
                f"an administrator withdrew exactly this file ({ready.name!a}, {ready.found.digest})",
                hint="a withdrawn file is never ingested again under that name",
            )
        case NameStatus.NOT_GRANTED:
            return NotPossible(
                f"this site may not ingest {ready.name!a}: it is granted {other or 'nothing'}; others would refuse it",
                hint="`lbctl site set NAME --grant GLOB` where this site was admitted",
            )
        case _:
            return None


def _taken(ready: Ready, other: str, other_bytes: int | None) -> NameTaken:
    taken = f"the name {ready.name!a} is taken by other bytes ({other}); these are {ready.found.digest}"
    if other_bytes is None or other_bytes >= ready.found.size_bytes:
        return NameTaken(taken, hint="files never change: give it another name")
    return NameTaken(
        f"{taken}. These are longer, {ready.found.size_bytes:,} bytes to {other_bytes:,}: the first may have been taken"
        " before it was finished",
        hint="compare the two; these bytes are kept here. If the first is not whole: `lbctl file withdraw NAME --reason"
        " TEXT` by an administrator, then `lbctl rejected retry`; else drop these under another name. So that it does"
        " not happen again: move files in when they are finished (docs/dropping.md)",
    )


def case_twin(name: Name, other: str) -> LibrarianError:
    """The refusal of a name that differs from another only in letter case."""
    return CaseTwin(
        f"the name {name!a} differs only in letter case from {other!a}",
        hint="give it another name, or set allow_case_twins if every site's filesystem distinguishes them",
    )
