"""``site.toml`` and the environment become :class:`SiteSettings`, or an error that names the key.

In order: the file, the overlay of ``LIBRARIAN_…`` variables, unknown keys, types, paths made absolute, and
what must hold between keys (:mod:`librarian_daemon.config.checks`). Only the file itself is opened: the users of a
directory or a key check that it exists and is private.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import inspect

from librarian_daemon.config.checks import check
from librarian_daemon.config.groups import group_id
from librarian_daemon.config.settings import SiteSettings
from librarian_protocol import wire
from librarian_protocol.errors import ConfigInvalid, InputError

ENVIRONMENT = "LIBRARIAN_"
SQLITE = "sqlite:///"

_TYPES = inspect.type_info(SiteSettings)
_AT = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`\Z")
#: TOML's names of msgspec's types.
_WORDS = {"object": "table", "bool": "boolean", "str": "text", "int": "integer", "float": "number"}
_FORMS = {
    "[a-z0-9]": "lower-case letters, digits and '-', not beginning with '-'; 63 characters at most",
    "0[0-7]": 'an octal mode in quotes, such as "0444"',
    "(?:|0[0-7]": 'an octal mode of four digits in quotes, such as "2750"',
}


def load(path: Path, environ: Mapping[str, str] | None = None) -> SiteSettings:
    """The settings of one site. ``environ`` is the process's environment where not given.

    Raises:
        ConfigInvalid: the file cannot be read, or a key is unknown, of the wrong type, or contradicts
            another; the message begins with the file and the key's path.
    """
    path = path.absolute()
    tables = _read(path)
    overlaid = _overlay(tables, os.environ if environ is None else environ)
    try:
        _refuse_unknown(tables, _TYPES, "")
        settings = _absolute(_convert(tables), path.resolve().parent)
        check(settings)
        _check_groups(settings)
    except ConfigInvalid as exc:
        key = re.split(r"[:\[]", exc.message)[0]
        variables = [variable for name, variable in overlaid.items() if _concerns(name, key)]
        where = f"{path} with {', '.join(variables)}" if variables else str(path)
        raise ConfigInvalid(f"{where}: {exc.message}", hint=exc.hint) from exc
    return settings


def _concerns(overlaid: str, key: str) -> bool:
    return overlaid == key or key.startswith(f"{overlaid}.") or overlaid.startswith(f"{key}.")


def _check_groups(settings: SiteSettings) -> None:
    for index, store in enumerate(settings.store):
        try:
            if store.group:
                group_id(store.group)
        except ConfigInvalid as exc:
            raise ConfigInvalid(f"store[{index}].group: {exc.message}", hint=exc.hint) from exc


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ConfigInvalid(f"{path}: no such file", hint=f"`lbctl init {path.parent} --site NAME` writes one") from exc
    except OSError as exc:
        raise ConfigInvalid(f"{path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigInvalid(f"{path}: not UTF-8 at byte {exc.start}", hint="TOML is UTF-8 text") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigInvalid(f"{path}: not TOML: {exc}") from exc
    except RecursionError as exc:
        raise ConfigInvalid(f"{path}: nested too deep") from exc


def _overlay(tables: dict[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Put each variable at its key. Returns which key came from which variable."""
    overlaid: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT):
            continue
        keys = variable.removeprefix(ENVIRONMENT).lower().split("__")
        table: dict[str, Any] = tables
        for depth, key in enumerate(keys[:-1], start=1):
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ConfigInvalid(
                    f"{variable}: {'.'.join(keys[:depth])} is not a table",
                    hint='give arrays of tables whole: LIBRARIAN_STORE=\'[{label = "main", path = "/data"}]\'',
                )
            table = cast("dict[str, Any]", inner)
        table[keys[-1]] = _value(environ[variable])
        overlaid[".".join(keys)] = variable
    return overlaid


def _value(text: str) -> object:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # More than one key: the text held line breaks, and is no value of TOML.
    return parsed["value"] if len(parsed) == 1 else text


# ---- keys and types ------------------------------------------------------------------------------------


