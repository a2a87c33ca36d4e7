"""What is left, and what is said, when a run cannot publish, is cut off while it does, or meets another."""

import errno
import os
import resource
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from service.repository.layout import find_versions
from service.repository.manifest import Manifest
from service.repository.samples import Samples
from training.errors import ExportFailed, PublishFailed
from training.progress import QuietDisplay
from training.spec import TrainingSpec

pipeline = pytest.importorskip("training.pipeline", reason="needs the train extra")
parity = pytest.importorskip("training.parity")
exporter = pytest.importorskip("training.export.exporter")
weights = pytest.importorskip("training.export.weights")
pytestmark = pytest.mark.training


class Recorder(QuietDisplay):
    """Keeps the steps; `on_step` is called with each of them."""

    def __init__(self, on_step: Callable[[str], None] = lambda _text: None) -> None:
        self.steps: list[str] = []
        self.fitted = False
        self._on_step = on_step

    def step(self, text: str) -> None:
        """Keep it."""
        self.steps.append(text)
        self._on_step(text)

    def epochs(self, total: int, *, done: int = 0) -> Any:
        """Note whether there is an epoch to fit."""
        self.fitted = done < total
        return super().epochs(total, done=done)


def wine(*, units: int = 4) -> TrainingSpec:
    """Return a spec of a table, two epochs long, with a threshold that they pass."""
    settings = {
        "name": "wine", "seed": 1, "epochs": 2, "batch_size": 32, "loss": "sparse_categorical_crossentropy",
        "dataset": {"source": {"kind": "sklearn", "name": "wine"}},
        "architecture": {"kind": "dense", "hidden": [{"units": units}] * 2},
        "optimizer": {"name": "adam", "learning_rate": 0.01}, "acceptance": {"accuracy": 0.01},
    }  # fmt: skip
    return msgspec.convert(settings, TrainingSpec)


def train(directory: Path, display: QuietDisplay | None = None, spec: TrainingSpec | None = None) -> Manifest:
    """Train into `<directory>/models`, with the checkpoint beside."""
    run = pipeline.Run(workdir=directory / "run")
    return pipeline.train(spec or wine(), directory / "models", display or QuietDisplay(), run=run)  # type: ignore[no-any-return]


def no_file_above(size: int, at_step: str) -> Recorder:
    """Return a display that makes the system refuse files of more than `size` bytes from a step on; `limits` puts it right."""

    def fill(text: str) -> None:
        if text.startswith(at_step):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    return Recorder(fill)


@pytest.fixture
def limits() -> Any:
    """Put the limits back; call it to do so earlier."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield (restore := partial(resource.setrlimit, resource.RLIMIT_FSIZE, before))
    restore()


def test_repository_that_is_a_file_is_noticed_before_the_fit(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a directory should be")
    display = Recorder()

    with pytest.raises(PublishFailed, match=r"Cannot publish to .*models/wine: Not a directory\. Nothing was published\.$"):
        train(tmp_path, display)

    assert not display.fitted


@pytest.mark.parametrize(("flag", "reason"), [(os.ST_RDONLY, "Read-only file system"), (0, "Permission denied")])
def test_repository_that_is_read_only_is_noticed_before_the_fit(
    flag: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read-only for root but a file system, so the system's answer is given here."""
    monkeypatch.setattr("training.packaging.os.access", lambda _path, _mode: False)
    monkeypatch.setattr("training.packaging.os.statvfs", lambda _path: SimpleNamespace(f_flag=flag))
    display = Recorder()

    with pytest.raises(PublishFailed, match=rf"Cannot publish to .*models/wine: {reason}\. Nothing was published\.$"):
        train(tmp_path, display)

    assert display.steps == []


def test_disk_without_room_for_the_weights_is_noticed_before_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=100))
    display = Recorder()

    with pytest.raises(PublishFailed, match=r"No space left on device\. Nothing was published\.$"):
        train(tmp_path, display)

    assert not display.fitted


def test_disk_that_is_full_at_publishing_leaves_nothing_behind_but_the_fit(tmp_path: Path, limits: Callable[[], None]) -> None:
    with pytest.raises(PublishFailed, match=r"File too large\. Nothing was published\. The fit is kept: put this right and run"):
        train(tmp_path, no_file_above(4096, "ONNX"))
    assert [path for path in (tmp_path / "models").rglob("*") if path.name != "wine"] == []

    limits()
    display = Recorder()

    assert train(tmp_path, display).version == 1
    assert not display.fitted


def test_disk_that_is_full_at_the_export_is_named_and_the_fit_kept(tmp_path: Path, limits: Callable[[], None]) -> None:
    with pytest.raises(
        ExportFailed, match=r"its files cannot be written to .*: File too large\. Free some space there, or set TMPDIR"
    ):
        train(tmp_path, no_file_above(100, "Ran"))
    assert not (tmp_path / "models").exists()

    limits()
    display = Recorder()

    assert train(tmp_path, display).version == 1
    assert not display.fitted


def test_interrupted_publishing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_samples: Samples, _directory: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Samples, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)

    found = (tmp_path / "models").rglob("*")
    assert [path for path in found if path.is_file() or path.name.startswith(".")] == []


def test_run_that_was_cut_off_after_publishing_does_not_publish_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(_workdir: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "discard_checkpoint", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path)
    display = Recorder()

    assert train(tmp_path, display).version == 1
    assert list(find_versions(tmp_path / "models" / "wine")) == [1]
    assert display.steps[-1] == "Version 1 is this very model: an earlier run was cut off after it had published"
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def test_run_that_ended_is_run_again_as_the_next_version(tmp_path: Path) -> None:
    assert [train(tmp_path).version for _ in range(2)] == [1, 2]


def test_weights_beside_the_graph_are_published_with_features_in_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def beside(*arguments: Any, external_from: int) -> None:
        weights.write(*arguments, external_from=min(external_from, 1_000_000))

    monkeypatch.setattr(exporter, "write", beside)

    manifest = train(tmp_path, spec=wine(units=1100))

    directory = tmp_path / "models" / "wine" / "1"
    manifest.verify(directory)
    assert manifest.files["model.onnx"].size < 1_000_000 < manifest.files["model.onnx.data"].size
    samples = Samples.read(directory)
    assert samples is not None
    (outputs,) = parity.run_graph(parity.open_graph(directory / "model.onnx"), ["probabilities"], samples.inputs)
    assert parity.difference(outputs, samples.outputs["probabilities"]) <= 1e-5


def test_file_system_without_locks_is_fitted_on_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.EBADF, "no locks on a directory of NFS")

    monkeypatch.setattr("fcntl.flock", refused)

    assert train(tmp_path).version == 1
