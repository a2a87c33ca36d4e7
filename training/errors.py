"""The errors of training: each one full sentence for the person at the terminal. `axon train` exits with its `exit_code`.

TrainingError
├── SpecError            the spec file: names the file, the key, the value and what was expected
├── DatasetError         the data does not fit the spec, or cannot be split as it asks
├── FeatureError         a column cannot become what the spec makes of it
├── ArchitectureError    the architecture does not fit the data, or cannot be built
├── FitRefused           loss, targets, network, machine or checkpoint do not go together; found before the first epoch
├── FitFailed            the loss stopped being a number
├── WorkerLost           another worker of the fit is gone; what is kept is gone on from
├── AcceptanceFailed     the model is worse than the spec demands
├── ExportFailed         the Keras model has no faithful ONNX form
├── ParityFailed         the ONNX graph computes something else than the Keras model
├── PublishFailed        the repository could not be written
└── DemoFailed           `axon demo`: training or the server ended early
"""

from collections.abc import Iterable
from pathlib import Path


class TrainingError(Exception):
    """Base of all errors that training raises on purpose; `str()` is a sentence or a few."""

    exit_code = 1


class SpecError(TrainingError):
    """The spec file cannot be used; nothing was trained."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


class DatasetError(TrainingError):
    """The dataset and the spec contradict each other."""


class ArchitectureError(TrainingError):
    """The architecture of the spec cannot be built on this data; nothing was trained."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"The network cannot be built: {problem}")


class FeatureError(TrainingError):
    """A column and what the spec makes of it contradict each other; nothing was trained."""

    def __init__(self, column: str, problem: str) -> None:
        super().__init__(f"Column '{column}' {problem}")


class FitRefused(TrainingError):
    """What the spec asks of the fit cannot be done with this data, this network or on this machine; nothing was trained."""


class FitFailed(TrainingError):
    """The fit diverged."""

    def __init__(self, epoch: int, loss: float) -> None:
        super().__init__(
            f"The loss became {loss} in epoch {epoch}; expected a finite number. "
            "Lower optimizer.learning_rate, or choose another loss or activation."
        )


class WorkerLost(TrainingError):
    """Another worker of the same fit has ended or cannot be reached; started again, all go on from the checkpoint."""

    exit_code = 75  # EX_TEMPFAIL: unlike a spec that is wrong, worth another try

    def __init__(self, rank: int, reason: str) -> None:
        super().__init__(f"Worker {rank} lost another one: {reason} Start all workers again; they go on from the checkpoint.")


class AcceptanceFailed(TrainingError):
    """The held-out metrics miss a threshold of the spec; nothing was published."""

    def __init__(self, misses: Iterable[str]) -> None:
        super().__init__(
            f"The model is not good enough to publish: {'; '.join(misses)}. "
            "Train longer or change the architecture, lower the threshold under [acceptance], or publish it all the same with "
            "--force. The fit is kept: neither of the last two repeats it."
        )


class ExportFailed(TrainingError):
    """The model cannot be written as ONNX."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The model cannot be exported to ONNX: {reason}")
        self.reason = reason


class ParityFailed(TrainingError):
    """The exported graph does not reproduce the Keras model; nothing was published."""

    def __init__(self, output: str, batch_size: int, error: float, tolerance: float) -> None:
        super().__init__(
            f"Output '{output}' of the ONNX graph differs from Keras by {error:.3g} at batch size {batch_size}; "
            f"expected at most {tolerance:.3g}. Replace the layer that is exported wrongly, "
            "or raise the tolerance (export.parity_tolerance in a spec, --tolerance of axon export) if the difference is rounding."
        )


class PublishFailed(TrainingError):
    """The package could not be written to the repository."""

    def __init__(self, directory: Path, error: OSError, *, fitted: bool = False) -> None:
        kept = " The fit is kept: put this right and run the same command again." if fitted else ""
        super().__init__(f"Cannot publish to {directory}: {error.strerror or error}. Nothing was published.{kept}")


class DemoFailed(TrainingError):
    """The demo could not reach its prediction."""
