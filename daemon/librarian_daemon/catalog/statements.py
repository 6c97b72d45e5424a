"""The statements that are executed for every file, as sets (``catalog/sets.py``).

What each does is said by the function that runs it. Both databases run the same text: an upsert that selects needs
``WHERE true`` in SQLite, which otherwise reads its ON as that of a join.
"""

from __future__ import annotations

from librarian_daemon.catalog.sets import BOOLEAN, INTEGER, REAL, TEXT, UTF8, SetStatement

_FACTS = {"name": TEXT, "folded": TEXT, "digest": TEXT, "size_bytes": INTEGER, "unit": TEXT}
_FILE = {"name": TEXT, "digest": TEXT}

# ---- files (catalog/apply.py) ----------------------------------------------------------------------------

#: A digest has one size. If an entry says otherwise, all sites keep the same one of the two.
_MENTION = """
    change = excluded.change,
    size_bytes = CASE WHEN excluded.size_bytes < file.size_bytes THEN excluded.size_bytes ELSE file.size_bytes END,
    unit = CASE WHEN excluded.unit < file.unit THEN excluded.unit ELSE file.unit END
"""

MENTIONED = SetStatement(
    f"""
    INSERT INTO file (name, folded, digest, size_bytes, unit, origin_last, withdrawn, change)
    SELECT name, folded, digest, size_bytes, unit, false, {{withdrawn}}, {{change}} FROM {{rows}} AS r WHERE true
    ON CONFLICT (name, digest) DO UPDATE SET {_MENTION}, withdrawn = file.withdrawn OR excluded.withdrawn
    """,
    columns=_FACTS,
    values={"withdrawn": BOOLEAN, "change": INTEGER},
)

#: As MENTIONED, of those that an instance is told of. A row that is there stays as it is where the planner would pass
#: it by (``_LOOK``): this site has no subscription, no transfer of the file, and no bad instance of it.
REGISTERED = SetStatement(
    f"""
    INSERT INTO file (name, folded, digest, size_bytes, unit, origin_last, withdrawn, change)
    SELECT name, folded, digest, size_bytes, unit, false, false, {{change}} FROM {{rows}} AS r WHERE true
    ON CONFLICT (name, digest) DO UPDATE SET {_MENTION}
    WHERE excluded.size_bytes < file.size_bytes OR excluded.unit < file.unit
       OR EXISTS (SELECT 1 FROM subscription AS s WHERE s.site = {{site}} AND NOT s.withdrawn)
       OR EXISTS (SELECT 1 FROM transfer AS t WHERE t.file_id = file.id)
       OR EXISTS (SELECT 1 FROM instance AS i
                  WHERE i.file_id = file.id AND i.site = {{site}} AND i.state = 'suspected')
    """,
    columns=_FACTS,
    values={"change": INTEGER, "site": TEXT},
)

#: Columns of a file that only its origin sets.
_ORIGIN = ("origin_last", "origin_site", "origin_epoch", "origin_incarnation", "origin_seq", "ingested_at", "mtime_ns")
_ORDER = _ORIGIN[:5]


def _row(table: str) -> str:
    return ", ".join(f"{table}.{column}" for column in _ORDER)


#: A grow-only set of ingests. The least of them is the origin; those of recoveries, which know no time, sort last. Rows
#: that exist are written again, so that columns that were added later are filled (catalog/journal/refold.py).
_LEAST = f"file.origin_site IS NULL OR ({_row('excluded')}) <= ({_row('file')})"
_SET_ORIGIN = ", ".join(f"{name} = CASE WHEN {_LEAST} THEN excluded.{name} ELSE file.{name} END" for name in _ORIGIN)

INGESTED = SetStatement(
    f"""
    INSERT INTO file (name, folded, digest, size_bytes, unit, {", ".join(_ORIGIN)}, withdrawn, change)
    SELECT name, folded, digest, size_bytes, unit,
           mtime_ns = 0, {{site}}, {{epoch}}, {{incarnation}}, seq, at, NULLIF(mtime_ns, 0), false, {{change}}
    FROM {{rows}} AS r WHERE true
    ON CONFLICT (name, digest) DO UPDATE SET {_MENTION}, {_SET_ORIGIN}
    """,
    columns=_FACTS | {"seq": INTEGER, "at": TEXT, "mtime_ns": INTEGER},
    values={"site": TEXT, "epoch": INTEGER, "incarnation": TEXT, "change": INTEGER},
)

