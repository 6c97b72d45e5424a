"""The text of a new ``site.toml``: every choice stands in it, what differs from the default uncommented."""

from __future__ import annotations

import json
from typing import NamedTuple

from librarian_protocol.unfinished import IGNORED


class Choices(NamedTuple):
    """What ``lbctl init`` was told. Paths are as they shall stand in the file."""

    site: str
    store: str
    drop: str
    drop_books: str
    listen: str
    advertise: str
    bus_mode: str
    bus_listen: str
    bus_advertise: str
    bus_url: str
    leaf_listen: str
    leaf_advertise: str
    catalog: str
    page: str
    metrics: str
    #: Nobody can dial it.
    undialable: str = ""
    #: The other sites stand on this machine.
    loopback_peers: str = ""


def text(choices: Choices) -> str:
    """The file. ``lbd --config FILE --check`` accepts it."""
    toml = Choices(*(quoted(value) for value in choices))
    bus_url = f"url = {toml.bus_url}" if choices.bus_url else '# url = "nats://user:password@127.0.0.1:4222"'
    ignored = "[" + ", ".join(quoted(glob) for glob in IGNORED) + "]"
    dialable = "dialable = false" if choices.undialable else "# dialable = true"
    loopback_peers = 'loopback_peers = "on"' if choices.loopback_peers else '# loopback_peers = "auto"'
    return f"""\
# A site of the Librarian. Every key, its default and its meaning: docs/configuration.md
# Lines that begin with '# key =' show a default. Relative paths are taken from this directory.
# `lbd --config FILE --check` says what is wrong with it, and starts nothing.

# The name of this site in the mesh. It never changes.
site = {toml.site}
# The failure domain it gives itself if it is the first of a mesh.
# domain = "default"
# Where catalog, keys, bus and socket stand; this directory where empty.
# state = ""
# The control socket, by which lbctl speaks to the daemon; lbd.sock in `state` where empty.
# socket = ""

[control]
# A group whose members may look and change nothing, by a socket of its own.
# readers = ""
# That socket; lbd-read.sock beside the control socket where empty. The group must be able to enter its directory.
# read_socket = ""

[catalog]
# "sqlite:///catalog.sqlite" (relative to `state`) or "postgresql://user@host/database".
url = {toml.catalog}
# A file whose text is the password of the URL.
# password_file = ""

# A place that holds bytes. Repeat the table for more.
[[store]]
label = "main"
path = {toml.store}
# What it is for: source, buffer, archive, processing or drive.
# role = "archive"
# Whether intake and subscriptions may bring files here.
# ingestable = true
# Of several stores that could take a file, the one with the lowest priority does.
# priority = 100
# Free space that stays free: "50GiB", or "5%" of the filesystem.
# reserve = "2%"
# Mode of files after they are committed.
# file_mode = "0444"
# Mode and group of directories that are made, such as "2750" and "observers", so that a group may read the store. Where
# empty: "0755", and above names no more than the umask allows; and as the filesystem gives it.
# dir_mode = ""
# group = ""
# How many files at once become durable: "syncfs" (a disk of its own), "fsync", or what is quicker: "auto".
# sync = "auto"
# What differs from [scrub] for this store; "" and 0: as there.
# scrub_every = ""
# scrub_rate = ""
# scrub_hours = ""
# scrub_freeze_at = 0

# A drop directory: each file that is put here is ingested under its path below it.
[[intake]]
path = {toml.drop}
store = "main"
# Further stores: what is dropped goes into the one with the lowest priority that can take it.
# others = []
unit = "file"
# Put before the path to make the name, such as "obs/2026".
# prefix = ""
# When a file is complete. "quiet": moved into place, or closed and unchanged for `quiet_s` seconds;
# "moved": seen to be moved into place; "rename": whatever is visible.
# Silence is no proof: who is interrupted is silent too. Write elsewhere on this filesystem, then move it here;
# with rsync: -t or -a, and --delay-updates.
# complete = "quiet"
# quiet_s = 5.0
# Names that are not looked at: hidden ones, and those of tools for what is not finished (docs/temporary-names.md).
# ignore = {ignored}
# A full walk at least so often, in seconds; events of the filesystem only make it faster.
# walk_every_s = 60.0
# "inotify", "poll" or "auto"; and seconds between looks where it polls.
# watch = "auto"
# poll_every_s = 2.0
# Whether a name that differs from another only in letter case is taken.
# allow_case_twins = false

# Another, for books: each directory that is put here is ingested as one file.
[[intake]]
path = {toml.drop_books}
store = "main"
unit = "book"
# How many directories below the drop directory a book stands; 1 is directly in it.
# depth = 1
# A book that is moved here is complete. One that is written in place is taken when nothing in it has changed for
# `quiet_s` seconds, which may be too early. Who writes in place uses "marker": complete is what holds a file of that
# name, written last.
# complete = "quiet"
# quiet_s = 60.0
# marker = ".complete"

# The TCP side: other sites fetch bytes here, by signed requests.
[data]
listen = {toml.listen}
# HOST:PORT by which other sites reach it; the address listened on where empty.
advertise = {toml.advertise}
# TLS with this site's own certificate, which the others pin: "on", "off", or "auto": on, but for loopback addresses.
# tls = "auto"
# false: nobody can dial this site; it pushes what is asked of it to sites that can be dialled.
{dialable}
# Whether other sites stand on this machine, and are dialled at loopback addresses: "on", "off", or "auto": where the
# address by which others dial this site is a loopback one.
{loopback_peers}

# A page for browsers on this machine, with what `lbctl status` says; "" for none. Loopback addresses only.
[page]
listen = {toml.page}

# Where Prometheus asks for /metrics, without an account; "" for nowhere.
[metrics]
listen = {toml.metrics}

# Whom to tell of incidents, by a URL of apprise (e-mail, Slack, Teams, webhooks, …); needs `pip install apprise`.
# Repeat the table for more; `lbctl notify test` tries it. docs/notifications.md
# [[notify]]
#     label = "oncall"
#     url = "mailto://user:password@example.org"
#     # A file whose text is the URL, in its place.
#     url_file = ""
#     # "critical", "warning" or "info": that severe or more. Whether to tell also when it is over.
#     level = "warning"
#     over = true
#     # At most one message in so many seconds; of critical incidents one a minute.
#     every_s = 300.0

# A certificate signed by an authority, in place of the one that the daemon makes. PEM files.
[tls]
# ca_file = ""
# cert_file = ""
# key_file = ""

[bus]
# "embedded": a nats-server runs as a child of the daemon. "external": `url` names one.
# "join": an invite token brings the address (`lbctl site join TOKEN`).
mode = {toml.bus_mode}
# Mode "embedded": where the server listens, and HOST:PORT by which invited sites reach it.
listen = {toml.bus_listen}
advertise = {toml.bus_advertise}
# Mode "embedded": where bus servers of other sites dial in by leaf links (TLS), and HOST:PORT by which they reach it.
# Links of all sites meet at one site; at the others this stays empty.
leaf_listen = {toml.leaf_listen}
leaf_advertise = {toml.leaf_advertise}
# Every site tells the others which journal ends it holds, at least so often.
# heads_every_s = 30.0
# Mode "external". Invite tokens carry the URL as it stands here.
{bus_url}
# A file whose text is the password or token of the URL.
# password_file = ""
# http://HOST:PORT of the external server's monitoring: by it the daemon verifies that acknowledged is on disk.
# monitor_url = ""

[mesh]
# The public key of an administrator whose own is kept offline (`lbctl admin keygen`); set it at the first site.
# administrator = ""

[replicator]
# Batches in flight at once of each adapter, the last of them for a source that has no other; and how large one may be.
# concurrency = 5
# batch_files = 1000
# batch_bytes = 1073741824
# A batch in which nothing moves for so many seconds is given up, and tried again later.
# stall_s = 60.0
# A batch that brings fewer bytes a second than this, over so many seconds, is given up for others; 0 is no limit.
# min_rate = 1024
# min_rate_over_s = 120.0

[reconcile]
# The stores are held against the catalog at the start, and then every so many seconds.
# every_s = 86400.0
# Where more instances of a store than this look wrong at once, nothing is said of them before a person has looked.
# limit = 50

# What this site gives up, of what others keep. Without a rule it gives up nothing, but by hand. Whether an instance may
# go is decided by asking the others.
[retention]
# How long it stands in trash, and how long where a store is fuller than a rule allows.
# trash = "7d"
# trash_at_least = "1h"
# Seconds between two passes of a rule that goes by age.
# every_s = 3600.0
# At least so many instances, in so many failure domains, are left. Rules of the mesh are never lowered by it.
#     keep = {{instances = 2, domains = 2}}
# [[retention.rule]]
#     store = "main"
#     match = "raw/**"
#     # Stored so long ago; and, or, once the store is fuller than this ("85%"), down to that ("70%").
#     after = "28d"
#     fuller_than = ""
#     down_to = ""
#     # "archive": one of the instances that are left stands in an archive. Whether an archive gives up, too.
#     needs_role = ""
#     allow_archive = true

[scrub]
# What is stored is read again: every byte within this time, and so many bytes a second of each store.
# every = "30d"
# rate = "50MiB/s"
# Hours of the day in which it reads, in UTC, such as "20:00-06:00"; all where empty.
# hours = ""
# More bad instances than this, found in a store within a pass, freeze it: it neither vouches nor gives anything up.
# freeze_at = 3

[adapters]
# Which ones, in order of preference; settings of one stand in [adapters.settings.NAME].
# order = ["http"]
# In [adapters.limits.NAME]: jobs, how many batches run at once; min_bytes, below which size another one is taken.

[log]
# "json", "console", or "auto": console on a terminal, JSON otherwise.
# format = "auto"
# "debug", "info", "warning" or "error".
# level = "info"
"""


def quoted(value: str) -> str:
    """A basic string of TOML: JSON's, but for DEL, which TOML wants escaped too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
