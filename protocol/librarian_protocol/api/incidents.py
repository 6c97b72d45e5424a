"""What is wrong."""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, kw_only=True):
    """Something an operator must know of: an open incident, or what a check found."""

    code: str
    subject: str
    message: str
    hint: str = ""
    since: str = ""
    count: int = 1
    #: Of the incident; None where it was found just now and is no incident of its own.
    id: int | None = None
    severity: str = "warning"
    #: A person has seen it: it no longer makes the site unhealthy.
    acknowledged: bool = False


class Incident(msgspec.Struct, kw_only=True):
    """Something that happened, from when it was opened to when it was over."""

    id: int
    code: str
    subject: str
    #: ``open``, ``acknowledged`` or ``resolved``.
    state: str
    severity: str
    title: str
    message: str
    hint: str
    opened_at: str
    last_at: str
    count: int
    acknowledged_at: str | None
    note: str
    resolved_at: str | None
    #: Only in the answer about a single one.
    meaning: str = ""
    steps: list[str] = []


class IncidentPage(msgspec.Struct, kw_only=True):
    """A page of incidents, newest first; ``next`` asks for the following one."""

    incidents: list[Incident]
    next: int | None


class Acknowledge(msgspec.Struct, kw_only=True):
    """A person has seen an incident."""

    note: str = ""


class AcknowledgeMany(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /incidents/ack``: a person has seen those of one code, or all; one of both must be given."""

    code: str = ""
    all: bool = False
    note: str = ""


class Acknowledged(msgspec.Struct, kw_only=True):
    """How many incidents were acknowledged that were not before."""

    incidents: int
