"""``lbctl init``: the configuration, the key and the directories of a new site."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from lbctl.app import App, Command, examples
from lbctl.failure import usage

if TYPE_CHECKING:
    from lbctl.site_toml import Choices

_EMBEDDED = re.compile(r"embedded(?::(?:(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):)?(?P<port>\d{1,5}))?\Z")
_SECRET = re.compile(r"://[^/@\s]*:?[^/@\s]*@")


@click.command(
    cls=Command,
    epilog=examples(
        "lbctl init /srv/summit --site summit",
        "lbctl init . --site summit --listen 0.0.0.0:7400 --advertise summit.example:7400",
        "lbctl init /srv/archive --site archive --store /data/lb --bus join",
        "lbctl init /srv/telescope --site telescope --undialable",
    ),
)
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--site", required=True, metavar="NAME", help="Its name in the mesh; it never changes.")
@click.option("--store", metavar="PATH", help="Where files are kept. [DIR/store]")
@click.option("--drop", metavar="PATH", help="Where files are dropped. [DIR/drop]")
@click.option("--drop-books", metavar="PATH", help="Where books are dropped. [DIR/drop-books]")
@click.option(
    "--listen", default="127.0.0.1:7400", show_default=True, metavar="HOST:PORT", help="Where peers fetch bytes."
)
@click.option("--advertise", default="", metavar="HOST:PORT", help="By which peers reach it. [as --listen]")
@click.option(
    "--bus",
    default="embedded",
    show_default=True,
    metavar="BUS",
    help="embedded[:[HOST:]PORT], nats://HOST:PORT or join.",
)
@click.option(
    "--leaf-listen", default="", metavar="HOST:PORT", help="Where bus servers of other sites dial in, by TLS."
)
@click.option(
    "--page", default="127.0.0.1:7480", show_default=True, metavar="HOST:PORT", help="The status page; '' for none."
)
@click.option(
    "--metrics", default="127.0.0.1:7401", show_default=True, metavar="HOST:PORT", help="/metrics; '' for nowhere."
)
@click.option("--undialable", is_flag=True, help="Nobody can dial it: it dials out, and pushes what is asked of it.")
@click.option(
    "--catalog", default="sqlite:///catalog.sqlite", show_default=True, metavar="URL", help="Or postgresql://…"
)
@click.pass_context
def init(
    context: click.Context,
    directory: Path,
    site: str,
    store: str | None,
    drop: str | None,
    drop_books: str | None,
    listen: str,
    advertise: str,
    bus: str,
    leaf_listen: str,
    page: str,
    metrics: str,
    undialable: bool,
    catalog: str,
) -> None:
    """Write DIR/site.toml and DIR/keys/site.key, and make the directories.

    An existing site.toml or key is never overwritten.
    """
    from lbctl.site_toml import Choices
    from librarian_protocol.loopback import is_loopback
    from librarian_protocol.names import SiteName

    app = context.find_object(App)
    assert app is not None
    host = _host("--listen", listen)
    mode, bus_listen, bus_advertise, url = _bus(bus, advertise)
    if undialable and (leaf_listen or advertise):
        raise usage("--undialable says that nobody can dial this site: leave --leaf-listen and --advertise away")
    if leaf_listen:
        _host("--leaf-listen", leaf_listen)
        if mode != "embedded":
            raise usage("--leaf-listen goes with --bus embedded")
        # Its own daemon alone is a client; other sites come by leaf links.
        bus_listen, bus_advertise = f"127.0.0.1:{bus_listen.rpartition(':')[2]}", ""
    _reachable(listen, advertise)
    _loopback(page)
    if metrics:
        _host("--metrics", metrics)
    made = create(
        directory,
        Choices(
            site=SiteName.parse(site),
            store=_place(store, "store"),
            drop=_place(drop, "drop"),
            drop_books=_place(drop_books, "drop-books"),
            listen=listen,
            advertise=advertise,
            bus_mode=mode,
            bus_listen=bus_listen,
            bus_advertise=bus_advertise,
            bus_url=url,
            leaf_listen=leaf_listen,
            leaf_advertise=_leaf_advertise(leaf_listen, advertise),
            catalog=_catalog(catalog),
            page=page,
            metrics=metrics,
            undialable="yes" if undialable else "",
            # Whoever gives a loopback address for a site that nobody dials has all sites on one machine.
            loopback_peers="yes"
            if undialable
            and context.get_parameter_source("listen") is ParameterSource.COMMANDLINE
            and is_loopback(host)
            else "",
        ),
    )
    _tell(app, made, mode)
    if mode == "embedded" and _only_here(bus_listen) and not (_only_here(listen) or leaf_listen or undialable):
        from lbctl.output import note

        note(f"the bus is at {bus_listen}, for this machine: sites elsewhere join by TLS if --leaf-listen is given too")


def _place(path: str | None, default: str) -> str:
    """As it stands in the file: a default is relative, so that the whole directory can be moved."""
    return default if path is None else os.path.abspath(path)


def _host(option: str, value: str) -> str:
    from librarian_protocol import host_port
    from librarian_protocol.errors import ArgumentInvalid

    try:
        return host_port.parse(value, least_port=1)[0]
    except ValueError as exc:
        raise ArgumentInvalid(f"{option}: {exc}", hint="such as 127.0.0.1:7400") from exc


def _reachable(listen: str, advertise: str) -> None:
    from librarian_protocol.errors import ArgumentInvalid
    from librarian_protocol.host_port import WILDCARDS

    host = _host("--advertise", advertise) if advertise else _host("--listen", listen)
    if host in WILDCARDS:
        raise ArgumentInvalid(
            f"other sites cannot dial {advertise or listen}",
            hint="--advertise HOST:PORT says by which name they reach this host",
        )


def _loopback(page: str) -> None:
    from librarian_protocol.errors import ArgumentInvalid
    from librarian_protocol.loopback import is_loopback

    if page and not is_loopback(_host("--page", page)):
        raise ArgumentInvalid(
            f"--page: {page!r} is not this machine alone", hint="the page knows no accounts: a loopback address, or ''"
        )


def _only_here(address: str) -> bool:
    from librarian_protocol.host_port import parse
    from librarian_protocol.loopback import is_loopback

    return is_loopback(parse(address)[0])


def _bus(bus: str, advertise: str) -> tuple[str, str, str, str]:
    """Mode, where an embedded server listens and is reached, and an external one's URL.

    Clients of the embedded server speak in plain text: it listens for this machine alone, unless a host is given.
    """
    from librarian_protocol.errors import ArgumentInvalid
    from librarian_protocol.host_port import joined

    embedded = _EMBEDDED.match(bus)
    if embedded:
        listen, port = embedded["host"] or "127.0.0.1", int(embedded["port"] or 4222)
        _host("--bus", f"{listen}:{port}")
        host = _host("--advertise", advertise) if advertise and embedded["host"] else ""
        return "embedded", f"{listen}:{port}", joined(host, port) if host else "", ""
    if bus == "join":
        return "join", "127.0.0.1:4222", "", ""
    scheme, _, rest = bus.partition("://")
    if scheme in {"nats", "tls"}:
        _host("--bus", rest.rpartition("@")[2].rstrip("/"))
        return "external", "127.0.0.1:4222", "", bus
    raise ArgumentInvalid(f"--bus: {bus!r} is no bus", hint="embedded[:[HOST:]PORT], nats://HOST:PORT or join")


def _leaf_advertise(leaf_listen: str, advertise: str) -> str:
    """By which other sites' bus servers reach this one: the host of --advertise, where it says one."""
    if not leaf_listen or not advertise:
        return ""
    from librarian_protocol.host_port import joined, parse

    return joined(_host("--advertise", advertise), parse(leaf_listen)[1])


