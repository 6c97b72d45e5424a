"""Every subject and stream name of the bus, built here and nowhere else (docs/events.md)."""

from __future__ import annotations

from librarian_protocol.errors import SegmentInvalid
from librarian_protocol.names import SiteName

#: Header that carries a segment's signature beside its payload.
SIGNATURE_HEADER = "Lb-Signature"
#: Header by which JetStream drops a repeated publish.
MESSAGE_ID_HEADER = "Nats-Msg-Id"


def stream(site: SiteName) -> str:
    """The one stream a site publishes into."""
    return f"LB_{site}"


def stream_subjects(site: SiteName) -> list[str]:
    """What the site's stream stores: everything under its own name."""
    return [f"lb.{site}.>"]


def journal(site: SiteName, kind: str) -> str:
    """Where a segment of this kind is published: ``lb.<site>.<noun>.<verb>``."""
    return f"lb.{site}.{kind}"


def kind_of_journal(subject: str, site: SiteName) -> str:
    """The kind that a subject of the site's journal names.

    Raises:
        SegmentInvalid: the subject is not one of that site's journal.
    """
    prefix = f"lb.{site}."
    kind = subject.removeprefix(prefix)
    if not subject.startswith(prefix) or kind.count(".") != 1:
        raise SegmentInvalid(f"subject {ascii(subject)[:120]} is not one of the journal of site {site!r}")
    return kind


def mail(sender: SiteName, to: SiteName, verb: str) -> str:
    """Where mail to one site is published, in the sender's own stream: ``lb.<sender>.mail.<to>.<verb>``."""
    return f"lb.{sender}.mail.{to}.{verb}"


def is_mail(subject: str, sender: SiteName) -> bool:
    """Whether a message of the sender's stream is mail; else it is of its journal."""
    return subject.startswith(f"lb.{sender}.mail.")


def head(site: SiteName) -> str:
    """Where a site announces every journal end that it holds."""
    return f"lb.head.{site}"


def rpc(answerer: SiteName, asker: SiteName, what: str) -> str:
    """Where one site asks another: the permissions of every server on the way say who may ask."""
    return f"lb.rpc.{answerer}.{asker}.{what}"


def consumer(origin: SiteName, reader: SiteName) -> str:
    """The durable pull consumer that the origin keeps for one reader."""
    return f"{origin}_to_{reader}"


def pull(origin: SiteName, reader: SiteName) -> str:
    """Where a reader asks for the next messages: a service import at the origin."""
    return f"lb.pull.{origin}.{reader}"


def reset(origin: SiteName, reader: SiteName) -> str:
    """Where a reader sets its consumer back to its own cursor."""
    return f"lb.reset.{origin}.{reader}"


def inbox(asker: SiteName, answerer: SiteName, token: str) -> str:
    """Where answers of one peer to one question arrive; ``token`` is 128 random bits."""
    return f"lb.inbox.{asker}.{answerer}.{token}"


def join(inviter: SiteName) -> str:
    """Where an invited site asks to be admitted."""
    return f"lb.join.{inviter}"


def joined(inviter: SiteName, key: str) -> str:
    """Where the inviter answers the invited bus user of this public NKEY."""
    return f"lb.joined.{inviter}.{key}"
