"""The catalog's tables (docs/architecture.md).

There are three groups. *Shared*: ``admission, admitted, rekey, announcement, file, conflict, naming, resolution,
instance, doubt, subscription, store, digest, attribute, keep, hold, rule_withdrawal`` change only through
:mod:`librarian_daemon.catalog.apply`, own entries included, so replaying the journals rebuilds them. *The record*:
``journal, cursor``. *Local*: what this site does now. All local rows may be lost at any moment, except ``landing``,
which says what a crash interrupted.

Register columns ``epoch, incarnation, seq`` are the version of the entry that wrote the row.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from librarian_protocol.entries import Unit

metadata = MetaData()

#: By the text of a column. Looking a member up is a tenth of what calling its enumeration costs.
UNITS = {unit.value: unit for unit in Unit}

# Indexes with a condition have it in both databases, by the migrations. Said here also for PostgreSQL, it would load
# that dialect at each start: a quarter of what all imports cost.

#: Text that is ordered by its bytes in both databases: pages of names come in the same order everywhere.
BytewiseText = Text().with_variant(Text(collation="C"), "postgresql")
#: SQLite increments only ``INTEGER PRIMARY KEY`` by itself.
BigKey = BigInteger().with_variant(Integer(), "sqlite")

#: As a literal: SQLite uses a partial index only if the statement contains the value.
SUSPECTED = text("state = 'suspected'")
OTHERWISE_FOLDED = text("folded <> name")


def _version() -> list[Column[object]]:
    return [
        Column("epoch", BigInteger, nullable=False),
        Column("incarnation", BytewiseText, nullable=False),
        Column("seq", BigInteger, nullable=False),
    ]


# ---- shared --------------------------------------------------------------------------------------------

admission = Table(
    "admission",
    metadata,
    Column("admitter", BytewiseText, primary_key=True),
    Column("site", BytewiseText, primary_key=True),
    Column("key", Text, nullable=False),
    Column("access", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("grants", Text, nullable=False),
    Column("bus", Text, nullable=False),
    Column("may_admit", Boolean, nullable=False),
    Column("leaf", Text),
    Column("cutoff", Text),
    Column("tips", Text),
    Column("former", Text, nullable=False, server_default="[]"),
    #: ``site.revoked`` sets it, in the same register.
    Column("revoked", Boolean, nullable=False, server_default=text("false")),
    Column("reason", Text, nullable=False, server_default=""),
    Column("statement", BigInteger, nullable=False, server_default="0"),
    Column("administrator", Text),
    *_version(),
)

#: The last ``site.admitted`` of each register of ``admission``, as it stays when the site is revoked.
admitted = Table(
    "admitted",
    metadata,
    Column("admitter", BytewiseText, primary_key=True),
    Column("site", BytewiseText, primary_key=True),
    #: JSON of the entry, without its number and time.
    Column("entry", Text, nullable=False),
    *_version(),
)

#: A grow-only set: to which keys a site has changed, and by which entry.
rekey = Table(
    "rekey",
    metadata,
    Column("site", BytewiseText, primary_key=True),
    Column("incarnation", BytewiseText, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("tips", Text, nullable=False, server_default="[]"),
)

announcement = Table(
    "announcement",
    metadata,
    Column("site", BytewiseText, primary_key=True),
    Column("software", Text, nullable=False),
    Column("adapters", Text, nullable=False),
    Column("certificate", Text),
    Column("leaf_address", Text, nullable=False, server_default=""),
    *_version(),
)

file = Table(
    "file",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("name", BytewiseText, nullable=False),
    #: The form by which case twins are found. Most names are their own form, and are found as names: only the others
    #: are indexed, since an index of random names costs a commit of 500 files 500 pages.
    Column("folded", BytewiseText, nullable=False),
    Column("digest", BytewiseText, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("unit", Text, nullable=False),
    Column("origin_site", BytewiseText),
    Column("origin_epoch", BigInteger),
    Column("origin_incarnation", BytewiseText),
    Column("origin_seq", BigInteger),
    Column("ingested_at", Text),
    #: A recovery wrote the ingest that is the origin: any other ingest is preferred as origin.
    Column("origin_last", Boolean, nullable=False, server_default=text("false")),
    #: As the origin says; None where it says nothing.
    Column("mtime_ns", BigInteger),
    Column("withdrawn", Boolean, nullable=False),
    #: Local: it grows with every change of what is known of the file. The planner's cursor is a value of it.
    Column("change", BigInteger, nullable=False),
    UniqueConstraint("name", "digest", name="file_name_digest"),
    Index("file_folded", "folded", sqlite_where=OTHERWISE_FOLDED),
    Index("file_digest", "digest"),
    Index("file_change", "change", "id"),
)

#: Names with two or more digests that are not withdrawn, and without a decision. ``apply`` computes it whenever a file
#: of the name changes.
conflict = Table("conflict", metadata, Column("name", BytewiseText, primary_key=True))

#: Names with several digests and a decision: the digest that was kept. The others are set aside. Computed likewise.
naming = Table(
    "naming",
    metadata,
    Column("name", BytewiseText, primary_key=True),
    Column("kept", BytewiseText, nullable=False),
)

instance = Table(
    "instance",
    metadata,
    Column("file_id", BigInteger, ForeignKey("file.id"), primary_key=True),
    Column("site", BytewiseText, primary_key=True),
    Column("store", BytewiseText, primary_key=True),
    Column("state", Text, nullable=False),
    Column("how", Text, nullable=False),
    Column("source_site", Text),
    Column("detail", Text, nullable=False),
    Column("at", Text, nullable=False),
    #: As the entry says. It is kept here too, so that totals are read from one index.
    Column("size_bytes", BigInteger, nullable=False),
    *_version(),
    Index("instance_totals", "site", "store", "state", "size_bytes"),
    # Partial, so that nobody is tempted to look for the many that are available by their state.
    Index("instance_suspected", "file_id", sqlite_where=SUSPECTED),
)

doubt = Table(
    "doubt",
    metadata,
    Column("doubter", BytewiseText, primary_key=True),
    Column("file_id", BigInteger, ForeignKey("file.id"), primary_key=True),
    Column("site", BytewiseText, primary_key=True),
    Column("store", BytewiseText, primary_key=True),
    Column("reason", Text, nullable=False),
    #: Version of the instance's state that is doubted. A later state answers the doubt.
    Column("of_epoch", BigInteger, nullable=False),
    Column("of_incarnation", BytewiseText, nullable=False),
    Column("of_seq", BigInteger, nullable=False),
    *_version(),
    Index("doubt_instance", "file_id", "site", "store"),
)

subscription = Table(
    "subscription",
    metadata,
    Column("site", BytewiseText, primary_key=True),
    Column("id", BytewiseText, primary_key=True),
    Column("from_site", BytewiseText),
    Column("match", Text, nullable=False),
    Column("into", Text, nullable=False),
    Column("withdrawn", Boolean, nullable=False),
    Column("max_bytes", BigInteger),
    Column("newest_s", BigInteger),
    Column("priority", Integer, nullable=False, server_default=text("5")),
    Column("via", Text, nullable=False, server_default="any"),
    Column("spread", Boolean, nullable=False, server_default=text("false")),
    *_version(),
)

store = Table(
    "store",
    metadata,
    Column("site", BytewiseText, primary_key=True),
    Column("id", BytewiseText, primary_key=True),
    Column("label", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("technology", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("ingestable", Boolean, nullable=False),
    Column("retired", Boolean, nullable=False),
    *_version(),
)

digest = Table(
    "digest",
    metadata,
    Column("file_id", BigInteger, ForeignKey("file.id"), primary_key=True),
    Column("site", BytewiseText, primary_key=True),
    Column("other", BytewiseText, primary_key=True),
)

#: What a site says of a file beside its bytes. It counts if the site is the file's origin (``catalog/attributes.py``).
attribute = Table(
    "attribute",
    metadata,
    Column("file_id", BigInteger, ForeignKey("file.id"), primary_key=True),
    Column("site", BytewiseText, primary_key=True),
    Column("executable", Boolean, nullable=False),
    Column("list", Text),
    *_version(),
)

#: A grow-only set: every decision between files of one name. Which of them count is computed (name.resolved).
resolution = Table(
    "resolution",
    metadata,
    Column("site", BytewiseText, primary_key=True),
    Column("incarnation", BytewiseText, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("name", BytewiseText, nullable=False),
    Column("keep", Text, nullable=False),
    Column("over", Text, nullable=False),
    Column("supersedes", Text, nullable=False),
    Index("resolution_name", "name"),
)


def _entry_id() -> list[Column[object]]:
    """The key of a grow-only set: each row is one entry."""
    return [
        Column("site", BytewiseText, primary_key=True),
        Column("incarnation", BytewiseText, primary_key=True),
        Column("seq", BigInteger, primary_key=True),
        Column("epoch", BigInteger, nullable=False),
    ]


#: Grow-only sets: every declaration of a rule of the mesh. Which of them count is computed (``protocol/rules.py``).
keep = Table(
    "keep",
    metadata,
    *_entry_id(),
    Column("match", Text, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("domains", Integer, nullable=False),
    Column("role", Text),
    Column("reason", Text, nullable=False),
    Column("at", Text, nullable=False),
)

hold = Table(
    "hold",
    metadata,
    *_entry_id(),
    Column("match", Text, nullable=False),
    Column("until", BigInteger),
    Column("reason", Text, nullable=False),
    Column("at", Text, nullable=False),
)

#: A grow-only set: withdrawals of such rules. ``noun`` is ``keep`` or ``hold``: of which they end declarations.
rule_withdrawal = Table(
    "rule_withdrawal",
    metadata,
    *_entry_id(),
    Column("noun", Text, nullable=False),
    Column("supersedes", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Text, nullable=False),
)

# ---- the record ----------------------------------------------------------------------------------------

journal = Table(
    "journal",
    metadata,
    Column("position", BigKey, primary_key=True, autoincrement=True),
    Column("site", BytewiseText, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("incarnation", BytewiseText, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("prev", BytewiseText, nullable=False),
    Column("hash", BytewiseText, nullable=False, unique=True),
    Column("signature", Text, nullable=False),
    #: Which key of the site signed it; "" where no known key did.
    Column("key", Text, nullable=False, server_default=""),
    #: The bytes as received, compressed with zstd.
    Column("payload", LargeBinary, nullable=False),
    #: A :class:`librarian_protocol.journal_state.JournalState`.
    Column("state", Text, nullable=False),
    Column("received_at", Text, nullable=False),
    #: A segment of this site that other sites gave back: this catalog had lost it.
    Column("returned", Boolean, nullable=False, server_default=text("false")),
    Index("journal_site", "site", "first_seq"),
    Index("journal_order", "epoch", "first_seq", "position"),
    Index("journal_prev", "prev"),
    Index("journal_state", "state", "site"),
)

#: Where the chain of each incarnation ends here.
cursor = Table(
    "cursor",
    metadata,
    Column("site", BytewiseText, primary_key=True),
    Column("incarnation", BytewiseText, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)

# ---- local ---------------------------------------------------------------------------------------------

meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

#: Own segments that the bus has not acknowledged.
outbox = Table("outbox", metadata, Column("position", BigInteger, primary_key=True, autoincrement=False))

#: Letters to other sites that the bus has not acknowledged. They may be lost: whoever asks by letter asks again.
mail = Table(
    "mail",
    metadata,
    Column("position", BigKey, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),
    Column("recipient", BytewiseText, nullable=False),
    Column("verb", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("written_at", Text, nullable=False),
)

#: The tips of each origin's journal, as a peer last announced them: what the peer holds.
peer_head = Table(
    "peer_head",
    metadata,
    Column("peer", BytewiseText, primary_key=True),
    Column("hash", BytewiseText, primary_key=True),
    Column("origin", BytewiseText, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("incarnation", BytewiseText, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("heard_at", Text, nullable=False),
    Index("peer_head_origin", "origin"),
)

#: What each peer may be given. A peer with full access and no row may be given everything.
offer = Table(
    "offer",
    metadata,
    Column("peer", BytewiseText, primary_key=True),
    Column("match", BytewiseText, primary_key=True),
)

#: How far the journal was told to each callback site by letter (``protocol/letters.py``).
telling = Table(
    "telling",
    metadata,
    Column("recipient", BytewiseText, primary_key=True),
    #: The last segment of the journal that was examined.
    Column("position", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", BytewiseText, nullable=False),
    #: Whether the next letter begins again with everything.
    Column("begins", Boolean, nullable=False),
)

#: At a callback site: how far the letters of each sender were received.
told = Table(
    "told",
    metadata,
    Column("sender", BytewiseText, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("hash", BytewiseText, nullable=False),
    Column("whole", Boolean, nullable=False),
)

#: These letters, for audits: the record of a callback site beside its journal.
letter = Table(
    "letter",
    metadata,
    Column("position", BigKey, primary_key=True, autoincrement=True),
    Column("sender", BytewiseText, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("signature", Text, nullable=False),
)

#: How far each peer's stream was read.
reading = Table(
    "reading",
    metadata,
    Column("site", BytewiseText, primary_key=True),
    Column("stream_seq", BigInteger, nullable=False),
    Column("heard_at", Text),
    Column("stalled", Text, nullable=False),
)

landing = Table(
    "landing",
    metadata,
    Column("id", Text, primary_key=True),
    Column("store", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("rel", Text, nullable=False),
    Column("name", BytewiseText, nullable=False),
    Column("digest", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("unit", Text, nullable=False),
    Column("manifest_rel", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("transfer", BigInteger),
    #: A value of ``ports.store.Action``.
    Column("action", Text, nullable=False, server_default="place"),
    #: JSON of ``librarian_protocol.attributes.Attributes``.
    Column("attributes", Text, nullable=False, server_default="{}"),
    Column("list_rel", Text, nullable=False, server_default=""),
)

transfer = Table(
    "transfer",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("file_id", BigInteger, ForeignKey("file.id"), nullable=False),
    Column("store", BytewiseText, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("message", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("strike", Text),
    Column("strikes", Integer, nullable=False),
    Column("next_try_s", Float),
    Column("source", BytewiseText),
    Column("adapter", Text),
    Column("batch", Text),
    Column("subscription", Text, nullable=False),
    #: The adapter that was chosen, and why.
    Column("chosen", Text, nullable=False, server_default=""),
    #: Minus its priority. Wanted transfers go in the order of this and of their ids.
    Column("rank", Integer, nullable=False, server_default=text("0")),
    Column("created_at", Text, nullable=False),
    Column("changed_at", Text, nullable=False),
    UniqueConstraint("file_id", "store", name="transfer_file_store"),
    Index("transfer_state", "state", "id"),
    Index("transfer_due", "state", "next_try_s"),
    Index("transfer_order", "state", "rank", "id"),
)

#: Files that a person wants here once, whatever the subscriptions say (``lbctl transfer add``).
one_off = Table(
    "one_off",
    metadata,
    Column("file_id", BigInteger, ForeignKey("file.id"), primary_key=True),
    Column("store", BytewiseText, primary_key=True),
    Column("from_site", BytewiseText),
    Column("asked_at", Text, nullable=False),
)

#: What a person has paused for maintenance (``protocol/pausing.py``).
pause = Table(
    "pause",
    metadata,
    Column("what", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("began", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
)

#: Batches that adapters hold now.
batch = Table(
    "batch",
    metadata,
    Column("id", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("adapter", Text, nullable=False),
    #: The source's store, and, as JSON, the offer that is used: what is needed to go on with a ticket.
    Column("source_store", Text, nullable=False, server_default=""),
    Column("offer", Text, nullable=False, server_default=""),
    Column("ticket", LargeBinary),
    Column("started_at", Text, nullable=False),
    #: Where its files go, and, as JSON, its single files (``transfers.batch_rows.Member``). No row for each of them is
    #: written when they are placed: this one names them.
    Column("store", Text, nullable=False, server_default=""),
    Column("members", LargeBinary),
)

#: When an instance here was last read whole.
verified = Table(
    "verified",
    metadata,
    Column("file_id", BigInteger, ForeignKey("file.id"), primary_key=True),
    Column("store", BytewiseText, primary_key=True),
    #: "" where it never was.
    Column("at", Text, nullable=False),
    #: The pass of the store in which that was; 0: before the first.
    Column("pass", BigInteger, nullable=False, server_default="0"),
    Index("verified_order", "store", "pass", "at"),
)

#: The last pass over each store: see ``librarian_protocol.scrub.Pass``.
scrub = Table(
    "scrub",
    metadata,
    Column("store", BytewiseText, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("began", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("gathered", Boolean, nullable=False),
    Column("asked", Boolean, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("bad", BigInteger, nullable=False),
    Column("told", BigInteger),
)

#: Stores of this site in which too much was bad: they neither vouch nor evict until a person says so.
frozen = Table(
    "frozen",
    metadata,
    Column("store", BytewiseText, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", Text, nullable=False),
)

#: Members of own suspected books that were found bad; "" is a manifest. The others of such a book are good.
bad_member = Table(
    "bad_member",
    metadata,
    Column("file_id", BigInteger, ForeignKey("file.id"), primary_key=True),
    Column("store", BytewiseText, primary_key=True),
    Column("member", BytewiseText, primary_key=True),
)

#: Own instances whose bad bytes stand in ``.librarian/bad`` until a pass finds the instance right.
kept_bad = Table(
    "kept_bad",
    metadata,
    Column("file_id", BigInteger, ForeignKey("file.id"), primary_key=True),
    Column("store", BytewiseText, primary_key=True),
    #: The pass in which it was mended: a later one must find it right.
    Column("pass", BigInteger, nullable=False),
)

#: Own instances whose bytes stand in ``.librarian/conflict``: another file has their name.
aside = Table(
    "aside",
    metadata,
    Column("file_id", BigInteger, ForeignKey("file.id"), primary_key=True),
    Column("store", BytewiseText, primary_key=True),
)

#: Own instances that are being given up (``protocol/eviction/row.py``), and what is left of it. An instance without a
#: row is as its register says.
eviction = Table(
    "eviction",
    metadata,
    Column("file_id", BigInteger, ForeignKey("file.id"), primary_key=True),
    Column("store", BytewiseText, primary_key=True),
    #: A value of ``catalog.eviction_rows.Kept``.
    Column("stage", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    #: Its directory below ``trash``, and its number there.
    Column("trash", Text, nullable=False, server_default=""),
    Column("number", Integer, nullable=False, server_default=text("0")),
    #: When its bytes first came to trash; a start keeps it.
    Column("since_s", Float),
    #: Why it is given up: the beginning of the reason that is said.
    Column("why", Text, nullable=False, server_default=""),
    #: Whether an instance in an archive must be left.
    Column("needs_archive", Boolean, nullable=False, server_default=text("false")),
    Index("eviction_stage", "store", "stage", "nonce"),
)

#: Subscriptions to those files only that became known after this row of ``file``.
new_only = Table(
    "new_only",
    metadata,
    Column("subscription", Text, primary_key=True),
    Column("after_file", BigInteger, nullable=False),
)

#: Subscriptions that set a store inactive when it is too full for one of their files.
deactivating = Table("deactivating", metadata, Column("subscription", Text, primary_key=True))

#: Subscriptions of this site that must still be tried on the files that were known before them.
backfill = Table(
    "backfill",
    metadata,
    Column("subscription", Text, primary_key=True),
    Column("after_file", BigInteger, nullable=False),
)

#: The stores of ``site.toml`` and those that were added while the daemon ran, and what a person set of them. One that
#: was taken out of ``site.toml`` stays known (``left``): it is not opened, and nothing new is said of it.
attached = Table(
    "attached",
    metadata,
    Column("store", BytewiseText, primary_key=True),
    Column("label", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("role", Text, nullable=False),
    #: A value of ``catalog.stores.attached.Origin``.
    Column("origin", Text, nullable=False),
    #: JSON of ``protocol.store_settings``: ``StoreValues`` and ``StoreOverrides``.
    Column("configured", Text, nullable=False),
    Column("overrides", Text, nullable=False),
    #: Of the overrides: why, and since when.
    Column("reason", Text, nullable=False),
    Column("at", Text, nullable=False),
)

#: Bytes that intake is about to write into a store. A start begins with none: what was claimed is claimed again.
promise = Table(
    "promise",
    metadata,
    Column("id", BytewiseText, primary_key=True),
    Column("store", BytewiseText, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
)

invite = Table(
    "invite",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret", Text, nullable=False),
    Column("bus_key", Text),
    Column("expires", BigInteger, nullable=False),
    Column("used_by", Text),
    Column("created_at", Text, nullable=False),
    #: The terms of the newcomer's admission, as JSON.
    Column("terms", Text, nullable=False, server_default="{}"),
)

incident = Table(
    "incident",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("code", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("opened_at", Text, nullable=False),
    Column("last_at", Text, nullable=False),
    Column("times", Integer, nullable=False),
    Column("acknowledged_at", Text),
    #: The note of the person who acknowledged it.
    Column("note", Text, nullable=False, server_default=""),
    Column("resolved_at", Text),
    Index("incident_open", "resolved_at", "code", "subject"),
)

#: The incident up to which each channel has come.
channel = Table(
    "channel",
    metadata,
    Column("label", Text, primary_key=True),
    Column("seen", BigInteger, nullable=False),
)

#: Incidents whose beginning a channel has sent, and whose end it will send.
notice = Table(
    "notice",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("incident", BigInteger, ForeignKey("incident.id"), primary_key=True),
)
