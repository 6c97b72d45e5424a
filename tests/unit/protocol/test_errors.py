"""The error tree."""

from __future__ import annotations

import re

from librarian_protocol import errors
from librarian_protocol.errors import LibrarianError, NameTaken, by_code


def _tree() -> list[type[LibrarianError]]:
    return [error for error in by_code().values() if error.__module__ == errors.__name__]


def test_every_class_has_a_code_of_its_own() -> None:
    """No class hides behind another's code."""
    classes = {
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, LibrarianError)
    }
    assert set(_tree()) == classes


def test_a_special_case_does_not_take_over_the_code_of_its_class() -> None:
    """Whoever makes a subclass elsewhere changes nothing of what a code means on the wire."""

    class Special(errors.NotPossible):
        pass

    assert Special.code == "E110"
    assert by_code()["E110"] is errors.NotPossible


def test_every_class_has_a_kind_of_its_own() -> None:
    """The word by which scripts know an error is as good as its code."""
    kinds = [error.kind for error in _tree()]
    assert len(set(kinds)) == len(kinds)
    assert all(re.fullmatch(r"[a-z_]+", kind) for kind in kinds)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Name, code and parent of every class, as drawn."""
    assert errors.__doc__ is not None
    drawn: dict[str, tuple[str, str]] = {}
    base = "LibrarianError"
    for line in errors.__doc__.splitlines():
        found = re.match(r"    (│?) *[├└]── (\w+) +(E\d)(\d\d|xx)", line)
        if found is None:
            continue
        is_base = found[4] == "xx" or found[2] == "InvalidTransition"
        if is_base:
            base = found[2]
        code = found[3] + found[4].replace("xx", "00")
        drawn[found[2]] = (code, "LibrarianError" if is_base else base)
    actual = {error.__name__: (error.code, error.__bases__[0].__name__) for error in _tree()}
    assert drawn == {name: of for name, of in actual.items() if name != "LibrarianError"}


def test_every_exit_code_is_a_documented_one() -> None:
    """Scripts decide by them."""
    assert {error.exit_code for error in _tree()} <= {1, 2, 3, 4, 5, 6, 10, 11, 12}


def test_what_is_tried_again_is_exactly_this() -> None:
    """Wrongly retried is harmless at best, wrongly given up costs a person's time."""
    assert sorted(error.__name__ for error in _tree() if error.retryable) == [
        "BusUnavailable",
        "ChecksumMismatch",
        "DaemonUnreachable",
        "NoInodes",
        "NotOffered",
        "NotifyFailed",
        "SizeMismatch",
        "SourceIdentity",
        "SourceInvalid",
        "SourceMissing",
        "SourceRefused",
        "SourceUnreachable",
        "StoreFault",
        "StoreFull",
        "StoreNotMounted",
        "TransferError",
        "TransferSlow",
        "TransferTimeout",
    ]


def test_an_error_carries_its_message_and_its_hint() -> None:
    """What happened, and what to do next."""
    error = NameTaken("name 'a' is taken", hint="choose another")
    assert (str(error), error.message, error.hint) == (
        "name 'a' is taken",
        "name 'a' is taken",
        "choose another",
    )
    assert NameTaken("x").hint == ""


def test_an_error_is_found_again_by_its_code() -> None:
    """As the client does with what comes over the wire."""
    assert by_code()["E107"] is NameTaken
    assert by_code()["E000"] is LibrarianError
