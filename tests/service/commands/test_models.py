import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service import cli
from service.repository.layout import publish, staged
from service.repository.signature import Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(TensorSpec("age", "FP32", (-1,), unit="years"), TensorSpec("sex", "BYTES", (-1,))),
    outputs=(TensorSpec("probabilities", "FP32", (-1, 2), labels=("died", "survived")),),
)


def publish_titanic(root: Path, accuracy: float, *, units: int = 8, size: int = 5) -> None:
    with staged(root / "titanic") as staging:
        (staging / "model.onnx").write_bytes(b"x" * size)
        publish(
            staging,
            root / "titanic",
            signature=SIGNATURE,
            task="classification",
            description="Who survives?",
            metrics={"test": {"accuracy": accuracy, "log_loss": 0.4}},
            intervals={"accuracy": (accuracy - 0.05, accuracy + 0.05)},
            spec={"seed": 7, "architecture": {"hidden": [{"units": units}]}},
            dataset={"name": "titanic", "rows": 1309},
            tools={"keras": "3.15.1"},
        )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish_titanic(tmp_path, 0.80)
    publish_titanic(tmp_path, 0.82, units=16, size=2000)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare" / "1").mkdir(parents=True)
    (tmp_path / "bare" / "1" / "model.onnx").write_bytes(b"graph")
    return tmp_path


def models(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli.axon, ["models", *arguments, "--repository", str(root)])


def test_list_shows_each_model_in_a_line(root: Path) -> None:
    lines = models(root, "list").output.splitlines()

    assert lines[0].split() == ["MODEL", "VERSIONS", "SIZE", "CREATED", "TASK", "TEST", "METRIC"]
    assert [line.split()[0] for line in lines[1:]] == ["bare", "empty", "titanic"]
    assert "bare graph" in lines[1]
    assert "none" in lines[2]
    assert lines[3].endswith("UTC  classification  accuracy 0.82")
    assert "1, 2" in lines[3]


def test_list_shows_a_metric_for_each_of_several_outputs(tmp_path: Path) -> None:
    outputs = tuple(TensorSpec(name=name, datatype="FP32", shape=(-1, 2)) for name in ("kind", "sizes"))
    metrics = {"accuracy.kind": 0.9, "log_loss.kind": 0.2, "rmse.sizes": 3.0, "rmse.sizes.bill": 2.0}
    with staged(tmp_path / "penguins") as staging:
        (staging / "model.onnx").write_bytes(b"graph")
        publish(
            staging, tmp_path / "penguins", signature=Signature((), outputs), task="classification, regression",
            metrics={"test": metrics},
        )  # fmt: skip

    assert models(tmp_path, "list").output.splitlines()[-1].endswith("classification, regression  accuracy.kind 0.9, rmse.sizes 3")


def test_list_names_a_damaged_model_and_shows_the_others(root: Path) -> None:
    (root / "titanic" / "2" / "manifest.json").write_text("{", encoding="ascii")

    result = models(root, "list")

    assert result.exit_code == 0
    assert "damaged: see `axon models verify`" in result.output


def test_list_of_an_empty_repository_says_so(tmp_path: Path) -> None:
    assert models(tmp_path, "list").output == f"There is no model in {tmp_path}.\n"


def test_show_tells_what_the_newest_version_is(root: Path) -> None:
    output = models(root, "show", "titanic").output

    assert output.startswith("titanic/2  ")
    for told in (
        "Who survives?",
        "  age  FP32   [-1]  in years",
        "  probabilities  FP32  [-1, 2]  died, survived",
        "  accuracy  0.82  95% interval 0.77 to 0.87",
        "  architecture.hidden[0].units  16",
        "  model.onnx  2 kB",
    ):
        assert told in output


def test_show_of_a_bare_graph_says_that_nothing_is_known(root: Path) -> None:
    assert "A bare graph: there is no manifest" in models(root, "show", "bare/1").output


def test_diff_tells_what_is_better_and_what_was_changed(root: Path) -> None:
    output = models(root, "diff", "titanic/1", "titanic").output

    assert output.splitlines()[0] == "titanic/1 -> titanic/2"
    assert "  accuracy: 0.8 -> 0.82 (better by 0.02)\n" in output
    assert "  architecture.hidden[0].units: 8 -> 16\n" in output
    assert "  model.onnx: 5 B -> 2 kB\n" in output
    assert "Signature: the same\n" in output
    assert "Tools: the same\n" in output
    assert "log_loss" not in output


def test_diff_the_other_way_is_worse(root: Path) -> None:
    assert "(worse by 0.02)" in models(root, "diff", "titanic/2", "titanic/1").output


def test_verify_checks_every_model(root: Path) -> None:
    result = models(root, "verify")

    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "bare/1  no manifest, nothing to check", "titanic/1  ok  1 file", "titanic/2  ok  1 file",
    ]  # fmt: skip


@pytest.mark.parametrize("reference", [(), ("titanic",), ("titanic/1",)], ids=["all", "a model", "a version"])
def test_verify_exits_with_1_if_a_file_is_damaged(reference: tuple[str, ...], root: Path) -> None:
    (root / "titanic" / "1" / "model.onnx").write_bytes(b"other")

    result = models(root, "verify", *reference)

    assert result.exit_code == 1
    assert "titanic/1  DAMAGED  " in result.output
    assert ("titanic/2  ok" in result.output) is (reference != ("titanic/1",))


def test_verify_reports_a_manifest_that_cannot_be_read(root: Path) -> None:
    (root / "titanic" / "1" / "manifest.json").write_text("{", encoding="ascii")

    result = models(root, "verify", "titanic/1")

    assert (result.exit_code, "is not a manifest" in result.output) == (1, True)


def test_rollback_then_diff_shows_no_difference(root: Path) -> None:
    result = models(root, "rollback", "titanic", "--to", "1")

    assert result.output == "Published titanic/3, a copy of titanic/1, in place of titanic/2.\n"
    assert "Test metrics: the same" in models(root, "diff", "titanic/1", "titanic/3").output
    assert "a copy of version 1, in place of 2" in models(root, "show", "titanic").output


def test_prune_says_what_it_removed(root: Path) -> None:
    assert models(root, "prune", "titanic", "--keep", "1").output == "Removed titanic/1.\n"
    assert models(root, "prune", "titanic", "--keep", "1").output == "Nothing to remove.\n"


def test_prune_demands_how_many_to_keep(root: Path) -> None:
    assert "Missing option '--keep'" in models(root, "prune", "titanic").output


@pytest.mark.parametrize(
    "arguments",
    [("show", "titanic/"), ("diff", "titanic/", "titanic"), ("verify", "titanic/"), ("rollback", "titanic/"),
     ("prune", "titanic/", "--keep", "1")],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_every_command_refuses_a_slash_without_a_version(arguments: tuple[str, ...], root: Path) -> None:
    result = models(root, *arguments)

    assert result.exit_code == 1
    assert "'titanic/' names no version" in str(result.exception)
    assert sorted(path.name for path in (root / "titanic").iterdir()) == ["1", "2"]


def test_unknown_model_is_one_line_on_standard_error(root: Path) -> None:
    command = [sys.executable, "-m", "service.cli", "models", "show", "nothing", "--repository", str(root)]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "axon: Model 'nothing' is not known. Known models: bare, empty, titanic.\n"
