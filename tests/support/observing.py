"""A real Prometheus and a real Alertmanager beside the sites of a test, and a webhook that hears what is told.

The shipped rules are used as they are, but for the time that a condition must last (``for``): a test has no ten
minutes.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from tests.support.programs import needs
from tests.support.sites import Site, free_port

T = TypeVar("T")

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "librarian.rules.yml"


class Webhook:
    """Hears what Alertmanager, or anybody, posts."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        heard = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class calls it
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def told(self, alert: str, status: str) -> list[dict[str, Any]]:
        """Alerts of that name that were told as ``firing`` or ``resolved``."""
        return [
            known
            for post in list(self.posts)
            for known in post.get("alerts", ())
            if known["labels"]["alertname"] == alert and known["status"] == status
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Observed:
    """What watches the sites."""

    def __init__(self, prometheus: str, webhook: Webhook, root: Path) -> None:
        self._prometheus = prometheus
        self.webhook = webhook
        self._root = root

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression yields now."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self._prometheus}/api/v1/query?{query}", timeout=10) as reply:
            found = json.loads(reply.read())
        assert found["status"] == "success", found
        return list(found["data"]["result"])

    def wait_for(self, what: str, condition: Callable[[], T | None], deadline_s: float = 60.0) -> T:
        """Look until there is something true; else fail with what the programs logged."""
        end = time.monotonic() + deadline_s
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > end:
                logs = "\n".join(path.read_text()[-3000:] for path in self._root.glob("*.log"))
                raise AssertionError(f"not within {deadline_s:.0f} s: {what}\n{self.webhook.posts}\n{logs}")
            time.sleep(0.2)


@contextmanager
def observed(root: Path, sites: Sequence[Site], rules: str | None = None) -> Generator[Observed]:
    """Prometheus scrapes the sites every second, Alertmanager tells the webhook at once."""
    needs("prometheus", "prometheus-alertmanager")
    root.mkdir()
    webhook = Webhook()
    alertmanager, prometheus = free_port(), free_port()
    shipped = RULES.read_text() if rules is None else rules
    (root / "rules.yml").write_text(re.sub(r"^( +for: ).*$", r"\g<1>1s", shipped, flags=re.MULTILINE))
    targets = json.dumps([f"127.0.0.1:{site.metrics_port}" for site in sites])
    (root / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]}}]}}
scrape_configs:
  - job_name: librarian
    static_configs: [{{targets: {targets}}}]
""")
    (root / "alertmanager.yml").write_text(f"""
route: {{receiver: hook, group_wait: 0s, group_interval: 1s, repeat_interval: 1h, group_by: [alertname, instance]}}
receivers: [{{name: hook, webhook_configs: [{{url: "{webhook.url}", send_resolved: true}}]}}]
""")
    commands = [
        [
            "prometheus-alertmanager",
            "--config.file=alertmanager.yml",
            "--storage.path=alertmanager",
            f"--web.listen-address=127.0.0.1:{alertmanager}",
            "--cluster.listen-address=",
        ],
        [
            "prometheus",
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=tsdb",
            f"--web.listen-address=127.0.0.1:{prometheus}",
        ],
    ]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (root / f"{command[0]}.log").open("wb") as log:
                running.append(subprocess.Popen(command, cwd=root, stdout=log, stderr=log))
        made = Observed(f"http://127.0.0.1:{prometheus}", webhook, root)
        made.wait_for("Prometheus has scraped", lambda: _answers(made) and len(made.query("up == 1")) == len(sites))
        yield made
    finally:
        for process in running:
            process.kill()
            process.wait()
        webhook.close()


def _answers(made: Observed) -> bool:
    try:
        made.query("up")
    except OSError:
        return False
    return True
