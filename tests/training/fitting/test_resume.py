import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="needs the train extra")

from training.errors import FitRefused
from training.fitting import batches, checkpoint, discard_checkpoint, fit, saving
from training.progress import QuietDisplay
from training.stopping import Stopped

pytestmark = pytest.mark.training

STATEFUL = {
    "epochs": 8,
    "schedule": {"kind": "reduce_on_plateau", "patience": 1, "min_delta": 0.02, "cooldown": 1},
    "early_stopping": {"patience": 2, "min_delta": 0.15},
    "class_weights": "balanced",
}
KILLER = Path(__file__).parents[2] / "faults" / "kill_fit.py"


class StopAfter:
    """Stops at a given check, as if a signal had come just before it."""

    def __init__(self, checks: int) -> None:
        self.left = checks

    def __call__(self) -> None:
        """Count down."""
        self.left -= 1
        if self.left < 0:
            raise Stopped(signal.SIGINT)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Raise in calls only, as ever."""
        yield


@pytest.fixture(autouse=True)
def chunks_of_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a fit be stopped between any two batches."""
    monkeypatch.setattr(batches, "_CHUNK_BYTES", 1)


def run(tiny: Any, workdir: Path, *, stop_after: int | None = None, **changes: Any) -> tuple[Any, Any]:
    """Fit a fresh network; return its weights' digest and the history, (None, None) if it was stopped."""
    spec = tiny.spec_of(**STATEFUL | changes)
    model = tiny.network(spec)
    rows = tiny.labelled()
    try:
        history = fit(
            model,
            rows,
            tiny.labelled(60),
            spec,
            workdir=workdir,
            display=QuietDisplay(),
            stop=StopAfter(10_000 if stop_after is None else stop_after),
        )
    except Stopped:
        return None, None
    return tiny.digest(model), history


@pytest.fixture(scope="module")
def unbroken(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Digest and history of the fit in one go."""
    return run(tiny, tmp_path_factory.mktemp("unbroken"))


def facts(history: Any) -> tuple[Any, ...]:
    return [epoch.metrics for epoch in history.epochs], history.best_epoch, history.stopped_early


def test_same_spec_gives_the_same_bits_twice(tiny: Any, unbroken: tuple[Any, Any], tmp_path: Path) -> None:
    again, history = run(tiny, tmp_path)

    assert again == unbroken[0]
    assert facts(history) == facts(unbroken[1])


@pytest.mark.parametrize(
    "checks",
    [
        pytest.param([0], id="after the first batch"),
        pytest.param([3, 4], id="in the middle of an epoch, twice"),
        pytest.param([7], id="in the validation"),
        pytest.param([8], id="between two epochs"),
        pytest.param([31, 0, 1], id="again and again"),
    ],
)
def test_stopped_fit_goes_on_to_the_same_bits(tiny: Any, unbroken: tuple[Any, Any], tmp_path: Path, checks: list[int]) -> None:
    for check in checks:
        assert run(tiny, tmp_path, stop_after=check) == (None, None)

    resumed, history = run(tiny, tmp_path)

    assert resumed == unbroken[0]
    assert facts(history) == facts(unbroken[1])
    assert history.resumed_from is not None
    assert history.stopped_early


def test_metrics_file_of_a_resumed_fit_has_each_epoch_once(tiny: Any, tmp_path: Path) -> None:
    run(tiny, tmp_path, stop_after=20)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("written before a kill, after the last checkpoint\n")

    _, history = run(tiny, tmp_path)

    header, *lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert header == "epoch,seconds,learning_rate,loss,accuracy,val_loss,val_accuracy"
    assert [line.split(",")[0] for line in lines] == [str(number) for number in range(1, history.ran + 1)]


def test_finished_fit_is_not_run_again_until_its_checkpoint_is_discarded(tiny: Any, tmp_path: Path) -> None:
    first, _ = run(tiny, tmp_path)
    second, history = run(tiny, tmp_path, stop_after=0)
    discard_checkpoint(tmp_path)

    assert first == second
    assert history.resumed_from == history.ran
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_fit_that_was_resumed_and_finished_is_not_run_again_either(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after it has published, a run must find that nothing is left to fit: else it would publish the model twice."""
    run(tiny, tmp_path, stop_after=8)
    monkeypatch.setattr(saving, "_TIMES_THE_COST", 1e9)  # from here on no checkpoint but the last
    run(tiny, tmp_path)

    _, history = run(tiny, tmp_path)

    assert history.fitted_before


def test_gates_can_be_moved_without_training_anew(tiny: Any, tmp_path: Path) -> None:
    run(tiny, tmp_path)

    _, history = run(tiny, tmp_path, acceptance={"accuracy": 0.2}, export={"opset": 17}, description="another")

    assert history.resumed_from == history.ran


@pytest.mark.parametrize("change", [{"seed": 4}, {"epochs": 9}, {"optimizer": {"name": "sgd"}}], ids=str)
def test_checkpoint_of_another_run_is_refused(tiny: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    run(tiny, tmp_path, stop_after=5)

    with pytest.raises(FitRefused, match="belongs to another run"):
        run(tiny, tmp_path, **change)


def test_damaged_checkpoint_is_refused_and_what_a_killed_writer_left_is_removed(tiny: Any, tmp_path: Path) -> None:
    run(tiny, tmp_path, stop_after=5)
    path = tmp_path / checkpoint.CHECKPOINT_NAME
    path.write_bytes(path.read_bytes()[:-100])
    (tmp_path / ".checkpoint.npz.123").write_bytes(b"half")

    with pytest.raises(FitRefused, match=r"checkpoint.npz cannot be read.*Remove it"):
        run(tiny, tmp_path)

    assert not (tmp_path / ".checkpoint.npz.123").exists()


def test_two_fits_of_the_same_run_do_not_disturb_each_other(tiny: Any, tmp_path: Path) -> None:
    with saving.sole_use(tmp_path), pytest.raises(FitRefused, match="Another process is fitting the same run"):
        run(tiny, tmp_path)

    assert list(tmp_path.iterdir()) == []
    assert run(tiny, tmp_path)[0] is not None


def test_place_that_cannot_be_made_is_named(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(FitRefused, match=r"Cannot make .*file/run"):
        run(tiny, tmp_path / "file" / "run")


def test_checkpoints_cost_a_twentieth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 3.0, 62.9, 63.0])
    monkeypatch.setattr(saving.time, "perf_counter", lambda: next(clock))
    saver = saving.Saver(tmp_path, "run")

    assert saver.due
    saver.save(checkpoint.Checkpoint(checkpoint.Progress(), [], []))
    assert not saver.due
    assert saver.due


def test_killed_fit_goes_on_to_the_same_bits() -> None:
    """SIGKILL, twice, in real processes; tests/faults/kill_fit.py does it ten times by default."""
    command = [sys.executable, str(KILLER), "--kills", "2", "--epochs", "40"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
