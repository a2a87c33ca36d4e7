"""Writes the Grafana dashboard, dashboards/axon.json.

    python deploy/monitoring/dashboard.py

One row of panels for each question, in the order in which they are asked at night. Edit this file, not the JSON.
"""  # noqa: INP001 -- a script, no package

import json
from pathlib import Path
from typing import Any, NamedTuple

OUTPUT = Path(__file__).parent / "dashboards" / "axon.json"
COLUMNS, WIDTH, HEIGHT = 24, 8, 8
M = 'job=~"$job", instance=~"$instance", model=~"$model"'
UNANSWERED = 'outcome=~"failed|deadline|rejected"'
I = 'job=~"$job", instance=~"$instance"'  # noqa: E741 -- beside M
RATE = "[$__rate_interval]"


class Panel(NamedTuple):
    """One graph: its title, its unit as Grafana calls it, and its queries with the names of their lines."""

    title: str
    unit: str
    queries: dict[str, str]
    description: str = ""
    kind: str = "timeseries"
    stacked: bool = False


def quantiles(metric: str, labels: str) -> dict[str, str]:
    """Return the queries of three quantiles of a histogram."""
    inner = f"sum by (le) (rate({metric}_bucket{{{labels}}}{RATE}))"
    return {name: f"histogram_quantile({value}, {inner})" for name, value in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}


def mean(metric: str, labels: str) -> str:
    """Return the query of the mean of a histogram for each model."""
    sums = [f"sum by (model) (rate({metric}_{part}{{{labels}}}{RATE}))" for part in ("sum", "count")]
    return " / ".join(sums)


