"""Journals: entries, exported records, checks."""

from __future__ import annotations

import msgspec


class JournalRecord(msgspec.Struct, kw_only=True):
    """A segment as text, exactly as received, and its signature."""

    payload: str
    signature: str


class JournalPage(msgspec.Struct, kw_only=True):
    """Segments, none before its predecessor; ``next`` asks for the following page."""

    records: list[JournalRecord]
    next: str | None


class JournalRecords(msgspec.Struct, kw_only=True):
    """Body of ``POST /journal``."""

    records: list[JournalRecord]


class JournalTaken(msgspec.Struct, kw_only=True):
    """What became of them: how many by verdict, and why some were not believed."""

    verdicts: dict[str, int]
    problems: list[str]


class ExportSeal(msgspec.Struct, kw_only=True):
    """Body of ``POST /journal/seal``: what the file holds."""

    segments: int
    chain: str


class ExportLine(msgspec.Struct, kw_only=True):
    """A line that the daemon makes for an exported file."""

    line: str


class Event(msgspec.Struct, kw_only=True):
    """One journal entry in ``/events``."""

    site: str
    epoch: int
    incarnation: str
    seq: int
    at: str
    kind: str
    #: Position for ``after``: the row of its segment in this catalog.
    position: int
    entry: msgspec.Raw


class JournalReport(msgspec.Struct, kw_only=True):
    """What re-checking one site's journal found; ``problems`` is empty where it is whole."""

    site: str
    segments: int
    entries: int
    last_seq: int
    hash: str
    problems: list[str]