#: What is peculiar about names: those of several files that are spoken of, with each digest; those in conflict; those
#: of which a digest was kept.
PECULIAR = SetStatement(
    """
    SELECT f.name, f.digest, 'spoken-of' AS what FROM {rows} AS r CROSS JOIN file AS f
    WHERE f.name = r.name AND NOT f.withdrawn
      AND EXISTS (SELECT 1 FROM file AS other WHERE other.name = r.name AND other.digest <> f.digest)
      AND (f.origin_site IS NOT NULL OR EXISTS (SELECT 1 FROM instance AS i WHERE i.file_id = f.id))
    UNION ALL
    SELECT c.name, '', 'conflict' FROM {rows} AS r CROSS JOIN conflict AS c WHERE c.name = r.name
    UNION ALL
    SELECT n.name, n.kept, 'naming' FROM {rows} AS r CROSS JOIN naming AS n WHERE n.name = r.name
    """,
    columns={"name": TEXT},
    gives=3,
)

# ---- instances (catalog/apply.py, catalog/landings.py) ---------------------------------------------------

_INSTANCE = ("state", "how", "source_site", "detail", "at", "size_bytes", "epoch", "incarnation", "seq")

#: What nearly always all instances of a segment have in common: as columns of the set they would double its cost.
INSTANCE_COMMON = ("store", "state", "how", "source_site", "detail", "at")

INSTANCES = SetStatement(
    f"""
    INSERT INTO instance (file_id, site, {", ".join(INSTANCE_COMMON)}, size_bytes, epoch, incarnation, seq)
    SELECT f.id, {{site}}, {", ".join(f"{{{name}}}" for name in INSTANCE_COMMON)},
           r.size_bytes, {{epoch}}, {{incarnation}}, r.seq
    FROM {{rows}} AS r CROSS JOIN file AS f WHERE f.name = r.name AND f.digest = r.digest
    ON CONFLICT (file_id, site, store) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _INSTANCE)}
    WHERE (excluded.epoch, excluded.incarnation, excluded.seq) > (instance.epoch, instance.incarnation, instance.seq)
    """,
    columns=_FILE | {"size_bytes": INTEGER, "seq": INTEGER},
    values={"site": TEXT, "epoch": INTEGER, "incarnation": TEXT} | dict.fromkeys(INSTANCE_COMMON, TEXT),
)

VERIFIED = SetStatement(
    """
    INSERT INTO verified (file_id, store, at, pass)
    SELECT f.id, {store}, {at}, COALESCE((SELECT s.number FROM scrub AS s WHERE s.store = {store}), 0)
    FROM {rows} AS r CROSS JOIN file AS f WHERE f.name = r.name AND f.digest = r.digest
    ON CONFLICT (file_id, store) DO UPDATE SET at = excluded.at, pass = excluded.pass
    """,
    columns=_FILE,
    values={"store": TEXT, "at": TEXT},
)

#: Instances that were mended just now: the bad bytes are kept until a later pass finds them right.
KEPT_BAD = SetStatement(
    """
    INSERT INTO kept_bad (file_id, store, pass)
    SELECT f.id, {store}, COALESCE((SELECT s.number FROM scrub AS s WHERE s.store = {store}), 0)
    FROM {rows} AS r CROSS JOIN file AS f WHERE f.name = r.name AND f.digest = r.digest
    ON CONFLICT (file_id, store) DO UPDATE SET pass = excluded.pass
    """,
    columns=_FILE,
    values={"store": TEXT},
)

#: None of their members is bad any more.
ALL_GOOD = SetStatement(
    """
    DELETE FROM bad_member WHERE store = {store} AND file_id IN (
        SELECT f.id FROM {rows} AS r CROSS JOIN file AS f WHERE f.name = r.name AND f.digest = r.digest
    )
    """,
    columns=_FILE,
    values={"store": TEXT},
)

# ---- what is given to other sites (catalog/integrity/instances.py) ---------------------------------------

#: Files with these digests, at most so many. A file whose name has another meaning by a decision is left out.
OF_DIGESTS = SetStatement(
    """
    SELECT f.id, f.name, f.digest, f.size_bytes, f.unit FROM {rows} AS r CROSS JOIN file AS f
    WHERE f.digest = r.digest AND NOT EXISTS (SELECT 1 FROM naming AS n WHERE n.name = f.name AND n.kept <> f.digest)
    LIMIT {most}
    """,
    columns={"digest": TEXT},
    values={"most": INTEGER},
    gives=5,
)