def _refuse_unknown(value: object, kind: inspect.Type, path: str) -> None:
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        for key, inner in cast("dict[str, object]", value).items():
            inner_path = f"{path}.{key}" if path else key
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                hint = f"did you mean {f'{path}.{near[0]}' if path else near[0]}?" if near else _choice(fields)
                raise ConfigInvalid(f"{inner_path}: unknown key", hint=hint)
            _refuse_unknown(inner, fields[key], inner_path)
    elif isinstance(kind, inspect.ListType) and isinstance(value, list):
        for index, inner in enumerate(cast("list[object]", value)):
            _refuse_unknown(inner, kind.item_type, f"{path}[{index}]")


def _choice(words: Mapping[str, object] | list[str]) -> str:
    return f"one of: {', '.join(words)}"


def _convert(tables: dict[str, Any]) -> SiteSettings:
    try:
        return msgspec.convert(tables, SiteSettings, dec_hook=wire.decode_hook)
    except msgspec.ValidationError as exc:
        found = _AT.match(str(exc))
        assert found is not None  # every text matches
        what, where = found["what"], found["where"] or ""
        missing = _MISSING.match(what)
        if missing:
            key = f"{where}.{missing[1]}" if where else missing[1]
            raise ConfigInvalid(f"{key}: missing", hint="it has no default") from exc
        hint = ""
        # Our own text types raise InputError, which wire and msgspec wrap in turn.
        parsed = exc.__cause__ and exc.__cause__.__cause__
        if isinstance(parsed, InputError):
            hint = parsed.hint
        elif "matching regex" in what:
            hint = next((form for start, form in _FORMS.items() if f"^{start}" in what), "")
            what = "not of the right form"
        elif "Invalid enum value" in what:
            hint = _choice(_members(where))
        for word, toml in _WORDS.items():
            what = what.replace(f"`{word}`", toml)
        raise ConfigInvalid(f"{where}: {what[:1].lower()}{what[1:]}", hint=hint) from exc


def _members(path: str) -> list[str]:
    """The words that the key at this path may hold."""
    kind: inspect.Type = _TYPES
    for part in re.findall(r"\w+", path):
        if isinstance(kind, inspect.StructType):
            kind = next(field.type for field in kind.fields if field.encode_name == part)
        elif isinstance(kind, inspect.ListType):
            kind = kind.item_type
    if isinstance(kind, inspect.EnumType):
        return [str(member.value) for member in kind.cls]
    return [str(value) for value in kind.values] if isinstance(kind, inspect.LiteralType) else []


# ---- paths ---------------------------------------------------------------------------------------------


def _absolute(settings: SiteSettings, base: Path) -> SiteSettings:
    replace = msgspec.structs.replace

    def of(path: str) -> str:
        return os.path.normpath(base / path) if path else ""

    state = of(settings.state) or str(base)
    socket = of(settings.socket) or os.path.join(state, "lbd.sock")
    read_socket = of(settings.control.read_socket) or os.path.join(os.path.dirname(socket), "lbd-read.sock")
    return replace(
        settings,
        state=state,
        socket=socket,
        control=replace(settings.control, read_socket=read_socket),
        store=[replace(store, path=of(store.path)) for store in settings.store],
        intake=[replace(intake, path=of(intake.path)) for intake in settings.intake],
        catalog=replace(
            settings.catalog,
            url=_catalog_url(settings.catalog.url, state),
            password_file=of(settings.catalog.password_file),
        ),
        notify=[replace(channel, url_file=of(channel.url_file)) for channel in settings.notify],
        bus=replace(settings.bus, password_file=of(settings.bus.password_file)),
        tls=replace(
            settings.tls,
            ca_file=of(settings.tls.ca_file),
            cert_file=of(settings.tls.cert_file),
            key_file=of(settings.tls.key_file),
        ),
    )


def _catalog_url(url: str, state: str) -> str:
    """The catalog is in ``state``, which may be another directory than the file's."""
    path = url.removeprefix(SQLITE)
    if path == url or path in {"", ":memory:"}:
        return url
    return SQLITE + os.path.normpath(os.path.join(state, path))


def key_paths() -> Iterator[str]:
    """Every key's path, ``bus.listen`` or ``store[].label``, in the order of its declaration."""
    yield from _paths(_TYPES, "")


def _paths(kind: inspect.Type, path: str) -> Iterator[str]:
    if isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield from _paths(field.type, f"{path}.{field.encode_name}" if path else field.encode_name)
    elif isinstance(kind, inspect.ListType) and isinstance(kind.item_type, inspect.StructType):
        yield from _paths(kind.item_type, f"{path}[]")
    else:
        yield path
