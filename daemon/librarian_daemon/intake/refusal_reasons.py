"""What the catalog's answer about a name means for what was dropped under it."""

from __future__ import annotations

from librarian_daemon.intake.ready import Ready
from librarian_daemon.ports import Standing
from librarian_protocol.errors import CaseTwin, LibrarianError, NameTaken, NotPossible
from librarian_protocol.names import Name


def refusal(one: Ready, standing: Standing, other: str, *, allow_case_twins: bool) -> LibrarianError | None:
    """Why it is refused; None where it goes on."""
    match standing:
        case Standing.TAKEN:
            return NameTaken(
                f"the name {one.name!a} is taken by other bytes ({other}); these are {one.found.digest}",
                hint="files never change: give it another name, or withdraw the other file first",
            )
        case Standing.TWIN if not allow_case_twins:
            return case_twin(one.name, other)
        case Standing.BELOW:
            return NameTaken(
                f"the name {one.name!a} lies below the file {other!a}: a book is whole, a file is no directory",
                hint="give it a name outside of that file",
            )
        case Standing.WITHDRAWN:
            return NotPossible(
                f"an administrator withdrew exactly this file ({one.name!a}, {one.found.digest})",
                hint="a withdrawn file is never ingested again under that name",
            )
        case Standing.NOT_GRANTED:
            return NotPossible(
                f"this site may not ingest {one.name!a}: it is granted {other or 'nothing'}; others would refuse it",
                hint="`lbctl site set NAME --grant GLOB` where this site was admitted",
            )
        case _:
            return None


def case_twin(name: Name, other: str) -> LibrarianError:
    """The refusal of a name that differs from another only in letter case."""
    return CaseTwin(
        f"the name {name!a} differs only in letter case from {other!a}",
        hint="give it another name, or set allow_case_twins where every site's filesystem tells them apart",
    )