#: Own instances that are good, that nobody doubts (``apply.unanswered``), and that stand at their names.
GIVEN = SetStatement(
    """
    SELECT i.file_id, i.store, e.trash, e.number FROM {rows} AS r CROSS JOIN instance AS i
    LEFT JOIN eviction AS e ON e.file_id = i.file_id AND e.store = i.store AND e.stage = 'trashed'
    WHERE i.file_id = r.id AND i.site = {site} AND i.state = 'available'
      AND NOT EXISTS (
          SELECT 1 FROM doubt AS d WHERE d.file_id = i.file_id AND d.site = i.site AND d.store = i.store
          AND (i.epoch, i.incarnation, i.seq) <= (d.of_epoch, d.of_incarnation, d.of_seq))
      AND NOT EXISTS (SELECT 1 FROM aside AS a WHERE a.file_id = i.file_id AND a.store = i.store)
    """,
    columns={"id": INTEGER},
    values={"site": TEXT},
    gives=4,
)

# ---- transfers (catalog/transfers/transfers.py, transitions.py) ------------------------------------------

#: Of the files that still have the change number that they are given with; NULL: whichever they have.
NEW_TRANSFERS = SetStatement(
    """
    INSERT INTO transfer (file_id, store, state, message, attempts, strikes, subscription, rank, created_at, changed_at)
    SELECT f.id, {store}, 'wanted', '', 0, 0, {subscription}, {rank}, {now}, {now} FROM {rows} AS r CROSS JOIN file AS f
    WHERE f.id = r.id AND f.change = COALESCE(r.change, f.change) ON CONFLICT DO NOTHING
    """,
    columns={"id": INTEGER, "change": INTEGER},
    values={"store": TEXT, "subscription": TEXT, "rank": INTEGER, "now": TEXT},
)

#: What the machine decides on.
MACHINE = SetStatement(
    """
    SELECT t.id, t.state, t.reason, t.attempts, t.strike, t.strikes, t.next_try_s, t.source
    FROM {rows} AS r CROSS JOIN transfer AS t WHERE t.id = r.id
    """,
    columns={"id": INTEGER},
)

MOVED = SetStatement(
    """
    UPDATE transfer SET
        state = {state}, reason = {reason}, attempts = {attempts}, strike = {strike}, strikes = {strikes},
        next_try_s = {next_try_s}, source = {source}, message = {message}, changed_at = {now}, batch = {batch},
        adapter = COALESCE({adapter}, adapter), chosen = CASE WHEN {chosen} = '' THEN chosen ELSE {chosen} END
    WHERE id IN (SELECT id FROM {rows} AS r)
    """,
    columns={"id": INTEGER},
    values={
        "state": TEXT,
        "reason": TEXT,
        "attempts": INTEGER,
        "strike": TEXT,
        "strikes": INTEGER,
        "next_try_s": REAL,
        "source": TEXT,
        "message": TEXT,
        "now": TEXT,
        "batch": TEXT,
        "adapter": TEXT,
        "chosen": TEXT,
    },
)

#: As ``Reserve`` and then ``Start`` of the machine, for those that are wanted.
IN_BATCH = SetStatement(
    """
    UPDATE transfer SET
        state = 'fetching', reason = NULL, next_try_s = NULL, source = {source}, message = '', changed_at = {now},
        batch = {batch}, adapter = {adapter}, chosen = CASE WHEN {chosen} = '' THEN chosen ELSE {chosen} END
    WHERE id IN (SELECT id FROM {rows} AS r) AND state = 'wanted'
    """,
    columns={"id": INTEGER},
    values={"source": TEXT, "now": TEXT, "batch": TEXT, "adapter": TEXT, "chosen": TEXT},
)

#: Those that their batch still fetches.
GOING = SetStatement(
    """
    SELECT t.id FROM {rows} AS r CROSS JOIN transfer AS t
    WHERE t.id = r.id AND t.state = 'fetching' AND t.batch = {batch}
    """,
    columns={"id": INTEGER},
    values={"batch": TEXT},
    gives=1,
)

#: As ``Land`` and then ``Store`` of the machine, for those that their batch still fetches.
STORED = SetStatement(
    """
    UPDATE transfer SET
        state = 'stored', reason = NULL, attempts = 0, strike = NULL, strikes = 0, next_try_s = NULL, message = '',
        changed_at = {now}, batch = NULL
    WHERE id IN (SELECT id FROM {rows} AS r) AND state = 'fetching' AND batch = {batch}
    """,
    columns={"id": INTEGER},
    values={"now": TEXT, "batch": TEXT},
)

