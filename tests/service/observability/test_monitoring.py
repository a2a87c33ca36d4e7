"""deploy/monitoring against a real server: what alerts and dashboard ask for is what it exports, under these names and labels."""

import importlib.util
import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.observability.cgroup import CgroupCollector

MONITORING = Path(__file__).parents[3] / "deploy" / "monitoring"
DEADLINE = 30.0
PROMTOOL = shutil.which("promtool")
OF_PROMETHEUS = {"job", "instance"}  # the labels that a scrape adds
NAME = r"\b((?:axon|process)_[a-z0-9_]+)\b"
SELECTOR = re.compile(NAME + r"(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|=|!=|!~)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|group_left|without)\s*\(([^)]*)\)")

Labels = dict[str, dict[str, set[str]]]  # of a metric, its labels, and of each the values that there are


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "rules" / "axon.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((MONITORING / "dashboards" / "axon.json").read_text(encoding="utf-8"))
    return content


def queries() -> dict[str, str]:
    """Return all that is asked, by where it stands."""
    asked = {f"rule {rule.get('alert') or rule.get('record')}": rule["expr"] for rule in rules()}
    for panel in dashboard()["panels"]:
        asked |= {f"panel {panel['title']} {target['refId']}": target["expr"] for target in panel.get("targets", ())}
    return asked


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, running: Callable[..., AbstractContextManager[Any]], repository: Path
) -> Labels:
    """Ask a server of two workers what it exports, and add what only a container has."""
    with running(repository, "--workers", "2") as server:
        text = requests.get(f"{server.url}/metrics", timeout=DEADLINE).text
    labels: Labels = defaultdict(lambda: defaultdict(set))
    group = tmp_path_factory.mktemp("cgroup")
    (group / "memory.current").write_text("1")
    (group / "memory.max").write_text("2")
    (group / "cpu.stat").write_text("usage_usec 1\nnr_throttled 1\nthrottled_usec 1\n")
    for metric in (*text_string_to_metric_families(text), *CgroupCollector(mount=group, own=group / "none").collect()):
        for sample in metric.samples:
            for name, value in sample.labels.items():
                labels[sample.name][name].add(value)
            labels[sample.name].setdefault("", set())
    return labels


@pytest.mark.parametrize("where", queries())
def test_query_asks_for_what_the_service_exports(where: str, exported: Labels) -> None:
    query = queries()[where]
    selectors = SELECTOR.findall(query)
    known = set(OF_PROMETHEUS)
    for metric, matchers in selectors:
        assert metric in exported, f"{metric} is not exported"
        known |= exported[metric].keys()
        for label, _, value in MATCHER.findall(matchers or ""):
            assert label in exported[metric].keys() | OF_PROMETHEUS, f"{metric} has no label {label}"
            if not value.startswith("$") and label != "job":
                assert set(value.split("|")) & exported[metric][label], f"{metric} has no {label} of {value}"
    grouped = {label.strip() for labels in GROUPING.findall(query) for label in labels.split(",")} - {""}

    assert selectors or "axon:" in query or query.startswith(("up{", "absent(up{"))
    assert not selectors or grouped <= known | {"le"}


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]

    assert len(alerts) >= 15
    for rule in alerts:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"].keys() == {"summary", "action"}
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert re.search(rf"\b{label}\b", rule["expr"]) or label in OF_PROMETHEUS | {"model"}


def test_rules_use_only_recorded_series_that_there_are() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for rule in rules() for name in re.findall(r"axon:[a-z0-9_:]+", rule["expr"])}

    assert used == recorded


def test_dashboard_is_what_its_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("dashboard", MONITORING / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    assert script.written() == (MONITORING / "dashboards" / "axon.json").read_text(encoding="utf-8")


def test_panels_have_ids_and_places_of_their_own() -> None:
    panels = dashboard()["panels"]
    cells = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is part of Prometheus, no Python package")
def test_alerts_fire_when_they_should_and_only_then() -> None:
    for command in (["check", "rules", "rules/axon.yaml"], ["test", "rules", "tests/axon.yaml"]):
        ended = subprocess.run([str(PROMTOOL), *command], cwd=MONITORING, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
