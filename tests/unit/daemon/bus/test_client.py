"""That the real bus is what the services were promised; the type checkers do the work."""

from __future__ import annotations

from librarian_daemon.bus.client import NatsBus
from librarian_daemon.ports.bus import Bus


def as_port(bus: NatsBus) -> Bus:
    """Does not type-check if a method is missing or differs."""
    return bus


def test_the_bus_has_every_method_of_its_port() -> None:
    wanted = {name for name in vars(Bus) if not name.startswith("_")}
    assert wanted <= set(dir(NatsBus))