#: Those of which something else waits for the file: a transfer into another store, a person's wish, or a subscription
#: to what this site has.
AWAITED = SetStatement(
    """
    SELECT t.id FROM {rows} AS r CROSS JOIN transfer AS t WHERE t.id = r.id AND (
        EXISTS (SELECT 1 FROM transfer AS o WHERE o.file_id = t.file_id AND o.id <> t.id
                AND o.state NOT IN ('stored', 'cancelled'))
        OR EXISTS (SELECT 1 FROM one_off AS o WHERE o.file_id = t.file_id AND o.store <> t.store)
        OR EXISTS (SELECT 1 FROM subscription AS s
                   WHERE s.site = {site} AND s.from_site = s.site AND NOT s.withdrawn))
    """,
    columns={"id": INTEGER},
    values={"site": TEXT},
    gives=1,
)

#: Those of the files that this site has a good instance of in a store, and does not give up.
PRESENT = SetStatement(
    """
    SELECT f.name, f.digest FROM {rows} AS r CROSS JOIN file AS f CROSS JOIN instance AS i
    WHERE f.name = r.name AND f.digest = r.digest AND i.file_id = f.id AND i.site = {site} AND i.store = {store}
      AND i.state = 'available'
      AND NOT EXISTS (SELECT 1 FROM eviction AS e WHERE e.file_id = i.file_id AND e.store = i.store)
    """,
    columns=_FILE,
    values={"site": TEXT, "store": TEXT},
    gives=2,
)

STOPPED = SetStatement(
    """
    SELECT t.id, t.state FROM {rows} AS r CROSS JOIN transfer AS t
    WHERE t.id = r.id AND t.state IN ('cancelled', 'paused')
    """,
    columns={"id": INTEGER},
    gives=2,
)

# ---- landings (catalog/landings.py) ----------------------------------------------------------------------

#: Those of a batch differ in these; the other columns are mostly the same for all of them.
_LANDING = {
    "id": TEXT,
    "rel": TEXT,
    "name": TEXT,
    "digest": TEXT,
    "size_bytes": INTEGER,
    "entry": UTF8,
    "transfer": INTEGER,
    "manifest_rel": TEXT,
    "list_rel": TEXT,
    "attributes": TEXT,
}
_LANDING_OF_ALL = ("store", "root", "unit", "kind", "action")

BEGUN = SetStatement(
    f"""
    INSERT INTO landing ({", ".join((*_LANDING, *_LANDING_OF_ALL))})
    SELECT {", ".join(_LANDING)}, {", ".join(f"{{{name}}}" for name in _LANDING_OF_ALL)} FROM {{rows}} AS r WHERE true
    ON CONFLICT DO NOTHING
    """,
    columns=_LANDING,
    values=dict.fromkeys(_LANDING_OF_ALL, TEXT),
)

#: Those of the rows that are there, and their end.
STANDING = SetStatement(
    "SELECT l.id FROM {rows} AS r CROSS JOIN landing AS l WHERE l.id = r.id", columns={"id": TEXT}, gives=1
)
ENDED = SetStatement("DELETE FROM landing WHERE id IN (SELECT id FROM {rows} AS r)", columns={"id": TEXT})

#: Those of the names at which something of this site's stands in a store, or should.
CLAIMED = SetStatement(
    """
    SELECT r.name FROM {rows} AS r WHERE EXISTS (
        SELECT 1 FROM file AS f CROSS JOIN instance AS i
        WHERE f.name = r.name AND i.file_id = f.id AND i.site = {site} AND i.store = {store} AND i.state <> 'removed')
    """,
    columns={"name": TEXT},
    values={"site": TEXT, "store": TEXT},
    gives=1,
)

#: Own instances that are suspected, of files with these names.
SUSPECTED = SetStatement(
    """
    SELECT f.name, f.digest, i.store FROM {rows} AS r CROSS JOIN file AS f CROSS JOIN instance AS i
    WHERE f.name = r.name AND i.file_id = f.id AND i.site = {site} AND i.state = 'suspected'
    """,
    columns={"name": TEXT},
    values={"site": TEXT},
    gives=3,
)

