"""Groups of this machine, by their names."""

from __future__ import annotations

import grp
import shlex

from librarian_protocol.errors import ConfigInvalid


def group_id(name: str) -> int:
    """The id of a group.

    Raises:
        ConfigInvalid: this machine knows none of that name.
    """
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as exc:
        raise ConfigInvalid(
            f"this machine knows no group {name!r}", hint=f"groupadd --system {shlex.quote(name)}, or another"
        ) from exc
