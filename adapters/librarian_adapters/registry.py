"""Which adapters this installation has: plug-ins of the entry point group ``librarian.adapters``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from librarian_adapters.contract import ENTRY_POINTS, Adapter, Context, Factory, Pushes, Signer, no_certificate
from librarian_protocol.errors import ConfigInvalid
from librarian_protocol.names import SiteName


def installed() -> dict[str, EntryPoint]:
    """The entry points by name, sorted. Two packages may not claim one name.

    Raises:
        ConfigInvalid: they do.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        if found.setdefault(point.name, point).value != point.value:
            raise ConfigInvalid(
                f"two installed packages bring an adapter named {point.name!r}: "
                f"{found[point.name].value} and {point.value}",
                hint="uninstall one of them",
            )
    return found


def load(
    order: Sequence[str],
    *,
    site: SiteName,
    sign: Signer,
    settings: Mapping[str, Mapping[str, Any]],
    roots: Mapping[str, str],
    labels: Mapping[str, str] | None = None,
    state: Path | None = None,
    certificate: Callable[[SiteName], str | None] = no_certificate,
    ca_file: str = "",
    pushes: Pushes | None = None,
    loopback_peers: bool = False,
) -> list[Adapter]:
    """Make the adapters of ``adapters.order``, in that order. Opens no connection.

    Args:
        site: this site.
        sign: signs data requests.
        settings: each adapter's own table, by its name.
        roots: roots of stores that this machine can read itself, by store id.
        labels: labels of this site's stores, by store id.
        state: below it each adapter has a directory of its own.
        certificate, ca_file, pushes, loopback_peers: see :class:`Context`.

    Raises:
        ConfigInvalid: a name is unknown, listed twice, not loadable, or its settings are wrong.
    """
    known = installed()
    adapters: list[Adapter] = []
    for name in order:
        if order.count(name) > 1:
            raise ConfigInvalid(f"adapters.order lists {name!r} more than once")
        point = known.get(name)
        if point is None:
            raise ConfigInvalid(
                f"adapters.order: no adapter {name!r} is installed; there are: {', '.join(known) or 'none'}",
                hint="install the package that brings it, or take it out of the list",
            )
        factory = _factory(point)
        context = Context(
            site=site,
            sign=sign,
            settings=settings.get(name, {}),
            roots=roots,
            labels=labels or {},
            state="" if state is None else str(state / name),
            certificate=certificate,
            ca_file=ca_file,
            pushes=pushes,
            loopback_peers=loopback_peers,
        )
        adapters.append(factory(context))
    return adapters


def _factory(point: EntryPoint) -> Factory:
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as exc:
        raise ConfigInvalid(f"adapter {point.name!r} ({point.value}) does not load: {exc}") from exc
    if not callable(loaded):
        raise ConfigInvalid(f"adapter {point.name!r}: {point.value} is not a factory")
    return cast(Factory, loaded)