#: Files by their folded form, with whether a store has a good instance that is not given up. Two arms: only those with
#: another name than
#: their form are indexed by it.
_NAMESAKE = """
    SELECT f.folded, f.name, f.digest, f.withdrawn, EXISTS (
        SELECT 1 FROM instance AS i WHERE i.file_id = f.id AND i.store = {{store}} AND i.state = 'available'
        AND NOT EXISTS (SELECT 1 FROM eviction AS e WHERE e.file_id = i.file_id AND e.store = i.store))
    FROM {{rows}} AS r CROSS JOIN file AS f WHERE {which}
"""
NAMESAKES = SetStatement(
    _NAMESAKE.format(which="f.name = r.folded AND f.folded = f.name")
    + "UNION ALL"
    + _NAMESAKE.format(which="f.folded = r.folded AND f.folded <> f.name"),
    columns={"folded": TEXT},
    values={"store": TEXT},
    gives=5,
)

#: Those of the names that a file has.
TAKEN = SetStatement(
    """
    SELECT r.name FROM {rows} AS r WHERE EXISTS (SELECT 1 FROM file AS f WHERE f.name = r.name AND NOT f.withdrawn)
    """,
    columns={"name": TEXT},
    gives=1,
)

#: Files of which an ingest is known.
WITH_ORIGIN = SetStatement(
    """
    SELECT f.name, f.digest FROM {rows} AS r CROSS JOIN file AS f
    WHERE f.name = r.name AND f.digest = r.digest AND f.origin_site IS NOT NULL
    """,
    columns=_FILE,
    gives=2,
)

# ---- planning (catalog/transfers/planning.py) ------------------------------------------------------------

#: The files of which more is to be read than their own row and their instances: all others are plain.
_PECULIAR = """
       EXISTS (SELECT 1 FROM transfer AS t WHERE t.file_id = {file}.id)
    OR EXISTS (SELECT 1 FROM one_off AS o WHERE o.file_id = {file}.id)
    OR EXISTS (SELECT 1 FROM conflict AS c WHERE c.name = {file}.name)
    OR EXISTS (SELECT 1 FROM naming AS n WHERE n.name = {file}.name)
    OR EXISTS (SELECT 1 FROM file AS other WHERE other.name = {file}.name AND other.withdrawn)
"""
NOT_PLAIN = SetStatement(
    "SELECT r.id FROM {rows} AS r WHERE" + _PECULIAR.replace("{file}", "r"),
    columns={"id": INTEGER, "name": TEXT},
    gives=1,
)

#: Whether somebody doubts an instance (``apply.unanswered``).
_DOUBTED = """
    EXISTS (SELECT 1 FROM doubt AS d WHERE d.file_id = i.file_id AND d.site = i.site AND d.store = i.store
            AND (i.epoch, i.incarnation, i.seq) <= (d.of_epoch, d.of_incarnation, d.of_seq))
"""
_OWN_SUSPECTED = """
    EXISTS (SELECT 1 FROM instance AS i WHERE i.file_id = f.id AND i.site = {site} AND i.state = 'suspected')
"""
#: The files of a page that the planner must look at, with their origins and instances; a file without instances comes
#: once. ``regardless`` says that one is looked at whatever its name: there is a transfer of it, or its own instance is
#: bad. ``more`` says that it is not plain, or this site has or had an instance of it. Of the others, where this site
#: has subscriptions, those are left out that are settled: this site has a good instance in one of the stores that are
#: given, and no bad one; no transfer of them goes on, and nobody asked for them.
_LOOK = f"""
    SELECT f.id, f.change, f.name,
           EXISTS (SELECT 1 FROM transfer AS t WHERE t.file_id = f.id) OR {_OWN_SUSPECTED} AS regardless,
           EXISTS (SELECT 1 FROM instance AS own WHERE own.file_id = f.id AND own.site = {{site}})
           OR {_PECULIAR.replace("{file}", "f")} AS more,
           f.size_bytes, f.ingested_at, f.origin_site, i.site, i.store, i.state, {_DOUBTED}
    FROM file AS f LEFT JOIN instance AS i ON i.file_id = f.id
    WHERE {{page}}
      AND ({{subscribed}} OR EXISTS (SELECT 1 FROM transfer AS t WHERE t.file_id = f.id) OR {_OWN_SUSPECTED})
      AND NOT (
          EXISTS (SELECT 1 FROM instance AS own WHERE own.file_id = f.id AND own.site = {{site}}
                  AND own.state = 'available' AND own.store IN (SELECT store FROM {{rows}} AS r))
          AND NOT {_OWN_SUSPECTED}
          AND NOT EXISTS (SELECT 1 FROM transfer AS t WHERE t.file_id = f.id
                          AND t.state NOT IN ('stored', 'cancelled'))
          AND NOT EXISTS (SELECT 1 FROM one_off AS o WHERE o.file_id = f.id))
"""
_LOOKED_BY = {"site": TEXT, "subscribed": BOOLEAN}

