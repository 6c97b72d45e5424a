"""Grafana's boards, as code. ``python deploy/grafana/boards.py`` writes the JSON beside; ``--check`` only compares.

Three boards: *fleet* (all sites at a glance), *site* (one of them), *transfer* (one site and one of its peers). Each
expression is asked of a real Prometheus in the tests and must return data.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendPlacement
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef, ThresholdsMode, VariableRefresh
from grafana_foundation_sdk.models.dashboard import Threshold as Step
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

HERE = Path(__file__).parent
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
#: Panels stand on a grid of 24 columns.
WHOLE, HALF, THIRD, QUARTER = 24, 12, 8, 6

Panel = Any


def query(expression: str, legend: str = "", *, instant: bool = False) -> prometheus.Dataquery:
    """One expression; ``legend`` is how its series are named."""
    made = prometheus.Dataquery().expr(expression).legend_format(legend)
    return made.instant().format(PromQueryFormat.TABLE) if instant and not legend else made


def levels(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Colours from a value on; the first from None."""
    made = [Step(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


GOOD_AT_0 = levels((None, "green"), (1, "red"))


def plot(title: str, about: str, unit: str, *queries: prometheus.Dataquery, span: int = HALF) -> Panel:
    """Figures over time."""
    panel = timeseries.Panel().title(title).description(about).unit(unit).min(0).span(span).height(8).datasource(SOURCE)
    panel = panel.legend(common.VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM))
    for one in queries:
        panel = panel.with_target(one)
    return panel


def figure(title: str, about: str, unit: str, expression: str, *, bad: bool = False, span: int = QUARTER) -> Panel:
    """One number; with ``bad`` it is red above 0."""
    panel = stat.Panel().title(title).description(about).unit(unit).span(span).height(4).datasource(SOURCE)
    panel = panel.with_target(query(expression, "{{site}}"))
    return panel.thresholds(GOOD_AT_0 if bad else levels((None, "blue")))


def shares(title: str, about: str, expression: str, legend: str, *, span: int = HALF) -> Panel:
    """Parts of a whole, each as a bar from 0 to 1."""
    panel = bargauge.Panel().title(title).description(about).unit("percentunit").min(0).max(1).span(span).height(8)
    panel = panel.thresholds(levels((None, "green"), (0.85, "orange"), (0.97, "red"))).datasource(SOURCE)
    return panel.with_target(query(expression, legend))


def rows(title: str, about: str, expression: str, *, span: int = HALF) -> Panel:
    """A table of what there is now."""
    panel = table.Panel().title(title).description(about).span(span).height(8).datasource(SOURCE)
    return panel.with_target(query(expression, instant=True))


def board(uid: str, title: str, about: str, variables: Sequence[str], panels: Sequence[Panel]) -> str:
    """The JSON of a board whose variables are labels: each depends on those before it."""
    made = dashboard.Dashboard(title).uid(uid).description(about).tags(["librarian"]).refresh("30s")
    made = made.time("now-6h", "now").readonly().timezone("utc")
    made = made.with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for at, name in enumerate(variables):
        which = ", ".join(f'{one}="${one}"' for one in variables[:at])
        metric = f"librarian_peer_link_up{{{which}}}" if name == "peer" else "librarian_build_info"
        variable = dashboard.QueryVariable(name).label(name).query(f"label_values({metric}, {name})")
        made = made.with_variable(variable.datasource(SOURCE).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED))
    for panel in panels:
        made = made.with_panel(panel)
    for other in ("fleet", "site", "transfer"):
        if uid != f"librarian-{other}":
            link = (
                dashboard.DashboardLink(other).type(DashboardLinkType.LINK).url(f"/d/librarian-{other}").keep_time(True)
            )
            made = made.link(link)
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def fleet() -> str:
    """All sites."""
    return board(
        "librarian-fleet",
        "Librarian: fleet",
        "All sites at a glance: who is up, who is behind, what is wrong.",
        [],
        [
            figure("Daemons up", "Sites whose daemon answers.", "none", 'sum(up{job="librarian"})'),
            figure(
                "Links down",
                "Pairs of sites of which one does not hear the other.",
                "none",
                "count(librarian_peer_link_up) - sum(librarian_peer_link_up)",
                bad=True,
            ),
            figure("Open incidents", "Of all sites.", "none", "sum(librarian_open_incidents)", bad=True),
            figure("Owed", "Files that are still to come, anywhere.", "none", "sum(librarian_peer_owed_files)"),
            plot(
                "Lag",
                "Age of the oldest file that a site still waits for, by the peer that owes it.",
                "s",
                query("librarian_peer_lag_seconds", "{{site}} waits for {{peer}}"),
            ),
            plot(
                "Taken in",
                "Files accepted from drop directories.",
                "none",
                query("sum by (site) (rate(librarian_intake_files_total[$__rate_interval]))", "{{site}}"),
            ),
            plot(
                "Throughput",
                "Bytes taken from drop directories, and bytes that transfers brought, by the site that they came to.",
                "Bps",
                query("sum by (site) (rate(librarian_intake_bytes_total[$__rate_interval]))", "{{site}} took in"),
                query("sum by (site) (rate(librarian_stored_bytes_total[$__rate_interval]))", "{{site}} got"),
            ),
            shares(
                "Stores",
                "How full each is.",
                "1 - librarian_store_free_bytes / librarian_store_size_bytes",
                "{{site}} {{store}}",
            ),
            plot(
                "Incidents",
                "Open ones, by severity.",
                "none",
                query("sum by (severity) (librarian_open_incidents)", "{{severity}}"),
            ),
            rows("Versions", "Which software runs where.", "librarian_build_info"),
        ],
    )


