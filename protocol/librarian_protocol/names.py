"""Names: of files in the one namespace, of members inside a book, of sites.

The rules are checked once at the edge and held in a type that is valid ever after: relative, NFC UTF-8, no control
characters, no ``.``/``..``/empty components, components of at most 255 bytes, 1024 bytes in all.
Each violation has a message of its own, because the person who reads it must know what to rename.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Self

from librarian_protocol.errors import NameInvalid, SiteNameInvalid

#: NAME_MAX of every filesystem we store on.
MAX_COMPONENT_BYTES = 255
#: Leaves room below PATH_MAX (4096) for the store's root and a member's path.
MAX_NAME_BYTES = 1024
#: What the store keeps for itself beside the namespace (docs/architecture.md).
RESERVED_COMPONENT = ".librarian"

_SITE = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
#: Tokens that stand where a site's name could stand in a subject.
RESERVED_SITE_NAMES = frozenset({"rpc", "head", "inbox", "pull", "reset", "join", "joined"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _shown(raw: str | bytes) -> str:
    """The offending name, made safe for a terminal and cut to a length a log line bears."""
    plain = raw if isinstance(raw, str) else raw.decode("utf-8", "surrogateescape")
    text = ascii(plain).replace("\\udc", "\\x")  # a byte that is not UTF-8
    return text if len(text) <= 120 else f"{text[:100]}… ({len(raw)} long)"


def _is_plain(raw: str | bytes) -> bool:
    """Whether it is a name that breaks no rule, as nearly all do: asked in this way it costs a fifth. False says
    nothing.
    """
    return (
        isinstance(raw, str)
        and 0 < len(raw) <= MAX_COMPONENT_BYTES
        and raw.isascii()
        and raw.isprintable()
        and raw[0] not in "./"
        and raw[-1] != "/"
        and "//" not in raw
        and "/." not in raw
    )


def _checked(raw: str | bytes, what: str) -> str:
    if isinstance(raw, bytes):
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise NameInvalid(f"{what} {_shown(raw)} is not valid UTF-8") from exc
    else:
        text = raw
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as exc:
                raise NameInvalid(f"{what} {_shown(raw)} is not valid UTF-8") from exc
    if not text:
        raise NameInvalid(f"{what} is empty")
    if text.startswith("/"):
        raise NameInvalid(f"{what} {_shown(raw)} is absolute", hint="give it relative to the namespace's root")
    if "\x00" in text:
        raise NameInvalid(f"{what} {_shown(raw)} contains a NUL byte")
    if _CONTROL.search(text):
        raise NameInvalid(f"{what} {_shown(raw)} contains a control character")
    if not unicodedata.is_normalized("NFC", text):
        raise NameInvalid(
            f"{what} {_shown(raw)} is not in Unicode normal form C (NFC)", hint="rename it to its NFC form"
        )
    for component in text.split("/"):
        if not component:
            raise NameInvalid(f"{what} {_shown(raw)} has an empty component")
        if component in {".", ".."}:
            raise NameInvalid(f"{what} {_shown(raw)} has the component {component!r}")
        if len(component) > MAX_COMPONENT_BYTES // 4 and len(component.encode()) > MAX_COMPONENT_BYTES:
            raise NameInvalid(f"{what} {_shown(raw)} has a component longer than {MAX_COMPONENT_BYTES} bytes")
    if len(text) > MAX_NAME_BYTES // 4 and len(text.encode()) > MAX_NAME_BYTES:
        raise NameInvalid(f"{what} {_shown(raw)} is longer than {MAX_NAME_BYTES} bytes")
    return text


class Name(str):
    """A file's POSIX path in the namespace shared by all sites. Make one with :meth:`parse` only."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: str | bytes) -> Self:
        """Check every rule of docs/architecture.md.

        Raises:
            NameInvalid: which rule is broken.
        """
        if _is_plain(raw):
            return cls(raw)
        text = _checked(raw, "name")
        if text.split("/", 1)[0].casefold() == RESERVED_COMPONENT:
            raise NameInvalid(
                f"name {_shown(raw)} begins with {RESERVED_COMPONENT!r}, which every store keeps for itself"
            )
        return cls(text)

    @property
    def folded(self) -> str:
        """The form by which twins that differ only in letter case are found."""
        return unicodedata.normalize("NFC", self.casefold())


class MemberPath(str):
    """The path of a member inside its book: the same rules as a name. Make one with :meth:`parse` only."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: str | bytes) -> Self:
        """Check every rule of docs/architecture.md.

        Raises:
            NameInvalid: which rule is broken.
        """
        return cls(raw if _is_plain(raw) else _checked(raw, "member"))


class SiteName(str):
    """The short name of a site, a token of every subject it publishes. Make one with :meth:`parse` only."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: str) -> Self:
        """Check the form ``[a-z][a-z0-9-]{0,30}``.

        Raises:
            SiteNameInvalid: the form is broken, or the name is reserved.
        """
        if not _SITE.match(raw):
            raise SiteNameInvalid(
                f"site name {_shown(raw)} is not of the form [a-z][a-z0-9-]{{0,30}}",
                hint="a lower-case letter, then lower-case letters, digits, '-'; 31 characters at most",
            )
        if raw in RESERVED_SITE_NAMES:
            raise SiteNameInvalid(f"site name {raw!r} is reserved: it is a word of the bus's subjects")
        return cls(raw)
