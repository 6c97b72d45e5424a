"""``lbd --config FILE``: the daemon's entry point."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import structlog

from librarian_daemon import config, logs
from librarian_daemon.channels import open_channels
from librarian_daemon.host import load_key, raise_descriptor_limit
from librarian_daemon.settings import SiteSettings
from librarian_daemon.site import Site
from librarian_daemon.version import VERSION
from librarian_protocol.errors import LibrarianError


def main() -> None:
    """Run until SIGTERM or SIGINT. Exit code 0 after a graceful stop, else the error's own (docs/errors.md)."""
    parser = argparse.ArgumentParser(prog="lbd", description="The Librarian daemon: one process a site.")
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="the site's site.toml")
    parser.add_argument("--check", action="store_true", help="read the configuration and the key, then exit")
    parser.add_argument("--version", action="version", version=f"lbd {VERSION}")
    arguments = parser.parse_args()
    try:
        settings = config.load(arguments.config)
        if arguments.check:
            load_key(Path(settings.state) / "keys" / "site.key")
            asyncio.run(open_channels(settings.notify))
            sys.stdout.write(f"{arguments.config}: ok\n")
            return
        level = logs.configure(settings.log, settings.site)
        raise_descriptor_limit()
        asyncio.run(_run(settings, level))
    except LibrarianError as exc:
        sys.stderr.write(f"error[{exc.code}]: {exc.message}\n")
        if exc.hint:
            sys.stderr.write(f"hint: {exc.hint}\n")
        sys.exit(exc.exit_code)


async def _run(settings: SiteSettings, level: logs.LogLevel) -> None:
    """Run the site; a signal cancels it. The first of several errors is the one that is reported."""
    task = asyncio.create_task(Site(settings, level).run(), name="site")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
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
