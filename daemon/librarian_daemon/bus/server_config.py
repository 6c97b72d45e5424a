"""The embedded server's configuration, from the roster: pure, and the same text for the same roster.

Every setting and permission has its reason in ``nats/README.md``; ``nats/sample.conf`` shows a whole one.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Iterator, Mapping, Sequence, Set

import msgspec

from librarian_daemon.bus import addressing
from librarian_daemon.bus.streams import STREAM_MAX_BYTES
from librarian_protocol import subjects
from librarian_protocol.names import SiteName

#: The account by which sites reach one another: no JetStream in it, so that no reply subject does harm.
LINK = "LINK"


class SiteUsers(msgspec.Struct, frozen=True, kw_only=True):
    """The public NKEYs of one site's two connections."""

    journal: str
    link: str


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """A user who may ask one site to be admitted, and nothing else."""

    key: str
    inviter: SiteName


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the text is made from."""

    #: The site whose daemon runs the server.
    host: SiteName
    #: ``HOST:PORT``.
    listen: str
    #: Absolute: where streams, the log and the ports file stand.
    directory: str
    sites: Mapping[SiteName, SiteUsers]
    invited: Sequence[Invited] = ()


def journal_account(site: SiteName) -> str:
    """The account that holds the site's stream and nothing else."""
    return f"JOURNAL_{site}"


def is_public_user_key(key: str) -> bool:
    """Whether the server would take this as a user's NKEY: one bad key keeps it from starting at all."""
    try:
        raw = base64.b32decode(key)
    except (binascii.Error, ValueError):
        return False
    checksum = int.from_bytes(raw[33:], "little")
    return len(raw) == 35 and raw[0] == _USER_PREFIX and binascii.crc_hqx(raw[:33], 0) == checksum


#: An NKEY's first byte makes its first letter ``U``.
_USER_PREFIX = 20 << 3


def usable(config: ServerConfig) -> tuple[ServerConfig, list[str]]:
    """The configuration without users whom the server would refuse or mix up with others, and why they are left out.

    One bad entry of the roster must not keep everybody from the bus. Where a key stands twice, the host comes first,
    then whoever stands earlier in ``sites``, then the invited.
    """
    sites: dict[SiteName, SiteUsers] = {}
    invited: list[Invited] = []
    taken: set[str] = set()
    left_out: list[str] = []
    for site in sorted(config.sites, key=lambda site: site != config.host):  # stable: the others stay in order
        users = config.sites[site]
        fault = _fault([users.journal, users.link], taken)
        if fault:
            left_out.append(f"site {site!r} is not let in: {fault}")
        else:
            sites[site] = users
            taken |= {users.journal, users.link}
    for guest in config.invited:
        fault = _fault([guest.key], taken)
        if fault:
            left_out.append(f"an invitation is not let in: {fault}")
        else:
            invited.append(guest)
            taken.add(guest.key)
    return msgspec.structs.replace(config, sites=sites, invited=invited), left_out


def _fault(keys: Sequence[str], taken: Set[str]) -> str:
    for key in keys:
        if not is_public_user_key(key):
            return f"bus key {ascii(key)[:80]} is not the public NKEY of a user"
        if key in taken or keys.count(key) > 1:
            return f"bus key {key} is in use already"
    return ""


def render(config: ServerConfig) -> str:
    """The configuration file for users that are :func:`usable`."""
    return "\n".join([*_server(config), "accounts {", *_accounts(config), "}", ""])


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
    yield f"  store_dir: {_text(config.directory + '/jetstream')}"
    yield "  sync_interval: always  # an acknowledged message survives a power cut"
    yield "  max_mem: 0"
    yield "  max_file: 16TB  # each stream reserves its limit; the disk is what really bounds"
    yield "}"
    yield "feature_flags { js_ack_fc_v2: false }"
    yield "system_account: SYS"


def _accounts(config: ServerConfig) -> Iterator[str]:
    sites = sorted(config.sites)
    yield "  SYS { }"
    for site in sites:
        yield from _journal(site, config.sites[site].journal, [r for r in sites if r != site])
    yield f"  {LINK} {{  # no JetStream: answers to a forged reply subject find nothing that obeys"
    yield "    imports: ["
    for origin, reader in itertools.permutations(sites, 2):
        for account_subject, link_subject in (
            (addressing.next_message(origin, reader), subjects.pull(origin, reader)),
            (addressing.reset_consumer(origin, reader), subjects.reset(origin, reader)),
        ):
            source = f"{{ account: {_text(journal_account(origin))}, subject: {_text(account_subject)} }}"
            yield f"      {{ service: {source}, to: {_text(link_subject)} }}"
    yield "    ]"
    yield "    users: ["
    for site in sites:
        yield from _user(
            config.sites[site].link,
            addressing.link_publish(site),
            addressing.link_subscribe(site, host=site == config.host),
        )
    for invited in sorted(config.invited, key=lambda user: user.key):
        yield from _user(
            invited.key,
            addressing.invited_publish(invited.inviter),
            addressing.invited_subscribe(invited.key),
        )
    yield "    ]"
    yield "  }"


def _journal(site: SiteName, key: str, readers: Sequence[SiteName]) -> Iterator[str]:
    yield f"  {_text(journal_account(site))} {{"
    yield f"    jetstream {{ max_mem: 0, max_file: {STREAM_MAX_BYTES}, max_streams: 1 }}"
    yield "    exports: ["
    for reader in readers:
        for subject, answers in (
            (addressing.next_message(site, reader), "stream"),
            (addressing.reset_consumer(site, reader), "singleton"),
        ):
            yield f"      {{ service: {_text(subject)}, response_type: {answers}, accounts: [{LINK}] }}"
    yield "    ]"
    yield "    users: ["
    yield from _user(key, addressing.journal_publish(site), addressing.journal_subscribe(site))
    yield "    ]"
    yield "  }"


def _user(key: str, publish: Sequence[str], subscribe: Sequence[str]) -> Iterator[str]:
    """Allow-only: a deny list has been by-passed before, an allow list has not."""
    yield f'      {{ nkey: {key}, allowed_connection_types: ["STANDARD"], permissions: {{'
    yield f"        publish: {{ allow: [{', '.join(map(_text, publish))}] }}"
    yield f"        subscribe: {{ allow: [{', '.join(map(_text, subscribe))}] }} }} }}"


def _text(value: str) -> str:
    """A quoted string of the server's configuration language."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
