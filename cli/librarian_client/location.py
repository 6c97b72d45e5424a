"""Where a site keeps its socket and state. The rest of ``site.toml`` is the daemon's business."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from librarian_protocol.errors import ConfigInvalid


class Location(NamedTuple):
    """What a client needs of a site's configuration; absolute paths."""

    config: Path
    state: Path
    socket: Path
    #: As it stands in the file; "" where it has none.
    site: str


def locate(config: Path, environ: Mapping[str, str] | None = None) -> Location:
    """Read ``state`` and ``socket`` from ``site.toml``, or from LIBRARIAN_STATE and LIBRARIAN_SOCKET.

    Raises:
        ConfigInvalid: the file cannot be read, or is not TOML.
    """
    config = config.absolute()
    environ = os.environ if environ is None else environ
    try:
        tables = tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ConfigInvalid(
            f"{config}: no such file", hint=f"`lbctl init {config.parent} --site NAME` writes one"
        ) from exc
    except OSError as exc:
        raise ConfigInvalid(f"{config}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:  # not UTF-8, or not TOML
        raise ConfigInvalid(f"{config}: not TOML: {exc}") from exc
    base = config.resolve().parent  # of the file itself: /etc/librarian/site.toml may be a link to it
    state = _path(tables, environ, "state")
    socket = _path(tables, environ, "socket")
    home = Path(os.path.normpath(base / state))
    return Location(
        config=config,
        state=home,
        socket=Path(os.path.normpath(base / socket)) if socket else home / "lbd.sock",
        site=str(tables.get("site", "")),
    )


def _path(tables: Mapping[str, object], environ: Mapping[str, str], key: str) -> str:
    overlay = environ.get(f"LIBRARIAN_{key.upper()}")
    if overlay is not None:
        return overlay.strip("\"'")  # the daemon reads the variable as TOML, where quotes are allowed
    value = tables.get(key, "")
    if not isinstance(value, str):
        raise ConfigInvalid(f"{key}: expected text, got {type(value).__name__}")
    return value
