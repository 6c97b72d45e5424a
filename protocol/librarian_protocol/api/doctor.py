"""Checks of the host and the configuration."""

from __future__ import annotations

import msgspec


class DoctorCheck(msgspec.Struct, kw_only=True):
    """One line of ``lbctl doctor``. ``level`` is ``ok``, ``warning`` or ``error``."""

    check: str
    level: str
    message: str
    hint: str = ""
