"""The embedded server's configuration, from the roster: pure, and the same text for the same roster.

Every setting and permission has its reason in ``nats/README.md``; ``nats/sample.conf`` shows a whole one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence, Set

import msgspec

from librarian_daemon.bus import routing
from librarian_daemon.bus.streams import STREAM_MAX_BYTES, STREAMS
from librarian_protocol import subjects
from librarian_protocol.entries import Access
from librarian_protocol.names import SiteName

#: The account through which sites reach one another: without JetStream, so that no reply subject does harm.
LINK = "LINK"


class SiteUsers(msgspec.Struct, frozen=True, kw_only=True):
    """The public NKEYs of the two connections of a site that this server serves."""

    journal: str
    link: str


class LeafUser(msgspec.Struct, frozen=True, kw_only=True):
    """A site whose own server dials this one."""

    key: str


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """A user who may only ask one site to be admitted: as a client, or as a server that dials in."""

    key: str
    inviter: SiteName


class LeafListen(msgspec.Struct, frozen=True, kw_only=True):
    """The address at which other sites' servers dial in."""

    #: ``HOST:PORT``.
    listen: str
    certificate: str
    key: str


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """The server that this one dials."""

    #: ``HOST:PORT``.
    address: str
    #: NKEY seed.
    seed: str
    #: The file of the certificate, or of the authority, that verifies it.
    ca_file: str


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The input of the configuration text."""

    #: The site whose daemon runs the server.
    host: SiteName
    #: ``HOST:PORT``.
    listen: str
    #: Absolute: the directory of streams, the log and the ports file.
    directory: str
    #: Sites whose daemons connect to this server; the host is one of them.
    sites: Mapping[SiteName, SiteUsers]
    #: Sites whose own servers dial this one.
    leaves: Mapping[SiteName, LeafUser] = {}
    #: Access of every site of the roster, which gives its permissions; full if a site is missing.
    access: Mapping[SiteName, str] = {}
    invited: Sequence[Invited] = ()
    #: Public NKEY of the daemon's own system user.
    system: str = ""
    leaf_listen: LeafListen | None = None
    remote: Remote | None = None

    def readers(self, origin: SiteName) -> list[SiteName]:
        """The readers of that site's stream, wherever they are: all other sites of the roster."""
        return sorted(({*self.sites, *self.leaves, *self.access}) - {origin})


def journal_account(site: SiteName) -> str:
    """The account that holds the site's stream and nothing else."""
    return f"JOURNAL_{site}"


def is_public_user_key(key: str) -> bool:
    """Whether the server accepts this as a user's NKEY: one bad key prevents its start."""
    try:
        raw = base64.b32decode(key)
    except (binascii.Error, ValueError):
        return False
    checksum = int.from_bytes(raw[33:], "little")
    return len(raw) == 35 and raw[0] == _USER_PREFIX and binascii.crc_hqx(raw[:33], 0) == checksum


#: An NKEY's first byte makes its first letter ``U``.
_USER_PREFIX = 20 << 3


def usable(config: ServerConfig) -> tuple[ServerConfig, list[str]]:
    """The configuration without users whom the server would refuse or confuse with others, and why they are left out.

    One bad entry of the roster must not block everybody. If a key occurs twice, the host comes first, then the earlier
    one in ``sites``, then the invited.
    """
    sites: dict[SiteName, SiteUsers] = {}
    leaves: dict[SiteName, LeafUser] = {}
    invited: list[Invited] = []
    taken: set[str] = {config.system} - {""}
    left_out: list[str] = []
    for site in sorted(config.sites, key=lambda site: site != config.host):  # stable: the others stay in order
        users = config.sites[site]
        fault = _fault([users.journal, users.link], taken)
        if fault:
            left_out.append(f"site {site!r} is left out: {fault}")
        else:
            sites[site] = users
            taken |= {users.journal, users.link}
    for site, leaf in config.leaves.items():
        fault = _fault([leaf.key], taken)
        if fault:
            left_out.append(f"the leaf link of site {site!r} is left out: {fault}")
        else:
            leaves[site] = leaf
            taken.add(leaf.key)
    for guest in config.invited:
        fault = _fault([guest.key], taken)
        if fault:
            left_out.append(f"an invitation is left out: {fault}")
        else:
            invited.append(guest)
            taken.add(guest.key)
    return msgspec.structs.replace(config, sites=sites, leaves=leaves, invited=invited), left_out


def _fault(keys: Sequence[str], taken: Set[str]) -> str:
    for key in keys:
        if not is_public_user_key(key):
            return f"bus key {ascii(key)[:80]} is not the public NKEY of a user"
        if key in taken or keys.count(key) > 1:
            return f"bus key {key} is in use already"
    return ""


def render(config: ServerConfig) -> str:
    """The configuration file for users that are :func:`usable`."""
    return "\n".join([*_server(config), *_leafnodes(config), "accounts {", *_accounts(config), "}", ""])


def without_secrets(config: ServerConfig) -> ServerConfig:
    """The configuration for display, without secrets."""
    if config.remote is None:
        return config
    return msgspec.structs.replace(config, remote=msgspec.structs.replace(config.remote, seed="SECRET"))


