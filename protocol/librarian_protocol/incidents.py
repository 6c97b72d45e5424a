"""What an operator can be told of: one stable code for each, what it means, and what to do (docs/incidents.md).

An incident is *open* from when it happened, *acknowledged* when a person has seen it, *resolved* when it is over. Most
end by themselves when their cause is gone; what has no such end is over when a person acknowledges it. Whatever
happens again after that is open again.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """How urgent it is."""

    #: Data may be at risk, or a site is lying: somebody must look now.
    CRITICAL = "critical"
    #: Something does not go on, or soon will not.
    WARNING = "warning"
    #: Good to know; nothing needs to be done.
    INFO = "info"


class State(StrEnum):
    """Where an incident is in its life."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """One code."""

    severity: Severity
    title: str
    meaning: str
    #: What to do, step by step.
    steps: tuple[str, ...]
    #: Whether the daemon notices when it is over. Else it is over when a person acknowledges it.
    ends_by_itself: bool = True


CODES: dict[str, About] = {
    "bus-amnesia": About(
        severity=Severity.WARNING,
        title="The bus has forgotten what it had acknowledged",
        meaning="The stream of this site was made anew, or ends earlier than before. The journal in the catalog is the"
        " record; what the bus lost is published again, and receivers know what they have.",
        steps=(
            "Nothing for the data: it heals by itself. `lbctl status` shows how many segments still go out.",
            "Find out why: the disk of the bus server, a restored backup, or an external server whose sync_interval"
            " is not `always` (nats/README.md).",
        ),
    ),
    "bus-disconnected": About(
        severity=Severity.WARNING,
        title="The bus is not connected",
        meaning="Files are taken in and kept; they are announced when the bus is back.",
        steps=(
            "`lbctl doctor` checks the server, the link and the keys.",
            "Look at the network and at nats-server.log.",
        ),
    ),
    "bus-unavailable": About(
        severity=Severity.WARNING,
        title="Segments cannot be published",
        meaning="The bus does not acknowledge what is published. Segments wait in the outbox, on disk, in order.",
        steps=("`lbctl status` shows the outbox and the bus.", "`lbctl doctor` checks the server."),
    ),
    "bus-unsafe": About(
        severity=Severity.WARNING,
        title="The bus can lose what it has acknowledged",
        meaning="A setting of the server is not as nats/README.md asks, or cannot be verified. Journals and heads heal"
        " what the bus loses, later than it should be.",
        steps=("Use the built-in server, or change the setting that the message names.",),
    ),
    "catalog-behind": About(
        severity=Severity.CRITICAL,
        title="The catalog is older than what it has said",
        meaning="The catalog was lost, or restored from a backup: stores or other sites know entries of this site that"
        " it does not hold. It fetches them, states again what the disks show, and vouches for nothing meanwhile.",
        steps=(
            "Nothing at first: `lbctl status` shows what recovery waits for.",
            "If it waits for a site that will not come back, revoke that site.",
        ),
    ),
    "chain-broken": About(
        severity=Severity.CRITICAL,
        title="A site's journal does not continue itself",
        meaning="A segment names a predecessor that does not end where it begins, or is later in epoch. It is kept and"
        " not applied; nothing of that site is believed from there on.",
        steps=(
            "Ask the operators of that site what happened to it; keep both catalogs.",
            "An administrator admits the site again with a cut-off (docs/keys.md).",
        ),
        ends_by_itself=False,
    ),
    "conflict": About(
        severity=Severity.WARNING,
        title="Two digests under one name",
        meaning="Two sites ingested different bytes under one name. Both stay where they are; neither is transferred.",
        steps=("`lbctl file show NAME` lists both, and who has them.", "`lbctl file resolve NAME --keep DIGEST`."),
    ),
    "entry-refused": About(
        severity=Severity.WARNING,
        title="A site said what it may not say",
        meaning="The entry stays in its journal and is not applied: it lies outside the site's grants or rights, or is"
        " malformed.",
        steps=("Tell the operators of that site.", "If it should be allowed, widen its grants: `lbctl site set`."),
        ends_by_itself=False,
    ),
    "equivocation": About(
        severity=Severity.CRITICAL,
        title="A site told two stories",
        meaning="Two segments with one number, both signed. Both are kept as proof; nothing of that incarnation counts"
        " from there on, at any site. A virtual machine that was resumed from a snapshot can do this honestly.",
        steps=(
            "Ask the operators of that site what happened to it.",
            "An administrator admits the site again with a cut-off (docs/keys.md).",
        ),
        ends_by_itself=False,
    ),
    "instance-doubted": About(
        severity=Severity.WARNING,
        title="A reader complained about an instance",
        meaning="Somebody received wrong bytes, or none. The owner reads the whole instance again and answers.",
        steps=("Nothing: the owner answers by itself.", "`lbctl explain NAME` shows who waits for what."),
    ),
    "instance-suspected": About(
        severity=Severity.CRITICAL,
        title="An instance is not what it should be",
        meaning="It was read and found wrong, or could not be read. It is served to nobody; other instances are.",
        steps=(
            "`lbctl file show NAME` lists the others.",
            "Look at the disk and at the kernel's log.",
            "`lbctl file verify NAME` reads it again; where it is right now, that ends this.",
        ),
    ),
    "intake-paused": About(
        severity=Severity.WARNING,
        title="A drop directory is not taken in",
        meaning="Its store is full or away, or the directory cannot be read. What is dropped stays where it is.",
        steps=("Remove the cause that the message names; it goes on by itself.",),
    ),
    "intake-refused": About(
        severity=Severity.WARNING,
        title="A dropped thing was refused",
        meaning="It breaks a rule for names or contents, or its name is taken by other bytes. It stands in `.rejected`,"
        " with the reason beside it. Nothing is lost.",
        steps=("Read REASON.txt.", "Put it right and drop it again; empty `.rejected` when done: that ends this."),
    ),
    "intake-stuck": About(
        severity=Severity.WARNING,
        title="A dropped thing cannot be taken",
        meaning="It cannot be moved out of its writer's reach: rights are missing, or it stands on another filesystem.",
        steps=("Give the daemon's user write access to it and to its directory.",),
        ends_by_itself=False,
    ),
    "join-refused": About(
        severity=Severity.WARNING,
        title="A newcomer was refused",
        meaning="It came with a token that is spent or expired, or under a name or with keys that belong to another.",
        steps=("If it was meant to join, invite it again: `lbctl site invite`.", "If not, find out who had the token."),
        ends_by_itself=False,
    ),
    "join-token": About(
        severity=Severity.WARNING,
        title="The token that waits here cannot be used",
        meaning="A token stands in the state directory and is not good: malformed, expired, or of another mesh.",
        steps=("Ask the inviter for a new one, then `lbctl site join TOKEN`.",),
    ),
    "journal-stalled": About(
        severity=Severity.WARNING,
        title="A site's journal does not advance",
        meaning="Segments of it wait for what comes before them, or it is no longer believed.",
        steps=("Nothing for a gap: what is missing is asked for.", "`lbctl events verify` tells where it stops."),
    ),
    "letters-missing": About(
        severity=Severity.WARNING,
        title="Letters from a site were lost on the way",
        meaning="This site's access is callback: it is told by letter what it is offered. Their chain has a hole, so it"
        " may not know of files that it could have.",
        steps=("Nothing: the sender is asked to tell everything again.",),
    ),
    "many-anomalies": About(
        severity=Severity.CRITICAL,
        title="Many instances of one store look wrong at once",
        meaning="A disk, its controller or its mount is a likelier cause than the files. No more of them are suspected"
        " by the daemon itself; nothing is moved or deleted. What is read is still compared by its reader.",
        steps=(
            "Look at the disk, at the kernel's log, and at what is mounted at the store's path.",
            "Where the cause is gone: `lbctl reconcile` looks again, and that ends this.",
            "Where the instances are lost: `lbctl reconcile --all` says so of each of them.",
        ),
    ),
    "message-refused": About(
        severity=Severity.WARNING,
        title="A message was not believed",
        meaning="It is malformed, was not signed by the site's key, or speaks for another site. It was passed over.",
        steps=(
            "Compare the site's key at both ends: `lbctl site list`.",
            "Where they agree, somebody uses the site's bus keys: rotate them and tell its operators.",
        ),
        ends_by_itself=False,
    ),
    "join-waits": About(
        severity=Severity.INFO,
        title="A newcomer waits to be admitted",
        meaning="It holds a token that asks for a person to compare fingerprints first.",
        steps=("`lbctl site pending` shows its fingerprint; compare it with its people.", "`lbctl site confirm`."),
    ),
    "name-not-moved": About(
        severity=Severity.WARNING,
        title="A file could not be set aside, or could not get its name back",
        meaning="It was decided which file has a name; what stands at the name is not what was decided about, or the"
        " filesystem does not do it. Nothing was deleted.",
        steps=("Look at what stands at the name in the store.", "It is tried again by itself."),
    ),
    "notify-failed": About(
        severity=Severity.WARNING,
        title="Nobody could be told by a channel",
        meaning="A message about incidents did not go out. They are kept, and told when the channel works again.",
        steps=(
            "`lbctl notify test LABEL` tries it, and shows what the service says.",
            "Look at the URL of `[[notify]]` in site.toml, and at the way to the service.",
        ),
    ),
    "rewound": About(
        severity=Severity.WARNING,
        title="A site's catalog was restored from a backup",
        meaning="Its journal has two branches. Both are kept; the site fetches what it had lost and states again what"
        " its disks show.",
        steps=("Ask the operators of that site what happened to it.", "Its own `lbctl status` shows how it recovers."),
        ends_by_itself=False,
    ),
    "service-failed": About(
        severity=Severity.CRITICAL,
        title="A part of the daemon was begun again",
        meaning="The catalog or a store failed under it. It is tried again, ever more seldom.",
        steps=("Look at the catalog's disk or database server, and at the daemon's log.",),
    ),
    "store": About(
        severity=Severity.CRITICAL,
        title="A store is not usable",
        meaning="It is not mounted, or its filesystem fails. Nothing of it is given up meanwhile.",
        steps=("Mount it; or look at its disk and at the kernel's log.",),
    ),
    "unknown-files": About(
        severity=Severity.INFO,
        title="Files stand in a store that the catalog knows nothing of",
        meaning="Nobody should write into a store but the daemon. They are left where they are: not served, not moved,"
        " not deleted.",
        steps=(
            "`lbctl reconcile` names some of them.",
            "Move them out of the store, or into a drop directory to have them taken in.",
        ),
    ),
    "transfer-parked": About(
        severity=Severity.WARNING,
        title="A transfer needs a person",
        meaning="It failed for one reason more often than patience allows.",
        steps=("`lbctl transfer show ID` says why and what to do.", "Then `lbctl transfer retry ID`."),
    ),
}


def about(code: str) -> About:
    """What is known of a code; for one of a later version, that it must be looked at."""
    return CODES.get(code) or About(
        severity=Severity.WARNING,
        title=code,
        meaning="This version does not know the code.",
        steps=("Read its message.",),
        ends_by_itself=False,
    )
