import importlib.metadata
import re
import subprocess
import sys
from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner

from service import __version__, cli


@click.command()
def other() -> None:
    """Do something else."""
    click.echo("done by another package")


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Give the entry points of other packages, for a test to fill."""
    found: list[EntryPoint] = []
    monkeypatch.setattr(cli, "entry_points", lambda *, group: importlib.metadata.EntryPoints(found).select(group=group))
    return found


def test_version_is_printed() -> None:
    assert CliRunner().invoke(cli.axon, ["--version"]).output == f"axon, version {__version__}\n"


def test_own_commands_are_listed(plugins: list[EntryPoint]) -> None:
    output = CliRunner().invoke(cli.axon, ["-h"]).output

    listed = re.findall(r"^  (\w+) ", output.partition("Commands:")[2], re.MULTILINE)

    assert plugins == []
    assert {"keys", "models", "predict", "serve"} <= set(listed)


def test_command_of_another_package_is_run(plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda _self: other)
    plugins.append(EntryPoint("other", "anywhere:other", cli.COMMANDS_GROUP))

    result = CliRunner().invoke(cli.axon, ["other"])

    assert (result.exit_code, result.output) == (0, "done by another package\n")


def test_unknown_command_is_refused(plugins: list[EntryPoint]) -> None:
    result = CliRunner().invoke(cli.axon, ["nonsense"])

    assert plugins == []
    assert result.exit_code == 2
    assert "No such command 'nonsense'" in result.output


@pytest.mark.parametrize(
    "arguments", [["--help"], ["serve", "--help"], ["predict", "--help"], ["models", "--help"], ["--version"]], ids=" ".join
)
def test_help_loads_neither_tensorflow_nor_training(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom service.cli import axon\n"
        f"axon({arguments!r}, standalone_mode=False)\n"
        "print(sorted({'tensorflow', 'keras', 'tf2onnx', 'onnx', 'sklearn'} & sys.modules.keys()))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.splitlines()[-1] == "[]"
