"""The book: what it names exists, what it tells to type is understood, and every alert has its section."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.observability.metrics import Metrics
from service.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
BOOK = (DEPLOY / "README.md").read_text(encoding="utf-8")


def alerts() -> Iterator[str]:
    """Give the names of all alerts that the rules can raise."""
    for path in sorted((DEPLOY / "monitoring" / "rules").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from (rule["alert"] for rule in group["rules"] if "alert" in rule)


def commands() -> list[list[str]]:
    """Give the axon commands of the book's code blocks, without redirections."""
    blocks = re.findall(r"^```sh\n(.*?)^```", BOOK, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("axon ")]
    return [shlex.split(line.partition(">")[0], comments=True)[1:] for line in lines]


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    section = BOOK.partition("\n## Alerts\n")[2]

    assert sorted(re.findall(r"^### (\w+)$", section, re.MULTILINE)) == sorted(set(alerts()))


def test_files_that_the_book_links_to_are_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", BOOK) if "://" not in link]

    assert links
    assert [link for link in links if not (DEPLOY / link).exists()] == []


def test_sections_that_the_book_links_to_are_there() -> None:
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", BOOK, re.MULTILINE)}

    assert set(re.findall(r"\]\(#([^)]+)\)", BOOK)) <= titles


def test_directories_that_the_book_names_are_there() -> None:
    root = DEPLOY.parent
    named = set(re.findall(r"\bdeploy/[\w./-]+\w", BOOK)) | set(re.findall(r"\btests/[\w./-]+\w", BOOK))

    assert named
    assert [name for name in sorted(named) if not (root / name).exists()] == []


def test_every_component_and_training_directory_is_in_the_book() -> None:
    directories = [*(DEPLOY / "kubernetes" / "components").iterdir(), *(DEPLOY / "kubernetes" / "training").iterdir()]
    names = {path.name for path in directories} - {"base"}

    assert {name for name in names if f"`{name}`" not in BOOK} == set()


def test_metrics_that_the_book_names_are_the_servers() -> None:
    families = {family.name for family in Metrics(server_version="1").registry.collect()} | {"axon_cgroup_memory_bytes"}
    named = set(re.findall(r"\baxon_\w+", BOOK))

    assert {re.sub(r"_(sum|count|bucket|total)$", "", name) for name in named} <= families


def test_settings_that_the_book_names_are_the_servers() -> None:
    named = set(re.findall(r"`([a-z]+_[a-z_]+)(?: = \w+)?`", BOOK))
    of_a_model = {"max_batch_size", "preferred_batch_size", "max_queue_delay", "max_queue_size", "provider_policy"}
    elsewhere = {"never_worse_than_published", "round_robin", "queue_full", "shutting_down"}

    assert {name for name in named if not name.startswith("axon_")} - of_a_model - elsewhere <= set(Settings.__struct_fields__)


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_commands_of_the_book_are_understood(parsed: Callable[[list[str]], dict[str, Any]], arguments: list[str]) -> None:
    assert parsed(arguments)
