"""Which subjects are used for what: the one place that knows how a shared server differs from an external one.

On an embedded server each site that it serves has two accounts, and readers reach the origin's consumer through
the service imports ``lb.pull.…`` and ``lb.reset.…``. On an external server all sites are users of one account and
call JetStream's API by its own names.
"""

from __future__ import annotations

from librarian_protocol import subjects
from librarian_protocol.entries import Access
from librarian_protocol.names import SiteName

_API = "$JS.API"
#: Placeholder for a site's name, in permissions only.
_ANY = SiteName("*")


# ---- JetStream's own names ---------------------------------------------------------------------------


def stream_api(verb: str, site: SiteName) -> str:
    """``CREATE``, ``UPDATE`` or ``INFO`` of the site's stream."""
    return f"{_API}.STREAM.{verb}.{subjects.stream(site)}"


def create_consumer(origin: SiteName, reader: SiteName) -> str:
    """Making the reader's consumer, or changing it."""
    return f"{_API}.CONSUMER.CREATE.{subjects.stream(origin)}.{subjects.consumer(origin, reader)}"


def next_message(origin: SiteName, reader: SiteName) -> str:
    """Asking the reader's consumer for messages."""
    return f"{_API}.CONSUMER.MSG.NEXT.{subjects.stream(origin)}.{subjects.consumer(origin, reader)}"


def reset_consumer(origin: SiteName, reader: SiteName) -> str:
    """Setting the reader's consumer back."""
    return f"{_API}.CONSUMER.RESET.{subjects.stream(origin)}.{subjects.consumer(origin, reader)}"


# ---- what a reader uses ------------------------------------------------------------------------------


class Shared:
    """The two accounts of an embedded server."""

    def pull(self, origin: SiteName, reader: SiteName) -> str:
        """Where the reader asks for messages."""
        return subjects.pull(origin, reader)

    def reset(self, origin: SiteName, reader: SiteName) -> str:
        """Where the reader sets its consumer back."""
        return subjects.reset(origin, reader)

    def inbox(self, asker: SiteName, answerer: SiteName, token: str) -> str:
        """Where answers arrive: the permissions say who may listen there."""
        return subjects.inbox(asker, answerer, token)

    def request_inbox(self, site: SiteName) -> str:
        """Prefix of the inboxes of the site's journal connection."""
        return f"_INBOX_{site}"


class External:
    """One account for all, with permissions that we do not know."""

    def pull(self, origin: SiteName, reader: SiteName) -> str:
        """Where the reader asks for messages."""
        return next_message(origin, reader)

    def reset(self, origin: SiteName, reader: SiteName) -> str:
        """Where the reader sets its consumer back."""
        return reset_consumer(origin, reader)

    def inbox(self, asker: SiteName, answerer: SiteName, token: str) -> str:
        """Where answers arrive: every client may listen below ``_INBOX``, as a rule."""
        return f"_INBOX.{asker}.{answerer}.{token}"

    def request_inbox(self, site: SiteName) -> str:
        """Prefix of the inboxes of the site's journal connection."""
        return f"_INBOX.{site}"


Addressing = Shared | External


# ---- what the permissions of an embedded server allow ------------------------------------------------


def journal_publish(site: SiteName) -> list[str]:
    """A site's journal connection: its own subjects and the least of the API. No DELETE, PURGE or MSG.NEXT."""
    return [
        *subjects.stream_subjects(site),
        *(stream_api(verb, site) for verb in ("CREATE", "UPDATE", "INFO")),
        f"{_API}.CONSUMER.CREATE.{subjects.stream(site)}.*",
    ]


def journal_subscribe(site: SiteName) -> list[str]:
    """A site's journal connection hears answers to its own requests."""
    return [f"{Shared().request_inbox(site)}.>"]


def link_publish(site: SiteName, access: str, *, local: bool) -> list[str]:
    """What a site's link may publish, always as itself: questions to any origin, answers, its heads.

    A callback site asks nobody for journals. ``local``: the link of this server's own site, which also asks to be
    admitted elsewhere, and answers who asks it.
    """
    found = [
        subjects.pull(_ANY, site),
        subjects.reset(_ANY, site),
        subjects.inbox(_ANY, site, ">"),
        subjects.head(site),
    ]
    if access != Access.CALLBACK:
        found.append(subjects.rpc(_ANY, site, ">"))
    return found + ([subjects.join(_ANY), f"lb.joined.{site}.*"] if local else [])


def link_subscribe(site: SiteName, access: str, *, local: bool) -> list[str]:
    """A site's link hears answers to itself, questions to itself, and heads; that of the server's own site also join
    requests.
    """
    found = [f"lb.inbox.{site}.>", f"lb.rpc.{site}.>"]
    if access != Access.CALLBACK:
        found.append(subjects.head(_ANY))
    return found + ([subjects.join(site), "lb.joined.>"] if local else [])


def leaf_publish(site: SiteName, access: str) -> list[str]:
    """What may come in over a site's leaf link: what its link may publish."""
    return link_publish(site, access, local=False)


def leaf_subscribe(site: SiteName, access: str) -> list[str]:
    """What may go out over a site's leaf link: what its link hears, and others' requests for its own stream.

    Literal names: a server announces interest only where the whole wildcard fits inside the other side's list.
    """
    return [subjects.pull(site, _ANY), subjects.reset(site, _ANY), *link_subscribe(site, access, local=False)]


def invited_publish(inviter: SiteName) -> list[str]:
    """An invited user asks to be admitted."""
    return [subjects.join(inviter)]


def invited_subscribe(inviter: SiteName, key: str) -> list[str]:
    """It hears the answers to it, and nothing else. (An empty list would allow everything.)"""
    return [subjects.joined(inviter, key)]


def system_publish() -> list[str]:
    """The daemon's own system user: whose leaf links there are, and cutting them. Nothing else of the server."""
    return ["$SYS.REQ.SERVER.*.KICK", "$SYS.REQ.SERVER.*.LEAFZ"]


def system_subscribe() -> list[str]:
    """Answers to it."""
    return [f"{SYSTEM_INBOX}.>"]


#: Prefix of the inboxes of the system connection.
SYSTEM_INBOX = "_INBOX_SYS"
