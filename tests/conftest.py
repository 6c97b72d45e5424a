"""What all tests share."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import settings
from tests.support.programs import summary

# How long an example takes says something of the machine, not of the code; speed is measured by benchmarks.
settings.register_profile("librarian", deadline=None)
settings.load_profile("librarian")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that is about a row of the fault matrix says so in its report, whichever process it runs in."""
    for item in items:
        if item.get_closest_marker("fault"):
            item.user_properties.append(("fault", True))


def pytest_configure(config: pytest.Config) -> None:
    """``FAULTS_TO=FILE`` keeps what came of the tests about faults."""
    path = os.environ.get("FAULTS_TO")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Outcomes(Path(path)), "fault outcomes")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not tried for want of a program, under xdist too: reports come together here."""
    lines = summary(terminalreporter.stats.get("skipped", []))
    if lines:
        terminalreporter.section("missing programs")
        for line in lines:
            terminalreporter.write_line(line)


class _Outcomes:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if ("fault", True) not in report.user_properties:
            return
        if report.when == "call" or report.outcome != "passed":
            self._outcomes[report.nodeid] = report.outcome

    def pytest_sessionfinish(self) -> None:
        self._path.write_text(json.dumps(self._outcomes, indent=1, sort_keys=True) + "\n")
