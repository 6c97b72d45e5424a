"""The settings of a site's stream and of its readers' consumers. ``nats/README.md`` has the reasons."""

from __future__ import annotations

from typing import Any

from librarian_protocol import subjects
from librarian_protocol.entries import Access
from librarian_protocol.names import SiteName

#: The directory of a server's streams, below its own directory.
STREAMS = "jetstream"
#: A full stream drops its oldest messages: journals heal that. 20 GiB hold about 10^8 entries.
STREAM_MAX_BYTES = 20 << 30
_NANOSECONDS = 1_000_000_000


def stream_config(site: SiteName) -> dict[str, Any]:
    """A site's stream."""
    return {
        "name": subjects.stream(site),
        "subjects": subjects.stream_subjects(site),
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "deny_delete": True,
        "max_bytes": STREAM_MAX_BYTES,
        "max_age": 0,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_consumers": -1,
        "duplicate_window": 600 * _NANOSECONDS,
    }


def consumer_config(origin: SiteName, reader: SiteName, access: str) -> dict[str, Any]:
    """The durable consumer that an origin keeps for one reader. No acks: the cursor is in the reader's catalog.

    It delivers the journal and the reader's own mail; to a callback site only its mail.
    """
    name = subjects.consumer(origin, reader)
    mail = subjects.mail(origin, reader, "*")
    return {
        "filter_subjects": [mail] if access == Access.CALLBACK else [subjects.journal(origin, "*.*"), mail],
        "name": name,
        "durable_name": name,
        "deliver_policy": "all",
        "ack_policy": "none",
        "replay_policy": "instant",
        "max_deliver": -1,
        "max_waiting": 8,
    }
