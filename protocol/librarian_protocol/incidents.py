"""The incidents that an operator can see: a stable code, its meaning, and what to do (docs/incidents/README.md).

An incident is *open* when it happens, *acknowledged* when a person has seen it, *resolved* when it is over. Most
incidents end by themselves when their cause is gone; the others are over when a person acknowledges them. If the same
thing happens again after that, the incident is open again.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """How urgent an incident is."""

    #: Data may be at risk, or a site publishes false entries: a person must look now.
    CRITICAL = "critical"
    #: Something has stopped, or soon will.
    WARNING = "warning"
    #: Good to know; nothing needs to be done.
    INFO = "info"


class State(StrEnum):
    """The state of an incident."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a code."""

    severity: Severity
    title: str
    meaning: str
    #: What to do, step by step.
    steps: tuple[str, ...]
    #: Whether the daemon notices that it is over. Otherwise it is over when a person acknowledges it.
    ends_by_itself: bool = True


CODES: dict[str, About] = {
    "bus-amnesia": About(
        severity=Severity.WARNING,
        title="The bus has lost messages that it had acknowledged",
        meaning="The stream of this site was created again, or ends earlier than before. The journal in the catalog is"
        " the record. The daemon publishes again what the bus lost; receivers ignore what they already have.",
        steps=(
            "Nothing for the data: it heals by itself. `lbctl status` shows how many segments are still to be sent.",
            "Find the cause: the disk of the bus server, a restored backup, or an external server whose sync_interval"
            " is not `always` (nats/README.md).",
        ),
    ),
    "bus-disconnected": About(
        severity=Severity.WARNING,
        title="The bus is not connected",
        meaning="The daemon takes in files and keeps them. It announces them when the bus is connected again.",
        steps=(
            "`lbctl doctor` checks the server, the link and the keys.",
            "Check the network, and read nats-server.log.",
        ),
    ),
    "bus-unavailable": About(
        severity=Severity.WARNING,
        title="Segments cannot be published",
        meaning="The bus does not acknowledge what this site sends. Segments wait in the outbox, on disk, in order.",
        steps=("`lbctl status` shows the outbox and the bus.", "`lbctl doctor` checks the server."),
    ),
    "bus-unsafe": About(
        severity=Severity.WARNING,
        title="The bus can lose what it has acknowledged",
        meaning="A setting of the server is not as nats/README.md requires, or cannot be verified. The sites recover"
        " what the bus loses from journals and heads, but later than normal.",
        steps=("Use the built-in server, or change the setting that the message names.",),
    ),
    "catalog-behind": About(
        severity=Severity.CRITICAL,
        title="The catalog is older than what this site has published",
        meaning="The catalog was lost, or restored from a backup: stores or other sites know entries of this site that"
        " the catalog does not hold. The daemon fetches these entries, and publishes again what the"
        " stores hold. Until that is done, it vouches for no file.",
        steps=(
            "Nothing at first: `lbctl status` shows what recovery waits for.",
            "If it waits for a site that will not come back, revoke that site.",
        ),
    ),
    "catalog-fault": About(
        severity=Severity.CRITICAL,
        title="The catalog cannot be written",
        meaning="A commit failed, or has been waiting for seconds. Until it succeeds, the daemon accepts and moves"
        " nothing. Dropped files stay in the drop directory or in its `.claimed`; intake continues by itself."
        " This incident is shown only while the fault lasts, because the catalog cannot record it.",
        steps=(
            "`lbctl doctor` checks the disk of the state directory and the files of the catalog.",
            "Does another process hold a lock on it? `fuser -v catalog.sqlite*` in the state directory. Back it up with"
            " SQLite's own `.backup`; never hold a lock for long.",
            "With PostgreSQL: is the server up, and may its user write?",
        ),
    ),
    "chain-broken": About(
        severity=Severity.CRITICAL,
        title="A segment does not continue its site's journal",
        meaning="A segment names a predecessor, but its number or its epoch does not follow that predecessor. This site"
        " keeps the segment and does not apply it. It applies nothing of that site from this segment on.",
        steps=(
            "Ask the operators of that site what happened to it; keep both catalogs.",
            "An administrator admits the site again with a cut-off (docs/keys.md).",
        ),
        ends_by_itself=False,
    ),
    "conflict": About(
        severity=Severity.WARNING,
        title="Two digests under one name",
        meaning="Two sites ingested different bytes under one name. Both files stay where they are; neither is"
        " transferred.",
        steps=(
            "`lbctl file show NAME` lists both, and the sites that have them.",
            "`lbctl file resolve NAME --keep DIGEST`.",
        ),
    ),
    "entry-refused": About(
        severity=Severity.WARNING,
        title="A site published an entry that it may not publish",
        meaning="The entry is malformed, or the grants or rights of the site do not allow it. It stays in the journal"
        " of that site and is not applied.",
        steps=(
            "Inform the operators of that site.",
            "If the entry should be allowed, widen the grants of the site: `lbctl site set`.",
        ),
        ends_by_itself=False,
    ),
    "equivocation": About(
        severity=Severity.CRITICAL,
        title="A site signed two different segments with one number",
        meaning="Both segments have a valid signature. Both are kept as proof. From that number on, no site applies"
        " anything of that incarnation. This can happen without bad intent, if a virtual machine was resumed from a"
        " snapshot.",
        steps=(
            "Ask the operators of that site what happened to it.",
            "An administrator admits the site again with a cut-off (docs/keys.md).",
        ),
        ends_by_itself=False,
    ),
    "held-back": About(
        severity=Severity.CRITICAL,
        title="Another site does not apply the entries of this site",
        meaning="The heads of that site say that it holds entries of this site and does not apply them, or that it"
        " refuses them. Either earlier entries are missing there, or the entries are signed with a key that it does not"
        " accept. Files that were taken in since then are here, and unknown there.",
        steps=(
            "`lbctl events verify` at both sites shows where the journal stops.",
            "`lbctl site list` at both: is the key of this site the same?",
            "If the daemon ran with a wrong `site.key`, or with a backup of it: docs/keys.md, “A wrong key”.",
        ),
    ),
    "instance-doubted": About(
        severity=Severity.WARNING,
        title="A reader complained about an instance",
        meaning="A reader received wrong bytes, or none. The owner reads the whole instance again and answers.",
        steps=("Nothing: the owner answers by itself.", "`lbctl explain NAME` shows which site waits for what."),
    ),
    "instance-suspected": About(
        severity=Severity.CRITICAL,
        title="An instance is not what it should be",
        meaning="The daemon read it and found it wrong, or could not read it. This instance is not served; other"
        " instances are.",
        steps=(
            "`lbctl file show NAME` lists the others.",
            "Nothing, if another site has the file: the daemon fetches it again from there, and that ends this"
            " incident. Bad bytes are kept in `.librarian/bad` of the store.",
            "`lbctl file heal NAME` reads it again and shows the result. If no site has the file, drop good bytes under"
            " its name.",
            "Check the disk and the kernel's log.",
        ),
    ),
    "intake-paused": About(
        severity=Severity.WARNING,
        title="Intake from a drop directory is paused",
        meaning="Its store is full or absent, or the directory cannot be read. Dropped files stay where they are.",
        steps=("Remove the cause that the message names; intake continues by itself.",),
    ),
    "intake-refused": About(
        severity=Severity.WARNING,
        title="Dropped things were refused",
        meaning="They break a rule for names or contents, or other bytes already have their names. There is one"
        " incident for each drop directory and cause; it counts what is in `.rejected` now. Each refused thing is in"
        " `.rejected`, with the reason beside it in REASON.txt. Nothing is lost.",
        steps=(
            "`lbctl rejected list` shows them, with their reasons.",
            "If the cause is gone: `lbctl rejected retry --cause CAUSE` drops them again.",
            "Otherwise `lbctl rejected return --cause CAUSE --to DIR` moves them to another directory; their owners can"
            " also move them without this command. These may be the only good bytes: look before you delete anything.",
            "The incident ends when none of them is left in `.rejected`.",
        ),
    ),
    "intake-stuck": About(
        severity=Severity.WARNING,
        title="Dropped things cannot be taken",
        meaning="They wait for a person, and waiting longer does not help: permissions are missing, a tool has not"
        " finished them, the daemon could not see that they are complete, or they are on another filesystem. There is"
        " one incident for each drop directory and reason; it counts what waits now. Intake of all other things"
        " continues.",
        steps=(
            "`lbctl status` shows what waits; the hint says what to do for that reason.",
            "The incident ends when nothing waits for that reason any more.",
        ),
    ),
    "join-refused": About(
        severity=Severity.WARNING,
        title="A new site was refused",
        meaning="It used a token that is spent or expired, or its name or keys belong to another site.",
        steps=(
            "If it was meant to join, invite it again: `lbctl site invite`.",
            "If not, find out who had the token.",
        ),
        ends_by_itself=False,
    ),
    "join-token": About(
        severity=Severity.WARNING,
        title="The token in the state directory cannot be used",
        meaning="The token is malformed, expired, or for another mesh.",
        steps=("Ask the inviter for a new one, then `lbctl site join TOKEN`.",),
    ),
    "journal-stalled": About(
        severity=Severity.WARNING,
        title="A site's journal does not advance",
        meaning="Its segments wait for earlier segments, or this site no longer accepts them.",
        steps=(
            "Nothing, if segments are missing: the daemon asks for them.",
            "`lbctl events verify` shows where the journal stops.",
        ),
    ),
    "letters-missing": About(
        severity=Severity.WARNING,
        title="Letters from a site were lost on the way",
        meaning="The access of this site is callback: letters inform it of the files that it is offered. At least one"
        " letter is missing, so this site may not know of files that it could have.",
        steps=("Nothing: the daemon asks the sender to send everything again.",),
    ),
    "last-instance-bad": About(
        severity=Severity.CRITICAL,
        title="The only instance of a file that is known is bad",
        meaning="The daemon read the instance and found it wrong, and no site has a good one. It is kept where it is,"
        " and nothing is deleted. Of a book, the members that are right are still served one by one.",
        steps=(
            "`lbctl file show NAME` lists who had it. Is one of them only away, or its disk only not mounted?",
            "Do people still have the bytes? Drop them under the name: they take the place of the bad ones.",
            "Check the disk and the kernel's log. Copy what can still be read before anything else is written to it.",
            "If nothing helps, an administrator withdraws the file: `lbctl file withdraw NAME --reason TEXT`.",
        ),
    ),
    "many-anomalies": About(
        severity=Severity.CRITICAL,
        title="Many instances of one store look wrong at once",
        meaning="A fault of a disk, its controller or its mount is more likely than a fault of the files. The daemon"
        " marks no more of these instances as suspected; it moves and deletes nothing. Every reader still compares the"
        " bytes that it reads.",
        steps=(
            "Check the disk, the kernel's log, and what is mounted at the store's path.",
            "If the cause is gone: `lbctl reconcile` checks again, and that ends this incident.",
            "If the instances are lost: `lbctl reconcile --all` marks each of them as suspected.",
        ),
    ),
    "message-refused": About(
        severity=Severity.WARNING,
        title="A message was refused",
        meaning="It is malformed, was not signed with the site's key, or names another site as its sender. It was"
        " ignored.",
        steps=(
            "Compare the site's key at both ends: `lbctl site list`.",
            "If the keys agree, somebody else uses the site's bus keys: rotate them and inform its operators.",
        ),
        ends_by_itself=False,
    ),
    "join-waits": About(
        severity=Severity.INFO,
        title="A new site waits to be admitted",
        meaning="Its token requires that a person compares fingerprints first.",
        steps=(
            "`lbctl site pending` shows its fingerprint; compare it with the people of that site.",
            "`lbctl site confirm`.",
        ),
    ),
    "name-not-moved": About(
        severity=Severity.WARNING,
        title="A file could not be set aside, or could not get its name back",
        meaning="It was decided which file has a name, or that a file is withdrawn. What is at that name in the store"
        " is not the file of the decision, or the filesystem does not allow the move. Nothing was deleted.",
        steps=("Check what is at that name in the store.", "The daemon tries again by itself."),
    ),
    "notify-failed": About(
        severity=Severity.WARNING,
        title="A channel could not send notifications",
        meaning="A message about incidents was not sent. It is kept, and sent when the channel works again.",
        steps=(
            "`lbctl notify test LABEL` sends a test message, and shows the answer of the service.",
            "Check the URL of `[[notify]]` in site.toml, and the network connection to the service.",
        ),
    ),
    "reload-failed": About(
        severity=Severity.WARNING,
        title="A changed configuration was not accepted",
        meaning="The daemon received SIGHUP, read its configuration again and found an error in it. It continues with"
        " the configuration that it had. It would not start with the new one.",
        steps=(
            "`lbd --config FILE --check` says what is wrong.",
            "Correct it, and send SIGHUP again: `systemctl reload lbd`; that ends this incident.",
        ),
    ),
    "restart-needed": About(
        severity=Severity.INFO,
        title="Part of the configuration waits for a restart",
        meaning="The daemon read its configuration again (SIGHUP). The log level, the notification channels and the"
        " drop directories are in force. The keys that the message names need a restart of the daemon.",
        steps=("`systemctl restart lbd`, at a good moment; or restore the keys and send SIGHUP again.",),
    ),
    "rewound": About(
        severity=Severity.WARNING,
        title="A site's catalog was restored from a backup",
        meaning="Its journal has two branches. Both are kept. The site fetches the entries that it had lost, and"
        " publishes again what its stores hold.",
        steps=(
            "Ask the operators of that site what happened to it.",
            "`lbctl status` at that site shows its recovery.",
        ),
        ends_by_itself=False,
    ),
    "service-failed": About(
        severity=Severity.CRITICAL,
        title="A part of the daemon was restarted",
        meaning="It stopped because the catalog or a store failed. The daemon restarts it again and again, with longer"
        " and longer pauses.",
        steps=("Check the catalog's disk or database server, and read the daemon's log.",),
    ),
    "store": About(
        severity=Severity.CRITICAL,
        title="A store is not usable",
        meaning="It is not mounted, or its filesystem fails. The catalog still counts its files as held.",
        steps=("Mount it; or check its disk and the kernel's log.",),
    ),
    "store-closed-full": About(
        severity=Severity.WARNING,
        title="A store was set inactive because it is full",
        meaning="A subscription with `--on-full deactivate` wanted a file in it, and there was no room beside the"
        " reserve. Nothing new goes into the store. Its files are served. What it misses comes later.",
        steps=(
            "`lbctl store list` shows how full it is, `lbctl store show LABEL` since when it is inactive.",
            "Make room, or take another store. Then `lbctl store set LABEL --active --reason TEXT`: that ends this"
            " incident, and what was missed is brought.",
        ),
    ),
    "store-failover": About(
        severity=Severity.WARNING,
        title="Files go into a less preferred store",
        meaning="The subject is the label of a store with a lower priority, which should have taken them. It is full,"
        " or nothing can be written into it. The files are as safe as they would be there; they stay in the store into"
        " which they went.",
        steps=(
            "Look for another incident of that store: it says what is wrong. `lbctl store list` shows its room.",
            "When the store takes files again, they go there, and this incident ends by itself.",
            "If it is to take none for now: `lbctl store set LABEL --inactive --reason TEXT`; that ends this, too.",
        ),
    ),
    "store-fault": About(
        severity=Severity.CRITICAL,
        title="A store's filesystem fails",
        meaning="Reading or writing ends in an error that is neither a full disk nor a missing mount. The subject is"
        " the label of a store, or the path of a drop directory, whose intake is paused. The catalog still counts all"
        " files as held.",
        steps=("Check its disk and the kernel's log.", "Check owner and mode for the daemon's user."),
    ),
    "store-frozen": About(
        severity=Severity.CRITICAL,
        title="A store is frozen: too much in it is bad",
        meaning="More instances of the store were found bad than scrub.freeze_at allows within one pass, or more than"
        " reconcile.limit. A fault of the disk or its controller is likely. The store neither vouches for its instances"
        " nor gives any up; it still serves what is good, and bad instances are mended. Further bad instances in it"
        " open no incidents of their own.",
        steps=(
            "`lbctl scrub status` says which store, and why; `lbctl file list --bad` which files.",
            "Check the disk, its controller and the kernel's log.",
            "`lbctl store thaw LABEL --reason TEXT` when it can be trusted again. It never thaws by itself.",
        ),
    ),
    "store-full": About(
        severity=Severity.CRITICAL,
        title="A store is full",
        meaning="Nothing can be written into it: it has no space or no inodes, or a quota is reached. Its files are"
        " served. Transfers into it wait and intake for it is paused; both continue by themselves when there is room.",
        steps=(
            "`lbctl store list` shows how full it is.",
            "Free space in its filesystem, or add a store. Delete nothing in the store by hand.",
        ),
    ),
    "store-left-out": About(
        severity=Severity.WARNING,
        title="A store that holds files is not configured",
        meaning="This site declared the store earlier, and it is no longer in site.toml: it is not opened. Its"
        " files still count as held there, here and at all other sites.",
        steps=(
            "If its disk is good: put its [[store]] into site.toml again, and restart the daemon.",
            "If its disk is lost: `lbctl store retire ID --lost`. From then on nothing counts as held there.",
        ),
    ),
    "store-not-answering": About(
        severity=Severity.CRITICAL,
        title="A store does not answer",
        meaning="A small write into it has not returned for seconds: its disk or file server hangs. Other stores"
        " continue to work.",
        steps=("Check its disk or file server, and the kernel's log.", "It ends when the filesystem answers."),
    ),
    "store-not-mounted": About(
        severity=Severity.CRITICAL,
        title="A store is not mounted",
        meaning="Its directory or its marker `.librarian/store` is missing, or the marker of another store is there."
        " The daemon never treats it as empty: the catalog still counts its files as held, transfers into it wait,"
        " intake for it is paused. The daemon starts without it, and uses it again when it is mounted.",
        steps=(
            "Mount it; that ends this incident.",
            "If it is mounted and its marker was deleted: `lbctl store mark PATH --store ID` compares the files there"
            " with the catalog, and writes the marker again. `lbctl store list` shows paths.",
        ),
    ),
    "store-read-only": About(
        severity=Severity.CRITICAL,
        title="A store is mounted read-only",
        meaning="Nothing can be written into it; its files are served. A kernel remounts a filesystem with errors"
        " read-only by itself.",
        steps=(
            "Read the kernel's log, and check the filesystem.",
            "Mount it read-write; that ends this incident.",
        ),
    ),
    "trash-stuck": About(
        severity=Severity.WARNING,
        title="Bytes in trash cannot be put back",
        meaning="An eviction ended without enough proof that other good instances are left, or a person wanted a file"
        " back; its bytes stand in .librarian/trash of the store, and cannot be brought back to their name. Nothing was"
        " deleted, nobody counts the instance, and it is served from trash.",
        steps=(
            "The message says what is in the way: mostly something else stands at the name.",
            "Move away what stands there, and look at the disk. It is tried again by itself, and at each start.",
            "`lbctl trash list` shows what else stands in trash.",
        ),
    ),
    "twin": About(
        severity=Severity.CRITICAL,
        title="Another daemon runs as this site",
        meaning="The directory or the machine of this site was copied, and both copies run, with one key, one name and"
        " one journal. Each copy announces files that only the other copy holds. Until this is over, neither copy"
        " vouches for any file.",
        steps=(
            "Find the other copy, and stop its daemon for good: `lbctl status` there shows this incident, too.",
            "If files were dropped at the other copy and are only in its store: drop them here.",
            "Then restart the daemon here. It applies the entries that the other copy published, compares them with the"
            " stores, and reports what is not there; `lbctl recover` shows the progress.",
            "For a second site, use `lbctl init` and a token of its own: `lbctl site invite`.",
        ),
        ends_by_itself=False,
    ),
    "unknown-files": About(
        severity=Severity.INFO,
        title="A store holds files that the catalog does not know",
        meaning="Only the daemon should write into a store. The files stay where they are: they are not served, not"
        " moved, not deleted.",
        steps=(
            "`lbctl reconcile` lists some of them.",
            "If they are inside a book: `lbctl file verify NAME` checks again. Extra files beside the members of a book"
            " do no harm to it.",
            "Move them out of the store; or into a drop directory, if they are to be taken in.",
        ),
    ),
    "unknown-rules": About(
        severity=Severity.WARNING,
        title="A site may have declared rules that this version does not know",
        meaning="Entries of a kind of a later version came from a site whose rules of the mesh count. Each of them may"
        " say that files must be kept. They are kept raw. As long as there are any, this site must not evict anything.",
        steps=("Upgrade this site to the version of the site that the message names: the entries are applied then.",),
    ),
    "transfer-parked": About(
        severity=Severity.WARNING,
        title="A transfer needs a person",
        meaning="It failed for one reason more often than the limit for that reason allows.",
        steps=("`lbctl transfer show ID` says why and what to do.", "Then `lbctl transfer retry ID`."),
    ),
    "view-failed": About(
        severity=Severity.WARNING,
        title="A part of status cannot be shown",
        meaning="The daemon could not read or compute the parts that the message names. Their state is unknown: do not"
        " assume that they are well. All other parts are correct. The daemon takes in, sends and keeps files as usual.",
        steps=(
            "`lbctl doctor` checks the catalog. It reports a full disk or a database server that is down.",
            "`lbctl events audit` compares the catalog with its journals.",
            "If both are well it is a fault of the software: report it with the line `view_failed` of the log.",
        ),
    ),
}


def about(code: str) -> About:
    """What is known of a code. For a code of a later version: a general text."""
    return CODES.get(code) or About(
        severity=Severity.WARNING,
        title=code,
        meaning="This version does not know the code.",
        steps=("Read its message.",),
        ends_by_itself=False,
    )
