"""Journals of sites that are stopped: filled by the catalog's own code, for benches of what comes after."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.bench.child import child
from tests.support.sites import Site

from librarian_daemon.config import loader

DEADLINE_S = 3600.0


async def tell(site: Site, files: int) -> None:
    """Have a site's journal tell of so many files, of which there are no bytes.

    The site is started and stopped before: what stands in a store that no site declared counts nowhere.
    """
    site.start()
    (store,) = site.client.stores()
    site.stop()
    settings = loader.load(site.config)
    key = site.config.parent / "keys" / "site.key"
    options = ["--site", site.name, "--key", key, "--folder", "owed", "--store", store.id]
    await child("commits", "fill", settings.catalog.url, "--files", files, *options)


def until(what: str, condition: Callable[[], bool], look_s: float) -> float:
    """When it was first seen to be so, on the monotonic clock. Raises ``RuntimeError`` after an hour."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {DEADLINE_S:g} s")
        time.sleep(look_s)
    return time.monotonic()
