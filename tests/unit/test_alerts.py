"""Alerts: each has a page and a test, and asks for metrics that there are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.support.programs import needs

from librarian_daemon.runtime.metrics import Metrics
from librarian_protocol.names import SiteName

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "librarian.rules.yml"
ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text())


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_page_and_a_test(alert: str) -> None:
    page = (ROOT / "docs" / "runbooks" / f"{alert}.md").read_text()
    assert page.startswith(f"# {alert}\n")
    assert "## What to do" in page
    assert f"alertname: {alert}\n" in RULES.with_suffix(".test.yml").read_text()
    assert f'runbook_url: "docs/runbooks/{alert}.md"' in RULES.read_text()


def test_every_metric_that_an_alert_asks_for_is_there() -> None:
    asked = set(re.findall(r"librarian_\w+", "\n".join(re.findall(r"expr: (.*(?:\n {10}.*)*)", RULES.read_text()))))
    known = {family.name for family in Metrics(SiteName("archive")).registry.collect()}
    assert len(asked) > 8
    assert asked <= known, asked - known


def test_the_alerts_pass_their_own_tests() -> None:
    needs("promtool")
    command = ["promtool", "test", "rules", RULES.with_suffix(".test.yml").name]
    done = subprocess.run(command, cwd=RULES.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_are_as_prometheus_wants_them() -> None:
    needs("promtool")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=Metrics(SiteName("archive")).text(), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
