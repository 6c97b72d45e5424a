"""Checks between the keys of ``site.toml``. Pure: paths are compared as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

import msgspec

from librarian_daemon.config.settings import (
    BusSettings,
    IntakeSettings,
    ScrubSettings,
    SiteSettings,
    StoreSettings,
)
from librarian_protocol import globs, host_port
from librarian_protocol.errors import ArgumentInvalid, ConfigInvalid, NameInvalid
from librarian_protocol.lengths import seconds_of
from librarian_protocol.loopback import is_loopback
from librarian_protocol.names import MemberPath, Name
from librarian_protocol.retention import rule_of
from librarian_protocol.store_settings import reserve_bytes

_BUS_URL = re.compile(r"(nats|tls)://([^\s/@]+@)?(?P<server>[^\s/@]+)/?\Z")
_POSTGRESQL = re.compile(r"postgresql://[^\s/]+/[^\s/?]+(\?\S*)?\Z")
_SQLITE = re.compile(r"sqlite:////.+\Z")


def check(settings: SiteSettings) -> None:
    """Refuse settings that contradict themselves. Paths must be absolute already.

    Raises:
        ConfigInvalid: the first contradiction; the message begins with the key's path.
    """
    _check_catalog(settings.catalog.url)
    _check_scrub("scrub", settings.scrub, None)
    _check_stores(settings)
    for index, intake in enumerate(settings.intake):
        _check_intake(intake, f"intake[{index}]", settings)
    _check_directories(settings)
    _check_address("data", settings.data.listen, settings.data.advertise)
    _check_page(settings.page.listen)
    if settings.metrics.listen:
        _host("metrics.listen", settings.metrics.listen, '"" where nobody asks', least_port=0)
    if settings.control.read_socket == settings.socket:
        raise ConfigInvalid("control.read_socket: it is the control socket itself", hint="which can change everything")
    _check_notify(settings)
    if bool(settings.tls.cert_file) != bool(settings.tls.key_file):
        raise ConfigInvalid("tls: cert_file and key_file belong together", hint="set both, or neither")
    _check_bus(settings.bus)
    _check_adapters(settings)
    _check_retention(settings)


def _check_retention(settings: SiteSettings) -> None:
    for key in ("trash", "trash_at_least"):
        try:
            seconds_of(getattr(settings.retention, key))
        except ArgumentInvalid as exc:
            raise ConfigInvalid(f"retention.{key}: {exc.message}", hint=exc.hint) from exc
    labels = [store.label for store in settings.store]
    for index, rule in enumerate(settings.retention.rule):
        where = f"retention.rule[{index}]"
        if rule.store not in labels:
            raise ConfigInvalid(f"{where}.store: there is no store {rule.store!r}", hint=f"one of: {', '.join(labels)}")
        try:
            rule_of(**msgspec.structs.asdict(rule))
        except ArgumentInvalid as exc:
            raise ConfigInvalid(f"{where}: {exc.message}", hint=exc.hint) from exc


def _check_catalog(url: str) -> None:
    if not (_SQLITE.match(url) or _POSTGRESQL.match(url)):
        shown = re.sub(r"//[^/@]*@", "//…@", url)
        raise ConfigInvalid(
            f"catalog.url: {shown!r} names no catalog",
            hint='"sqlite:///catalog.sqlite" or "postgresql://user@host/database"',
        )


def _check_stores(settings: SiteSettings) -> None:
    if not settings.store:
        raise ConfigInvalid("store: a site has at least one store", hint="add [[store]] with label and path")
    seen: dict[str, int] = {}
    for index, store in enumerate(settings.store):
        if store.label in seen:
            raise ConfigInvalid(
                f"store[{index}].label: {store.label!r} is the label of store[{seen[store.label]}] too",
                hint="labels are unique within a site",
            )
        seen[store.label] = index
        if not store.path:
            raise ConfigInvalid(f"store[{index}].path: is empty")
        if store.dir_mode:
            _check_dir_mode(f"store[{index}].dir_mode", int(store.dir_mode, 8))
        _check_scrub(f"store[{index}]", settings.scrub, store)
        try:
            reserve_bytes(store.reserve, 0)
        except ArgumentInvalid as exc:
            raise ConfigInvalid(f"store[{index}].reserve: {exc.message}", hint=exc.hint) from exc


def _check_scrub(where: str, site: ScrubSettings, store: StoreSettings | None) -> None:
    try:
        site.budget(store)
    except ArgumentInvalid as exc:
        raise ConfigInvalid(f"{where}: {exc.message}", hint=exc.hint) from exc


def _check_dir_mode(key: str, mode: int) -> None:
    if mode & 0o700 != 0o700:
        raise ConfigInvalid(f"{key}: {mode:04o} denies access to the daemon itself", hint='such as "2750"')
    if mode & 0o002:
        raise ConfigInvalid(
            f"{key}: {mode:04o} lets everybody remove what is stored", hint='such as "2750", or "0755" to be read'
        )


def _check_intake(intake: IntakeSettings, at: str, settings: SiteSettings) -> None:
    if not intake.path:
        raise ConfigInvalid(f"{at}.path: is empty")
    for label in intake.stores:
        _check_fed(label, f"{at}.store" if label == intake.store else f"{at}.others", settings)
    if len(set(intake.stores)) != len(intake.stores):
        raise ConfigInvalid(f"{at}.others: names a store twice", hint="each store once, the one of `store` not at all")
    if intake.prefix:
        _check_name(f"{at}.prefix", intake.prefix)
    if intake.unit == "file":
        if intake.complete == "marker":
            raise ConfigInvalid(
                f'{at}.complete: "marker" is for books: a single file has no place for one',
                hint='"rename", "quiet" or "moved"',
            )
        if intake.depth != 1:
            raise ConfigInvalid(f"{at}.depth: is for books", hint="single files are taken at any depth; leave it out")
    if intake.complete == "moved" and intake.watch == "poll":
        raise ConfigInvalid(
            f'{at}.complete: "moved" takes what was seen to be moved in, and a polling intake sees no moves',
            hint='watch = "auto", or complete = "quiet"',
        )
    if intake.complete == "marker":
        _check_marker(f"{at}.marker", intake.marker)
    for number, glob in enumerate(intake.ignore):
        try:
            globs.well_formed(glob)
        except ArgumentInvalid as exc:
            raise ConfigInvalid(f"{at}.ignore[{number}]: {exc.message}", hint=exc.hint) from exc


def _check_fed(label: str, key: str, settings: SiteSettings) -> None:
    """A drop directory may feed this store."""
    store = next((store for store in settings.store if store.label == label), None)
    if store is None:
        labels = ", ".join(store.label for store in settings.store)
        raise ConfigInvalid(f"{key}: no store has the label {label!r}", hint=f"one of: {labels}")
    if not store.ingestable:
        raise ConfigInvalid(
            f"{key}: store {label!r} is not ingestable", hint="name another, or set its ingestable = true"
        )


def _check_name(key: str, text: str) -> None:
    try:
        Name.parse(text)
    except NameInvalid as exc:
        raise ConfigInvalid(f"{key}: {exc.message}", hint=exc.hint or '"" or a form like "a/b"') from exc


def _check_marker(key: str, text: str) -> None:
    try:
        MemberPath.parse(text)
    except NameInvalid as exc:
        raise ConfigInvalid(f"{key}: {exc.message}", hint=exc.hint) from exc
    if "/" in text:
        raise ConfigInvalid(f"{key}: {text!r} is not directly in the book", hint="a name without '/'")


def _directories(settings: SiteSettings) -> Iterator[tuple[str, PurePath]]:
    for index, store in enumerate(settings.store):
        yield f"store[{index}].path", PurePath(store.path)
    for index, intake in enumerate(settings.intake):
        yield f"intake[{index}].path", PurePath(intake.path)


def _check_directories(settings: SiteSettings) -> None:
    """Check that stores and drop directories do not contain one another, nor the daemon's own files.

    A catalog in a drop directory would be ingested; a store in a store would be an unknown file there.
    """
    seen: list[tuple[str, PurePath]] = []
    for key, path in _directories(settings):
        for other_key, other in seen:
            if path == other:
                raise ConfigInvalid(f"{key}: {str(path)!r} is {other_key} too", hint="give each its own directory")
            if path.is_relative_to(other) or other.is_relative_to(path):
                inner, outer = (key, other_key) if path.is_relative_to(other) else (other_key, key)
                raise ConfigInvalid(f"{key}: {inner} lies in {outer}", hint="put them beside one another")
        if PurePath(settings.state).is_relative_to(path):
            raise ConfigInvalid(
                f"{key}: the daemon's own directory {settings.state!r} lies in it",
                hint="set state or the path",
            )
        seen.append((key, path))


def _host(key: str, text: str, hint: str = 'such as "127.0.0.1:7400" or "[::1]:7400"', *, least_port: int = 1) -> str:
    """The host of ``HOST:PORT``; ``least_port`` is 0 if nobody else needs to know the port."""
    try:
        return host_port.parse(text, least_port)[0]
    except ValueError as exc:
        raise ConfigInvalid(f"{key}: {exc}", hint=hint) from exc


def _check_address(table: str, listen: str, advertise: str) -> None:
    host = _host(f"{table}.listen", listen)
    if advertise:
        if _host(f"{table}.advertise", advertise) in host_port.WILDCARDS:
            raise ConfigInvalid(
                f"{table}.advertise: other sites cannot dial {advertise!r}",
                hint="the name or address of this host",
            )
    elif host in host_port.WILDCARDS:
        raise ConfigInvalid(
            f"{table}.advertise: missing, and other sites cannot dial {listen!r}",
            hint=f"set {table}.advertise to HOST:PORT by which they reach this host",
        )


def _check_page(listen: str) -> None:
    hint = "the page has no accounts, so only this machine may use it; from elsewhere: ssh -L 7480:127.0.0.1:7480"
    if listen and not is_loopback(_host("page.listen", listen, hint, least_port=0)):
        raise ConfigInvalid(f"page.listen: {listen!r} is no loopback address", hint=hint)


def _check_notify(settings: SiteSettings) -> None:
    seen: set[str] = set()
    for index, channel in enumerate(settings.notify):
        if channel.label in seen:
            raise ConfigInvalid(f"notify[{index}].label: {channel.label!r} is taken", hint="labels are unique")
        seen.add(channel.label)
        if bool(channel.url) == bool(channel.url_file):
            raise ConfigInvalid(
                f"notify[{index}].url: give either url or url_file",
                hint="such as mailto://user:password@example.org; a file keeps the secret out of site.toml",
            )


def _check_bus(bus: BusSettings) -> None:
    if bus.mode == "embedded":
        _check_address("bus", bus.listen, bus.advertise)
        for key, address in (("bus.leaf_listen", bus.leaf_listen), ("bus.leaf_advertise", bus.leaf_advertise)):
            if address:
                _host(key, address)
    if bus.mode != "external":
        if bus.url:
            raise ConfigInvalid(
                f'bus.url: is not used in mode "{bus.mode}"', hint='set bus.mode = "external", or remove it'
            )
        return
    if not bus.url:
        raise ConfigInvalid('bus.url: missing in mode "external"', hint='such as "nats://127.0.0.1:4222"')
    found = _BUS_URL.match(bus.url)
    try:
        host_port.parse(found["server"] if found else "")
    except ValueError:
        # The URL may hold a password: it is not repeated.
        raise ConfigInvalid("bus.url: is not of the form nats://[user:password@]HOST:PORT") from None


def _check_adapters(settings: SiteSettings) -> None:
    order = settings.adapters.order
    if not order:
        raise ConfigInvalid("adapters.order: names no adapter", hint='["http"]')
    if len(set(order)) != len(order):
        raise ConfigInvalid("adapters.order: names an adapter twice")
    for name in settings.adapters.limits:
        if name not in order:
            raise ConfigInvalid(f"adapters.limits.{name}: adapter {name!r} is not in adapters.order")
    for name in settings.adapters.settings:
        if name not in order:
            raise ConfigInvalid(
                f"adapters.settings.{name}: adapter {name!r} is not in adapters.order",
                hint=f"one of: {', '.join(order)}",
            )
