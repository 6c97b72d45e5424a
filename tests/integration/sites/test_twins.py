"""A directory that was copied, and both run: told for what it is, and ended as the page says."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
from tests.support.sites import Site, free_port, pair, sites

from librarian_client import Client

SOON = {"# heads_every_s = 30.0": "heads_every_s = 1.0"}


def clone_of(site: Site, root: Path) -> Site:
    """What ``cp -a`` makes, on another port."""
    shutil.copytree(site.root, root, symlinks=True)
    made = copy.copy(site)
    made.root, made.config, made.log = root, root / "site.toml", root / "lbd.log"
    made.drop, made.drop_books, made.store, made.making = (
        root / name for name in ("drop", "drop-books", "store", "making")
    )
    made.data_port, made.process = free_port(), None
    text = made.config.read_text().replace(str(site.root), str(root))
    made.config.write_text(text.replace(f":{site.data_port}", f":{made.data_port}"))
    made.client = Client.from_config(made.config)
    return made


@pytest.mark.fault(23)
def test_a_copied_site_is_a_twin_and_no_restored_catalog(tmp_path: Path) -> None:
    with pair(tmp_path, changed=SOON, subscribe=False) as both:
        summit, lab = both.sites
        lab.drop_file("of-both.dat", b"1")
        both.wait_for("it is told of", lambda: summit.client.files().files)
        lab.stop()
        twin = clone_of(lab, tmp_path / "lab2")
        with sites(twin):
            lab.start()
            twin.start()
            twin.drop_file("of-the-twin.dat", b"2")
            for site in (lab, twin):
                both.wait_for("it is a twin", lambda site=site: "twin" in site.problems())  # type: ignore[misc]  # a loop
                both.wait_for(
                    "it does not vouch",
                    lambda site=site: "another daemon runs" in str(site.client.recovery().waits_for),  # type: ignore[misc]
                )
            both.wait_for("the twin's file is told of", lambda: len(summit.client.files().files) == 2)
            assert "catalog-behind" not in lab.problems()
            assert len(lab.logged("incarnation_begun")) == 2, "it does not begin again and again"

            twin.stop()
            lab.stop()
            lab.start()
            both.wait_for("it recovers", lambda: lab.client.recovery().since is None)
            assert "twin" in lab.problems(), "a person says when it is over"
            held = {file.name: file.sites for file in lab.client.files().files}
            assert held == {"of-both.dat": ["archive"], "of-the-twin.dat": []}
