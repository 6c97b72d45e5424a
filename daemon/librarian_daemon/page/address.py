"""Where the page is served."""

from __future__ import annotations

import msgspec


class PageAddress(msgspec.Struct, kw_only=True):
    """Where the page is served, for ``lbctl status``; or why it is not, for ``lbctl doctor``. Both empty: no."""

    url: str = ""
    problem: str = ""