def _catalog(url: str) -> str:
    from librarian_protocol.errors import ArgumentInvalid

    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return url
    if url.startswith("postgresql://"):
        return url
    raise ArgumentInvalid(
        f"--catalog: {url!r} is no catalog", hint="sqlite:///catalog.sqlite or postgresql://user@host/database"
    )


def create(directory: Path, choices: Choices) -> Path:
    """Make the site's directories, key and configuration; the path of its ``site.toml``.

    Raises:
        NotPossible: one is there already, or the file's text cannot be written.
    """
    from lbctl.site_toml import text
    from librarian_protocol.errors import ArgumentInvalid, NotPossible

    directory = directory.absolute()
    config, key = directory / "site.toml", directory / "keys" / "site.key"
    for path in (config, key):
        if path.exists():
            raise NotPossible(
                f"{path} is there already: nothing was changed", hint="another DIR, or move it away if the site is gone"
            )
    try:
        body = text(choices).encode()
    except UnicodeEncodeError as exc:
        raise ArgumentInvalid("a path is not UTF-8, and TOML can hold nothing else") from exc
    # Whatever the umask says, nobody else writes here.
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    key.parent.mkdir(mode=0o700, exist_ok=True)
    key.parent.chmod(0o700)
    for place, mode in ((choices.store, 0o755), (choices.drop, 0o775), (choices.drop_books, 0o775)):
        (directory / place).mkdir(mode=mode, parents=True, exist_ok=True)
    write_key(key, secrets.token_bytes(32))
    # The configuration comes last: where it stands, all that it speaks of is there.
    secret = _SECRET.search(choices.bus_url) or _SECRET.search(choices.catalog)
    _write(config, body, 0o600 if secret else 0o644)
    return config


def write_key(path: Path, seed: bytes) -> None:
    """A site's private key as a file that only its owner may read, durable, never over another."""
    _write(path, seed.hex().encode() + b"\n", 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    """A new file, durable, never over another."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _tell(app: App, config: Path, mode: str) -> None:
    from lbctl.app import Format
    from lbctl.output import emit, say

    if app.output is not Format.TABLE:
        emit(app, {"config": str(config), "key": str(config.parent / "keys" / "site.key")})
        return
    say(app, f"wrote {config} and {config.parent / 'keys' / 'site.key'} (keep the key: it is the site)")
    say(app, "next:")
    say(app, f"  export LBCTL_CONFIG={config}")
    if mode == "join":
        say(app, "  lbctl site join TOKEN          # a token of `lbctl site invite` at a site of the mesh")
    say(app, f"  lbd --config {config}")
    say(app, "  lbctl status")
    if mode != "join":
        say(app, "  lbctl site invite              # prints a token for another site")