def site() -> str:
    """One site."""
    here = '{site="$site"}'
    return board(
        "librarian-site",
        "Librarian: site",
        "One site: drop directories, journal, bus, stores, incidents.",
        ["site"],
        [
            figure("Bus connected", "1 while it is.", "none", f"librarian_bus_connected{here}"),
            figure(
                "Open incidents",
                "`lbctl incident list` tells which.",
                "none",
                f"sum(librarian_open_incidents{here})",
                bad=True,
            ),
            figure(
                "Last audit",
                "How long ago the catalog was rebuilt from the journals and compared.",
                "s",
                f"time() - librarian_audit_timestamp_seconds{here}",
            ),
            figure(
                "Quarantine",
                "1 after the catalog was restored: nothing is vouched for meanwhile.",
                "none",
                f"librarian_recovering{here}",
                bad=True,
            ),
            plot(
                "Taken in",
                "Files and books from drop directories, by what became of them.",
                "none",
                query(f"sum by (outcome) (rate(librarian_intake_files_total{here}[$__rate_interval]))", "{{outcome}}"),
            ),
            plot(
                "Waiting in drop directories",
                "Things that are not accepted yet; a paused directory takes nothing.",
                "none",
                query(f"librarian_intake_waiting{here}", "{{drop}}"),
                query(f"librarian_intake_paused{here}", "{{drop}} paused"),
            ),
            plot(
                "Journal and outbox",
                "Entries of this site, and segments that the bus has not acknowledged.",
                "none",
                query(f"librarian_journal_entries{here}", "entries"),
                query(f"librarian_outbox_segments{here}", "in the outbox"),
                query(f"rate(librarian_published_segments_total{here}[$__rate_interval])", "sent a second"),
            ),
            plot(
                "Entries of peers",
                "Applied, and messages that were not believed.",
                "none",
                query(f"rate(librarian_applied_entries_total{here}[$__rate_interval])", "{{peer}}"),
                query(f"rate(librarian_refused_messages_total{here}[$__rate_interval])", "{{peer}} refused"),
            ),
            plot(
                "Transfers",
                "By state, but for those that are done.",
                "none",
                query('librarian_transfers{site="$site", state!~"stored|cancelled"}', "{{state}}"),
            ),
            plot(
                "Free space",
                "Of the filesystem of each store.",
                "bytes",
                query(f"librarian_store_free_bytes{here}", "{{store}}"),
            ),
            plot(
                "Instances found wrong",
                "When read again.",
                "none",
                query(f"increase(librarian_suspected_instances_total{here}[1h])", "in the last hour"),
            ),
            rows("Open incidents", "By code; each has a page.", f"sort_desc(librarian_open_incidents{here})"),
        ],
    )


def transfer() -> str:
    """One site and one peer."""
    pair = '{site="$site", peer="$peer"}'
    here = '{site="$site"}'
    return board(
        "librarian-transfer",
        "Librarian: transfer",
        "What one site brings from one peer: what is owed, how fast it comes, why it fails.",
        ["site", "peer"],
        [
            figure("Link", "1 while the peer's stream answers.", "none", f"librarian_peer_link_up{pair}"),
            figure("Last heard", "How long ago.", "s", f"time() - librarian_peer_last_heard_timestamp_seconds{pair}"),
            figure("Owed files", "Still to come.", "none", f"librarian_peer_owed_files{pair}"),
            figure("Owed bytes", "Still to come.", "bytes", f"librarian_peer_owed_bytes{pair}"),
            plot("Lag", "Age of the oldest owed file.", "s", query(f"librarian_peer_lag_seconds{pair}", "lag")),
            plot(
                "Throughput",
                "Bytes stored, by adapter.",
                "Bps",
                query(f"rate(librarian_stored_bytes_total{pair}[$__rate_interval])", "{{adapter}}"),
            ),
            plot(
                "Files",
                "Stored, by adapter.",
                "none",
                query(f"rate(librarian_stored_files_total{pair}[$__rate_interval])", "{{adapter}}"),
            ),
            plot(
                "Failed attempts",
                "By reason; most are tried again by themselves.",
                "none",
                query(f"rate(librarian_failed_attempts_total{pair}[$__rate_interval])", "{{reason}}"),
            ),
            plot(
                "Parked",
                "Transfers of the site that wait for a person, by reason.",
                "none",
                query(f"librarian_parked_transfers{here}", "{{reason}}"),
            ),
            plot(
                "How long batches take",
                "Median and the slowest twentieth, by adapter.",
                "s",
                *(
                    query(
                        f"histogram_quantile({share}, sum by (le, adapter)"
                        f" (rate(librarian_batch_seconds_bucket{here}[$__rate_interval])))",
                        f"{{{{adapter}}}} {share}",
                    )
                    for share in (0.5, 0.95)
                ),
            ),
        ],
    )


BOARDS = {"fleet.json": fleet, "site.json": site, "transfer.json": transfer}


def main(arguments: Sequence[str]) -> int:
    """Write the boards, or say which are not as this file says."""
    stale = [name for name, make in BOARDS.items() if not _is(HERE / name, make())]
    if "--check" in arguments:
        for name in stale:
            sys.stderr.write(f"deploy/grafana/{name} is stale: run deploy/grafana/boards.py\n")
        return 1 if stale else 0
    for name in stale:
        (HERE / name).write_text(BOARDS[name]())
    return 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