#: In the order of their changes; behind one file, up to another.
LOOK_AT_CHANGED = SetStatement(
    _LOOK.replace(
        "{page}", "(f.change, f.id) > ({change}, {file_id}) AND (f.change, f.id) <= ({last_change}, {last_id})"
    )
    + "ORDER BY f.change, f.id",
    columns={"store": TEXT},
    values=_LOOKED_BY | {"change": INTEGER, "file_id": INTEGER, "last_change": INTEGER, "last_id": INTEGER},
    gives=12,
)

#: In the order of their rows; likewise.
LOOK_AT_ROWS = SetStatement(
    _LOOK.replace("{page}", "f.id > {file_id} AND f.id <= {last_id}") + "ORDER BY f.id",
    columns={"store": TEXT},
    values=_LOOKED_BY | {"file_id": INTEGER, "last_id": INTEGER},
    gives=12,
)

#: Origins of files, and their instances. A file without instances comes once.
HOLDINGS = SetStatement(
    f"""
    SELECT f.id, f.origin_site, i.site, i.store, i.state, {_DOUBTED}
    FROM {{rows}} AS r CROSS JOIN file AS f LEFT JOIN instance AS i ON i.file_id = f.id WHERE f.id = r.id
    """,
    columns={"id": INTEGER},
    gives=6,
)

FROZEN = SetStatement(
    """
    SELECT f.id FROM {rows} AS r CROSS JOIN file AS f WHERE f.id = r.id
      AND (f.withdrawn OR EXISTS (SELECT 1 FROM conflict AS c WHERE c.name = f.name))
    """,
    columns={"id": INTEGER},
    gives=1,
)

# ---- attributes (catalog/attributes.py) ------------------------------------------------------------------

#: What the origins of files say of them.
ATTRIBUTES = SetStatement(
    """
    SELECT f.id, f.mtime_ns, a.executable, a.list FROM {rows} AS r CROSS JOIN file AS f
    LEFT JOIN attribute AS a ON a.file_id = f.id AND a.site = f.origin_site WHERE f.id = r.id
    """,
    columns={"id": INTEGER},
    gives=4,
)

# ---- what is given up (catalog/eviction_rows.py) --------------------------------------------------------

#: An attempt begins: a time in trash of before is kept.
GIVEN_UP = SetStatement(
    """
    INSERT INTO eviction (file_id, store, stage, nonce, trash, number, why, needs_archive)
    SELECT r.id, {store}, {stage}, {nonce}, '', 0, {why}, {needs_archive} FROM {rows} AS r WHERE true
    ON CONFLICT (file_id, store) DO UPDATE SET
        stage = excluded.stage, nonce = excluded.nonce, trash = '', number = 0, why = excluded.why,
        needs_archive = excluded.needs_archive
    """,
    columns={"id": INTEGER},
    values={"store": TEXT, "stage": TEXT, "nonce": TEXT, "why": TEXT, "needs_archive": BOOLEAN},
)

NUMBERED = SetStatement(
    """
    UPDATE eviction SET number = (SELECT r.number FROM {rows} AS r WHERE r.id = eviction.file_id)
    WHERE store = {store} AND file_id IN (SELECT r.id FROM {rows} AS r)
    """,
    columns={"id": INTEGER, "number": INTEGER},
    values={"store": TEXT},
)

_OF_FILES = "SELECT f.id FROM {rows} AS r CROSS JOIN file AS f WHERE f.name = r.name AND f.digest = r.digest"
#: Files came to their names once more: what stands in trash of them is to be unlinked.
LANDED_MEANWHILE = SetStatement(
    f"""
    UPDATE eviction SET stage = 'landed', nonce = '', since_s = NULL
    WHERE store = {{store}} AND stage IN ('decided', 'trashed') AND file_id IN ({_OF_FILES})
    """,
    columns=_FILE,
    values={"store": TEXT},
)
#: Attempts end, of which nothing stands in trash.
VOIDED = SetStatement(
    f"""
    DELETE FROM eviction
    WHERE store = {{store}} AND stage IN ('pending', 'since') AND file_id IN ({_OF_FILES})
    """,
    columns=_FILE,
    values={"store": TEXT},
)
