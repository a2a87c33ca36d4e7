"""What README.md says of settings and of model.toml is all there is, and true."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from service.repository.configuration import ModelConfiguration
from service.settings import Settings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def keys(value: Mapping[str, Any], place: str = "") -> Iterator[str]:
    for key, inner in value.items():
        yield place + key
        if isinstance(inner, dict) and key != "labels":
            yield from keys(inner, f"{place}{key}.")


def test_table_of_settings_has_each_of_them_once() -> None:
    first_cells = re.findall(r"^\| (`.*?) \|", section("Settings"), re.MULTILINE)
    named = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]

    assert sorted(named) == sorted(Settings.__struct_fields__)


def test_example_of_model_toml_is_valid_and_has_every_key() -> None:
    example = tomllib.loads(re.findall(r"```toml\n(.*?)```", section("Serve your own models"), re.DOTALL)[0])
    configuration = msgspec.to_builtins(msgspec.convert(example, ModelConfiguration))

    assert set(keys(configuration)) - set(keys(example)) == set()


def test_layout_names_every_package_of_the_service() -> None:
    packages = {path.parent.name for path in (Path(__file__).parents[1] / "service").glob("*/__init__.py")}

    assert packages - set(re.findall(r"(\w+)/", section("Layout"))) == set()
