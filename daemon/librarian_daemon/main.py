"""``lbd --config FILE``: the daemon's entry point."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from pathlib import Path

import prometheus_client
import structlog

from librarian_daemon.config import loader
from librarian_daemon.incidents.channels import open_channels
from librarian_daemon.runtime import logs
from librarian_daemon.runtime.machine import load_key, raise_descriptor_limit
from librarian_daemon.runtime.version import VERSION
from librarian_daemon.site import Site
from librarian_protocol.errors import LibrarianError

#: Objects that are made before the garbage collector looks at them.
GARBAGE = 20_000


def main() -> None:
    """Run until SIGTERM or SIGINT. Exit code 0 after a graceful stop, else the error's own (docs/errors.md)."""
    parser = argparse.ArgumentParser(prog="lbd", description="The Librarian daemon: one process a site.")
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="the site's site.toml")
    parser.add_argument("--check", action="store_true", help="read the configuration and the key, then exit")
    parser.add_argument(
        "--accept-key",
        default="",
        metavar="FINGERPRINT",
        help="start with this site key although catalog and roster know another one: the site was readmitted with it",
    )
    parser.add_argument("--version", action="version", version=f"lbd {VERSION}")
    arguments = parser.parse_args()
    try:
        settings = loader.load(arguments.config)
        if arguments.check:
            load_key(Path(settings.state) / "keys" / "site.key")
            asyncio.run(open_channels(settings.notify))
            sys.stdout.write(f"{arguments.config}: ok\n")
            return
        log = logs.configure(settings.log, settings.site)
        raise_descriptor_limit()
        os.umask(os.umask(0o077) | 0o002)  # nobody else writes to what is made here
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types
        _collect_seldom()
        site = Site(settings, log, lambda: loader.load(arguments.config), accept_key=arguments.accept_key)
        asyncio.run(_run(site))
    except LibrarianError as exc:
        sys.stderr.write(f"error[{exc.code}]: {exc.message}\n")
        if exc.hint:
            sys.stderr.write(f"hint: {exc.hint}\n")
        sys.exit(exc.exit_code)


def _collect_seldom() -> None:
    """What was imported stays until the end: the garbage collector need not look at it, nor after each 700 objects.

    A batch makes some ten thousand objects, nearly none of them in a cycle. A tenth of the time that small files cost
    went into looking at all that was there (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 10, 10)


async def _run(site: Site) -> None:
    """Run the site; SIGHUP has it read its configuration again, SIGTERM and SIGINT end it.

    The first of several errors is the one that is reported.
    """
    task = asyncio.create_task(site.run(), name="site")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    loop.add_signal_handler(signal.SIGHUP, site.reload)
    try:
        await task
    except asyncio.CancelledError:
        structlog.get_logger("main").info("stopped")
    except BaseExceptionGroup as group:
        raised: BaseExceptionGroup[BaseException] = group
        named = raised.subgroup(LibrarianError)
        if named is None:
            raise
        raise _first(named) from group


def _first(group: BaseExceptionGroup[LibrarianError]) -> LibrarianError:
    one = group.exceptions[0]
    return _first(one) if isinstance(one, BaseExceptionGroup) else one