def _server(config: ServerConfig) -> Iterator[str]:
    yield "# Written by lbd from the roster, and again whenever the roster changes: do not edit."
    yield f"server_name: {_text(config.host)}"
    yield f"listen: {_text(config.listen)}"
    yield "max_payload: 1MB"
    yield "max_connections: 8192"
    yield 'ping_interval: "10s"'
    yield "ping_max: 2"
    yield 'write_deadline: "10s"'
    yield f"ports_file_dir: {_text(config.directory)}"
    yield f"log_file: {_text(config.directory + '/nats-server.log')}"
    yield "logfile_size_limit: 16MB"
    yield "logfile_max_num: 2"
    yield "jetstream {"
    yield f"  store_dir: {_text(f'{config.directory}/{STREAMS}')}"
    yield f"  domain: {_text(config.host)}"
    yield "  sync_interval: always  # an acknowledged message survives a power cut"
    yield "  max_mem: 0"
    yield "  max_file: 16TB  # each stream reserves its limit; the disk is what really bounds"
    yield "}"
    yield "feature_flags { js_ack_fc_v2: false }"
    yield "system_account: SYS"


def _leafnodes(config: ServerConfig) -> Iterator[str]:
    """The ports for other sites' servers, and the server that this one dials: always TLS, one port."""
    if config.leaf_listen is None and config.remote is None:
        return
    yield "leafnodes {"
    if config.leaf_listen is not None:
        listen = config.leaf_listen
        yield f"  listen: {_text(listen.listen)}"
        yield "  no_advertise: true  # nobody learns an address but the one he was given"
        yield f"  tls {{ cert_file: {_text(listen.certificate)}, key_file: {_text(listen.key)}, timeout: 5 }}"
    if config.remote is not None:
        far = config.remote
        own = _text(f"lb.{config.host}.>")
        yield '  reconnect: "1s"'
        yield "  remotes ["
        yield f"    {{ url: {_text('tls://' + far.address)}, account: {LINK}, nkey: {far.seed}"
        yield f'      deny_exports: [{own}], deny_imports: ["$JS.>", {own}]'
        yield f"      tls {{ ca_file: {_text(far.ca_file)}, timeout: 5 }} }}"
        yield "  ]"
    yield "}"


def _accounts(config: ServerConfig) -> Iterator[str]:
    sites = sorted(config.sites)
    yield "  SYS {"
    if config.system:
        yield "    users: ["
        yield from _user(config.system, routing.system_publish(), routing.system_subscribe())
        yield "    ]"
    yield "  }"
    for site in sites:
        yield from _journal(site, config.sites[site].journal, config.readers(site))
    yield f"  {LINK} {{  # no JetStream: answers to a forged reply subject find nothing that obeys"
    yield "    imports: ["
    for origin in sites:
        for reader in config.readers(origin):
            for account_subject, link_subject in (
                (routing.next_message(origin, reader), subjects.pull(origin, reader)),
                (routing.reset_consumer(origin, reader), subjects.reset(origin, reader)),
            ):
                source = f"{{ account: {_text(journal_account(origin))}, subject: {_text(account_subject)} }}"
                yield f"      {{ service: {source}, to: {_text(link_subject)} }}"
    yield "    ]"
    yield "    users: ["
    for site in sites:
        access, local = config.access.get(site, Access.FULL), site == config.host
        yield from _user(
            config.sites[site].link,
            routing.link_publish(site, access, local=local),
            routing.link_subscribe(site, access, local=local),
        )
    for site in sorted(config.leaves):
        access = config.access.get(site, Access.FULL)
        yield from _user(
            config.leaves[site].key,
            routing.leaf_publish(site, access),
            routing.leaf_subscribe(site, access),
            connections=("LEAFNODE",),
        )
    for invited in sorted(config.invited, key=lambda user: user.key):
        yield from _user(
            invited.key,
            routing.invited_publish(invited.inviter),
            routing.invited_subscribe(invited.inviter, invited.key),
            connections=("STANDARD", "LEAFNODE"),
        )
    yield "    ]"
    yield "  }"


def _journal(site: SiteName, key: str, readers: Sequence[SiteName]) -> Iterator[str]:
    yield f"  {_text(journal_account(site))} {{"
    yield f"    jetstream {{ max_mem: 0, max_file: {STREAM_MAX_BYTES}, max_streams: 1 }}"
    yield "    exports: ["
    for reader in readers:
        for subject, answers in (
            (routing.next_message(site, reader), "stream"),
            (routing.reset_consumer(site, reader), "singleton"),
        ):
            yield f"      {{ service: {_text(subject)}, response_type: {answers}, accounts: [{LINK}] }}"
    yield "    ]"
    yield "    users: ["
    yield from _user(key, routing.journal_publish(site), routing.journal_subscribe(site))
    yield "    ]"
    yield "  }"


def _user(
    key: str, publish: Sequence[str], subscribe: Sequence[str], *, connections: Sequence[str] = ("STANDARD",)
) -> Iterator[str]:
    """Allow lists only: deny lists have been bypassed before, allow lists have not."""
    kinds = ", ".join(map(_text, connections))
    yield f"      {{ nkey: {key}, allowed_connection_types: [{kinds}], permissions: {{"
    yield f"        publish: {{ allow: [{', '.join(map(_text, publish))}] }}"
    yield f"        subscribe: {{ allow: [{', '.join(map(_text, subscribe))}] }} }} }}"


def _text(value: str) -> str:
    """A quoted string of the server's configuration language."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
