"""The checkpoint of a fit: one file, replaced in one step, that holds everything the rest of the fit depends on.

    checkpoint.npz
      header       JSON: format, the run's fingerprint, and Progress
      state/<i>    every variable: weights, optimizer, metrics so far in this epoch, and the counters of random layers
      best/<i>     the best epoch's weights, if they are to be restored

The order of the rows follows from seed and epoch, so a fit that goes on from here takes the very steps it would have taken.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import keras
import msgspec
import numpy as np

from training.datasets.dataset import Rows
from training.errors import FitRefused
from training.fitting.history import Epoch
from training.fitting.monitors import Watch
from training.spec import TrainingSpec

CHECKPOINT_NAME: Final = "checkpoint.npz"
_FORMAT: Final = 1
# What decides neither the weights nor the order of the steps: a gate may be moved without training anew.
_WITHOUT_INFLUENCE: Final = ("acceptance", "description", "export", "tensorboard")
_TOOLS: Final = ("keras", "numpy", "tensorflow-cpu", "tensorflow")

Arrays = list[np.ndarray[Any, Any]]


class Progress(msgspec.Struct):
    """Where a fit is: `batches` of the running epoch are done, and `trained` has its training metrics once all are."""

    epochs: list[Epoch] = []
    batches: int = 0
    seconds: float = 0.0
    trained: dict[str, float] | None = None
    stopping: Watch = msgspec.field(default_factory=Watch)
    plateau: Watch = msgspec.field(default_factory=Watch)
    best_epoch: int | None = None
    stopped_early: bool = False
    finished: bool = False

    def steps(self, batches: int) -> int:
        """Return how many batches have been fitted, with `batches` in an epoch."""
        return len(self.epochs) * batches + self.batches


class Checkpoint(msgspec.Struct, frozen=True):
    """Progress, the values of `fit_variables` in their order, and the best epoch's weights."""

    progress: Progress
    state: Arrays
    best: Arrays


class _Header(msgspec.Struct, frozen=True):
    format: int
    fingerprint: str
    progress: Progress


def fit_variables(model: keras.Model) -> list[Any]:
    """Return every variable that a fit of the compiled model changes, each once."""
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    found = {id(variable): variable for variable in (*model.variables, *model.optimizer.variables, *metrics)}
    return list(found.values())


def values_of(variables: Iterable[Any]) -> Arrays:
    """Copy the values of Keras variables."""
    return [np.array(variable.value.numpy()) for variable in variables]


def assign(variables: Sequence[Any], values: Arrays) -> None:
    """Set Keras variables to `values`."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def settings_digest(spec: TrainingSpec) -> str:
    """Digest of all that a fit depends on but the rows: the spec without its gates, and the versions of the tools."""
    settings = {name: value for name, value in msgspec.to_builtins(spec).items() if name not in _WITHOUT_INFLUENCE}
    return hashlib.sha256(msgspec.json.encode((settings, _versions()), order="deterministic")).hexdigest()


def fingerprint(spec: TrainingSpec, splits: Sequence[Rows], variables: Sequence[Any]) -> str:
    """Digest of the settings, of every row that is fitted or steers the fit, and of the network's variables."""
    digest = hashlib.sha256(settings_digest(spec).encode())
    for rows in splits:
        for name, array in (*sorted(rows.inputs.items()), *rows.targets.items()):
            digest.update(repr((name, array.dtype.str, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).data)
    digest.update(repr([(tuple(variable.shape), str(variable.dtype)) for variable in variables]).encode())
    return digest.hexdigest()


def write_checkpoint(directory: Path, run: str, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in `directory`: a reader, or we after a kill, find the old one or the new one, whole."""
    header = msgspec.json.encode(_Header(_FORMAT, run, checkpoint.progress))
    groups = {"state": checkpoint.state, "best": checkpoint.best}
    arrays = {f"{group}/{index}": value for group, values in groups.items() for index, value in enumerate(values)}
    beside = directory / f".{CHECKPOINT_NAME}.{os.getpid()}"
    try:
        with beside.open("wb") as file:
            np.savez(file, allow_pickle=False, header=np.frombuffer(header, np.uint8), **arrays)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(directory / CHECKPOINT_NAME)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise FitRefused(
            f"Cannot write the checkpoint in {directory}: {error.strerror or error}. Free some space there."
        ) from error


def read_checkpoint(directory: Path, run: str) -> Checkpoint | None:
    """Return the checkpoint of the run with this fingerprint, None where there is none. Raises FitRefused for any other file."""
    path = directory / CHECKPOINT_NAME
    _remove_unfinished(directory)
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            header = msgspec.json.decode(file["header"].tobytes(), type=_Header)
            state, best = _numbered(file, "state"), _numbered(file, "best")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, msgspec.DecodeError) as error:
        raise FitRefused(f"{path} cannot be read as a checkpoint ({error}). Remove it to start the fit anew.") from error
    if header.format != _FORMAT or header.fingerprint != run:
        raise FitRefused(
            f"{path} belongs to another run: the spec, the dataset, the network or the versions of the tools have changed since. "
            "Remove it to start the fit anew, or choose another workdir."
        )
    return Checkpoint(header.progress, state, best)


def fit_has_ended(directory: Path) -> bool:
    """Tell whether the checkpoint in `directory` is that of a whole fit; False for none and for one that cannot be read."""
    try:
        with (directory / CHECKPOINT_NAME).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return msgspec.json.decode(file["header"].tobytes(), type=_Header).progress.finished
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, msgspec.DecodeError):
        return False


def discard_checkpoint(directory: Path) -> None:
    """Remove the checkpoint of a run that has been published; logs stay."""
    (directory / CHECKPOINT_NAME).unlink(missing_ok=True)


def run_directory(spec: TrainingSpec, dataset_sha256: str, *, root: Path = Path(".axon/runs")) -> Path:
    """Return the default workdir: `<root>/<name>-<digest of what the fit depends on>`, so that the same run finds itself again."""
    digest = hashlib.sha256((settings_digest(spec) + dataset_sha256).encode()).hexdigest()
    return root / f"{spec.name}-{digest[:12]}"


def _versions() -> dict[str, str]:
    found = {
        distribution.metadata["Name"]: distribution.version for name in _TOOLS for distribution in metadata.distributions(name=name)
    }
    return dict(sorted(found.items()))


def _numbered(file: Any, group: str) -> Arrays:  # noqa: ANN401 -- numpy's NpzFile
    count = sum(name.startswith(f"{group}/") for name in file.files)
    return [file[f"{group}/{index}"] for index in range(count)]


def _remove_unfinished(directory: Path) -> None:
    """Remove what a killed process was writing."""
    for leftover in directory.glob(f".{CHECKPOINT_NAME}.*"):
        leftover.unlink(missing_ok=True)
