"""Every expression of the boards, asked of a real Prometheus that scraped real daemons, returns data.

So a metric or a label that is renamed in the code makes a test fail.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from tests.support.observing import Observed, observed
from tests.support.oracle import some_bytes
from tests.support.sites import pair

BOARDS = Path(__file__).parents[3] / "deploy" / "grafana"


def expressions() -> Iterator[tuple[str, str, str]]:
    """Board, panel and expression."""
    for path in sorted(BOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield path.stem, panel["title"], target["expr"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Generator[Observed]:
    """Two sites of which one brings a good file from the other, and fails to bring a spoilt one."""
    root = tmp_path_factory.mktemp("sites")
    with pair(root, subscribe=False) as both, observed(root / "observed", both.sites) as watching:
        both.source.drop_file("good.dat", some_bytes(9000))
        both.source.drop_file("spoilt.dat", some_bytes(9001))
        both.at_both("both are known", lambda site: site.client.status().counts.files == 2)
        spoilt = both.source.store / "spoilt.dat"
        spoilt.chmod(0o644)
        spoilt.write_bytes(some_bytes(9001, 1))
        both.destination.lbctl("subscription", "add", "--from", "summit")
        both.source.lbctl("events", "audit")
        both.destination.lbctl("events", "audit")
        watching.wait_for(
            "what failed was scraped twice",
            lambda: watching.query(f"rate({FAILED}[1m]) and rate({STORED}[1m])".replace(" and ", " and on(peer) ")),
        )
        yield watching


FAILED = "librarian_failed_attempts_total"
STORED = "librarian_stored_bytes_total"


@pytest.mark.parametrize(("board", "panel", "expression"), [*expressions()])
def test_every_expression_of_the_boards_returns_data(seen: Observed, board: str, panel: str, expression: str) -> None:
    asked = expression.replace("$site", "archive").replace("$peer", "summit").replace("$__rate_interval", "1m")
    assert "$" not in asked
    seen.wait_for(f"{board}: {panel}: {asked} returns data", lambda: seen.query(asked), 20)


def test_the_boards_are_the_three_that_link_to_one_another() -> None:
    found = {path.stem: json.loads(path.read_text()) for path in BOARDS.glob("*.json")}
    assert set(found) == {"fleet", "site", "transfer"}
    for name, board in found.items():
        assert {link["url"].removeprefix("/d/librarian-") for link in board["links"]} == set(found) - {name}
        for panel in board["panels"]:
            assert panel["description"], f"{name}: {panel['title']} says what it shows"
            for target in panel["targets"]:
                assert set(re.findall(r"\$(\w+)", target["expr"])) <= {"site", "peer", "__rate_interval"}
