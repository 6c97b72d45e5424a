"""Where a site keeps its socket and state. The rest of ``site.toml`` is the daemon's business."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

from librarian_protocol.errors import ConfigInvalid, NotPermitted


class Location(NamedTuple):
    """What a client needs of a site's configuration; absolute paths."""

    config: Path
    state: Path
    socket: Path
    #: That of whoever may only read; None where there is none.
    read_socket: Path | None
    #: As it stands in the file; "" where it has none.
    site: str


def locate(config: Path, environ: Mapping[str, str] | None = None) -> Location:
    """Read ``state``, ``socket`` and ``[control]`` from ``site.toml``, or from the variables that overlay them.

    Raises:
        ConfigInvalid: the file cannot be read, or is not TOML.
        NotPermitted: this user may not read it.
    """
    config = config.absolute()
    environ = os.environ if environ is None else environ
    try:
        tables = tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ConfigInvalid(
            f"{config}: no such file", hint=f"`lbctl init {config.parent} --site NAME` writes one"
        ) from exc
    except PermissionError as exc:
        raise NotPermitted(f"{config}: not allowed to read it", hint="run it as the daemon's user") from exc
    except OSError as exc:
        raise ConfigInvalid(f"{config}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:  # not UTF-8, or not TOML
        raise ConfigInvalid(f"{config}: not TOML: {exc}") from exc
    base = config.resolve().parent  # of the file itself: /etc/librarian/site.toml may be a link to it
    state = _path(tables, environ, "state")
    socket = _path(tables, environ, "socket")
    home = Path(os.path.normpath(base / state))
    at = Path(os.path.normpath(base / socket)) if socket else home / "lbd.sock"
    found = tables.get("control")
    control = cast("dict[str, object]", found) if isinstance(found, dict) else {}
    read_socket = _path(control, environ, "read_socket", "CONTROL__")
    if read_socket:
        reads: Path | None = Path(os.path.normpath(base / read_socket))
    else:
        reads = at.parent / "lbd-read.sock" if _path(control, environ, "readers", "CONTROL__") else None
    return Location(
        config=config,
        state=home,
        socket=at,
        read_socket=reads,
        site=str(tables.get("site", "")),
    )


def _path(tables: Mapping[str, object], environ: Mapping[str, str], key: str, table: str = "") -> str:
    overlay = environ.get(f"LIBRARIAN_{table}{key.upper()}")
    if overlay is not None:
        return overlay.strip("\"'")  # the daemon reads the variable as TOML, where quotes are allowed
    value = tables.get(key, "")
    if not isinstance(value, str):
        raise ConfigInvalid(f"{key}: expected text, got {type(value).__name__}")
    return value
