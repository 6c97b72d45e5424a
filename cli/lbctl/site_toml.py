"""The text of a new ``site.toml``: every choice stands in it, what differs from the default uncommented."""

from __future__ import annotations

import json
from typing import NamedTuple


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
    #: Nobody can dial it.
    undialable: str = ""


def text(choices: Choices) -> str:
    """The file. ``lbd --config FILE --check`` accepts it."""
    one = Choices(*(quoted(value) for value in choices))
    bus_url = f"url = {one.bus_url}" if choices.bus_url else '# url = "nats://user:password@127.0.0.1:4222"'
    dialable = "dialable = false" if choices.undialable else "# dialable = true"
    return f"""\
# A site of the Librarian. Every key, its default and its meaning: docs/configuration.md
# Lines that begin with '# key =' show a default. Relative paths are taken from this directory.
# `lbd --config FILE --check` says what is wrong with it, and starts nothing.

# The name of this site in the mesh. It never changes.
site = {one.site}
# The failure domain it gives itself if it is the first of a mesh.
# domain = "default"
# Where catalog, keys, bus and socket stand; this directory where empty.
# state = ""
# The control socket, by which lbctl speaks to the daemon; lbd.sock in `state` where empty.
# socket = ""

[catalog]
# "sqlite:///catalog.sqlite" (relative to `state`) or "postgresql://user@host/database".
url = {one.catalog}
# A file whose text is the password of the URL.
# password_file = ""

# A place that holds bytes. Repeat the table for more.
[[store]]
label = "main"
path = {one.store}
# What it is for: source, buffer, archive, processing or drive.
# role = "archive"
# Whether intake and subscriptions may bring files here.
# ingestable = true
# Mode of files after they are committed.
# file_mode = "0444"

# A drop directory: each file that is put here is ingested under its path below it.
[[intake]]
path = {one.drop}
store = "main"
unit = "file"
# Put before the path to make the name, such as "obs/2026".
# prefix = ""
# When a file is complete. "quiet": renamed into place, or closed and unchanged for `quiet_s` seconds;
# "rename": whatever is visible.
# complete = "quiet"
# quiet_s = 5.0
# Names that are not looked at.
# ignore = [".*", "*.part", "*.tmp"]
# A full walk at least so often, in seconds; events of the filesystem only make it faster.
# walk_every_s = 60.0
# "inotify", "poll" or "auto"; and seconds between looks where it polls.
# watch = "auto"
# poll_every_s = 2.0
# Whether a name that differs from another only in letter case is taken.
# allow_case_twins = false

# Another, for books: each directory that is put here is ingested as one file.
[[intake]]
path = {one.drop_books}
store = "main"
unit = "book"
# How many directories below the drop directory a book stands; 1 is directly in it.
# depth = 1
# For books also "marker": complete is what holds a file of that name.
# complete = "quiet"
# marker = ".complete"

# The TCP side: other sites fetch bytes here, by signed requests.
[data]
listen = {one.listen}
# HOST:PORT by which other sites reach it; the address listened on where empty.
advertise = {one.advertise}
# TLS with this site's own certificate, which the others pin: "on", "off", or "auto": on, but for loopback addresses.
# tls = "auto"
# false: nobody can dial this site; it pushes what is asked of it to sites that can be dialled.
{dialable}

# A page for browsers on this machine, with what `lbctl status` says; "" for none. Loopback addresses only.
[page]
listen = {one.page}

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
mode = {one.bus_mode}
# Mode "embedded": where the server listens, and HOST:PORT by which invited sites reach it.
listen = {one.bus_listen}
advertise = {one.bus_advertise}
# Mode "embedded": where bus servers of other sites dial in by leaf links (TLS), and HOST:PORT by which they reach it.
# Links of all sites meet at one site; at the others this stays empty.
leaf_listen = {one.leaf_listen}
leaf_advertise = {one.leaf_advertise}
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
# Batches in flight at once, and how large one may be.
# concurrency = 4
# batch_files = 1000
# batch_bytes = 1073741824
# A batch in which nothing moves for so many seconds is given up, and tried again later.
# stall_s = 60.0

[reconcile]
# The stores are held against the catalog at the start, and then every so many seconds.
# every_s = 86400.0
# Where more instances of a store than this look wrong at once, nothing is said of them before a person has looked.
# limit = 50

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
