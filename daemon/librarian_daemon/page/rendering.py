"""Renders templates to HTML. Names come from outside: texts are escaped, and characters that hide or reverse text are
written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.resources import files
from urllib.parse import quote

import humanize
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from librarian_daemon.page.plot import HEIGHT, WIDTH, plot
from librarian_daemon.page.throughput import EVERY_S, SAMPLES
from librarian_daemon.ports.time import Clock
from librarian_protocol import display
from librarian_protocol.incidents import about
from librarian_protocol.transfer import State

_PARTS = files("librarian_daemon.page")
ASSETS = {
    "librarian.css": "text/css",
    "live.js": "text/javascript",
    "favicon.svg": "image/svg+xml",
}


def asset(name: str) -> bytes:
    """The bytes of one of ``ASSETS``."""
    return (_PARTS / "assets" / name).read_bytes()


class Renderer:
    """Holds the compiled templates."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._environment = Environment(
            loader=FunctionLoader(lambda name: (_PARTS / "templates" / name).read_text()),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_seen,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        filters: dict[str, Callable[..., object]] = {
            "ago": self._ago,
            "bytes": _bytes,
            "rate": _rate,
            "count": display.count,
            "duration": display.duration,
            "in_query": _in_query,
            "moment": display.moment,
            "told_states": _told_states,
        }
        self._known: dict[str, object] = {
            "about": about,
            "plot": plot,
            "plot_width": WIDTH,
            "plot_height": HEIGHT,
            "plot_samples": SAMPLES,
            "plot_s": SAMPLES * EVERY_S,
        }
        self._environment.filters.update(filters)

    def render(self, template: str, **values: object) -> str:
        """The text of one template."""
        return self._environment.get_template(template, globals=self._known).render(**values)

    def _ago(self, at: str | None) -> str:
        return display.ago(at, datetime.fromisoformat(self._clock.utc()))


def _in_query(text: str) -> str:
    return quote(text, safe="")


def _bytes(size_bytes: float) -> str:
    return humanize.naturalsize(size_bytes, binary=True)


def _rate(bytes_s: float) -> str:
    return f"{display.bytes_short(_bytes(round(bytes_s)))}/s"


def _told_states(by_state: Mapping[str, int]) -> str:
    return ", ".join(f"{by_state[state]:,} {state}" for state in State if by_state.get(state)) or "none"


def _seen(value: object) -> object:
    """The printed text: our markup unchanged; in other texts, characters that hide or reverse text are escaped."""
    return display.safe(value) if isinstance(value, str) and not isinstance(value, Markup) else value
