"""The version of this software, from the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _version() -> str:
    try:
        return version("librarian-daemon")
    except PackageNotFoundError:
        return "0+unknown"


VERSION = _version()