ROWS: dict[str, list[Panel]] = {
    "Do clients get their answers?": [
        Panel(
            "Requests by outcome",
            "reqps",
            {"{{outcome}} {{reason}}": f"sum by (outcome, reason) (rate(axon_inference_requests_total{{{M}}}{RATE}))"},
            "Finished requests a second; the reason is the code of the error.",
            stacked=True,
        ),
        Panel(
            "Without an answer",
            "percentunit",
            {
                "{{model}}": f"sum by (model) (rate(axon_inference_requests_total{{{M}, {UNANSWERED}}}{RATE}))"
                f" / sum by (model) (rate(axon_inference_requests_total{{{M}}}{RATE}))"
            },
            "Failed, too late or rejected. The objective allows 0.1%.",
        ),
        Panel("Time of a request", "s", quantiles("axon_inference_request_duration_seconds", M)),
    ],
    "Where does the time go?": [
        Panel("Time in the queue", "s", quantiles("axon_inference_queue_duration_seconds", M)),
        Panel("Time of a run", "s", quantiles("axon_inference_compute_duration_seconds", M)),
        Panel(
            "Event loop is late by",
            "s",
            quantiles("axon_event_loop_lag_seconds", I),
            "What keeps the event loop busy keeps every request waiting.",
        ),
    ],
    "How are they batched?": [
        Panel("Rows", "rowsps", {"{{model}}": f"sum by (model) (rate(axon_inference_rows_total{{{M}}}{RATE}))"}),
        Panel("Rows of a run, mean", "short", {"{{model}}": mean("axon_inference_batch_size", M)}),
        Panel(
            "Runs by why they started",
            "ops",
            {"{{reason}}": f"sum by (reason) (rate(axon_inference_runs_total{{{M}}}{RATE}))"},
            stacked=True,
        ),
        Panel("Rows that wait", "short", {"{{model}}": f"sum by (model) (axon_inference_pending_rows{{{M}}})"}),
        Panel(
            "Padding",
            "percentunit",
            {
                "{{model}}": f"sum by (model) (rate(axon_inference_padded_rows_total{{{M}}}{RATE})) / "
                f"(sum by (model) (rate(axon_inference_padded_rows_total{{{M}}}{RATE}))"
                f" + sum by (model) (rate(axon_inference_rows_total{{{M}}}{RATE})))"
            },
            "Part of the rows of all runs that only filled them up to an allowed size.",
        ),
        Panel(
            "Found in the response cache",
            "percentunit",
            {
                "{{model}}": f'sum by (model) (rate(axon_inference_cache_lookups_total{{{M}, found="true"}}{RATE}))'
                f" / sum by (model) (rate(axon_inference_cache_lookups_total{{{M}}}{RATE}))"
            },
        ),
    ],
    "Which models, and on what?": [
        Panel(
            "State of the versions",
            "short",
            {"{{model}} {{version}} {{state}}": f"sum by (model, version, state) (axon_model_state{{{M}}}) > 0"},
            "How many servers have each version in each state.",
            kind="table",
        ),
        Panel(
            "Nodes by execution provider",
            "percentunit",
            {
                "{{model}} {{version}} {{provider}}": f"max by (model, version, provider) (axon_model_provider_nodes{{{M}}})"
                f" / on (model, version) group_left sum by (model, version) ("
                f"max by (model, version, provider) (axon_model_provider_nodes{{{M}}}))",
                "{{model}} {{version}} missing": f"max by (model, version) (axon_model_missing_providers{{{M}}}) > 0",
            },
            "Part of the graph that each provider runs, and versions that do without one that they were to have.",
        ),
        Panel(
            "Sessions",
            "short",
            {
                "busy {{model}}": f"sum by (model) (axon_inference_busy_sessions{{{M}}})",
                "all {{model}}": f"sum by (model) (axon_model_sessions{{{M}}})",
            },
            "Runs on threads of their own, and how many can go on at once. Runs shorter than a hand-over are not seen here.",
        ),
        Panel(
            "Threads of the models and CPUs",
            "short",
            {
                "{{model}}": f"sum by (model) (axon_model_threads{{{M}}})",
                "CPUs": f"sum(axon_planned_cpus{{{I}}})",
            },
        ),
        Panel("Size of the files", "bytes", {"{{model}} {{version}}": f"max by (model, version) (axon_model_file_bytes{{{M}}})"}),
        Panel(
            "Loading",
            "s",
            {
                "{{model}}": f"max by (model) (axon_model_load_duration_seconds{{{M}}})",
                "{{model}} failures": f"sum by (model) (increase(axon_model_load_failures_total{{{M}}}{RATE}))",
                "object store failures": f"sum(increase(axon_repository_failures_total{{{I}}}{RATE}))",
            },
            "Seconds of the last load, how many failed, and how often the repository in an object store could not be followed.",
        ),
    ],
    "What does the process need?": [
        Panel(
            "Memory",
            "bytes",
            {
                "resident {{instance}}": f"process_resident_memory_bytes{{{I}}}",
                "container {{instance}}": f"axon_cgroup_memory_bytes{{{I}}}",
                "limit {{instance}}": f"axon_cgroup_memory_limit_bytes{{{I}}}",
            },
        ),
        Panel(
            "CPU",
            "short",
            {
                "process {{instance}}": f"rate(process_cpu_seconds_total{{{I}}}{RATE})",
                "held back {{instance}}": f"rate(axon_cgroup_cpu_throttled_seconds_total{{{I}}}{RATE})",
            },
            "CPUs in use, and the part of the time that the quota holds the container back.",
        ),
        Panel(
            "Workers",
            "short",
            {
                "{{instance}}": f"axon_workers{{{I}}}",
                "restarts {{instance}}": f"increase(axon_worker_restarts_total{{{I}}}{RATE})",
            },
        ),
        Panel("Connections", "short", {"{{instance}}": f"axon_http_connections{{{I}}}"}),
        Panel(
            "Turned away before any route",
            "reqps",
            {"{{reason}}": f"sum by (reason) (rate(axon_http_refusals_total{{{I}}}{RATE}))"},
            "Connections beyond the limit, requests that are no HTTP, that are slow or have too large a head.",
            stacked=True,
        ),
        Panel(
            "Refused by the API keys",
            "reqps",
            {"{{reason}}": f"sum by (reason) (rate(axon_refused_requests_total{{{I}}}{RATE}))"},
            stacked=True,
        ),
        Panel("Open files", "short", {"{{instance}}": f"process_open_fds{{{I}}}", "limit": f"min(process_max_fds{{{I}}})"}),
        Panel("Version of Axon", "short", {"{{version}}": f"count by (version) (axon_server_info{{{I}}})"}, kind="stat"),
    ],
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for question, row in ROWS.items():
        panels.append({"type": "row", "title": question, "collapsed": False, "panels": [], "gridPos": grid(0, y, COLUMNS, 1)})
        y += 1
        for number, panel in enumerate(row):
            across, down = number % (COLUMNS // WIDTH), number // (COLUMNS // WIDTH)
            panels.append(graph(panel) | {"gridPos": grid(across * WIDTH, y + down * HEIGHT, WIDTH, HEIGHT)})
        y += -(-len(row) // (COLUMNS // WIDTH)) * HEIGHT
    for number, made in enumerate(panels, start=1):
        made["id"] = number
    return {
        "uid": "axon",
        "title": "Axon",
        "tags": ["axon"],
        "timezone": "",
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [datasource(), *(variable(name) for name in ("job", "instance", "model"))]},
        "panels": panels,
    }


def grid(x: int, y: int, width: int, height: int) -> dict[str, int]:
    """Return where a panel is."""
    return {"x": x, "y": y, "w": width, "h": height}


def graph(panel: Panel) -> dict[str, Any]:
    """Return a panel without its place."""
    table = panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + number),
            "expr": query,
            "legendFormat": name,
            "instant": table,
            "format": "table" if table else "time_series",
        }
        for number, (name, query) in enumerate(panel.queries.items())
    ]
    custom = {"fillOpacity": 20, "stacking": {"mode": "normal"}} if panel.stacked else {"fillOpacity": 0}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": {"type": "prometheus", "uid": "$datasource"},
        "targets": targets,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0} | ({"custom": custom} if panel.kind == "timeseries" else {}),
            "overrides": [],
        },
        "options": {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list", "placement": "bottom"}}
        if panel.kind == "timeseries"
        else {},
    }


def datasource() -> dict[str, Any]:
    """Return the choice of the Prometheus."""
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def variable(name: str) -> dict[str, Any]:
    """Return the choice among the values of a label."""
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "$datasource"},
        "query": {"query": f"label_values(axon_inference_requests_total, {name})", "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def written() -> str:
    """Return the file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(written(), encoding="utf-8")
