"""Several processes that fit one network together, or one alone.

Every worker has the whole network and all rows. It computes the gradients of its share of each batch; the mean of all workers'
gradients is what each applies, so their weights stay the same to the bit. Nothing else is exchanged: validation, checkpoints and
what follows the fit are those of a process that is alone. `tf.distribute` brings the gradients together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import keras
import tensorflow as tf

from training.cluster import Cluster
from training.errors import FitRefused, WorkerLost
from training.spec import TrainingSpec


class Workers(Protocol):
    """Those who fit together."""

    cluster: Cluster

    def share(self, start: Any, end: Any) -> tuple[Any, Any]:  # noqa: ANN401 -- scalar tensors
        """Return where this worker's rows of a batch start and end; a batch has at least one row."""

    def join(self, model: keras.Model) -> None:
        """Let the optimizer of a compiled model apply the mean of all workers' gradients."""

    def require_same(self, spec: TrainingSpec, steps: int) -> None:
        """Raise FitRefused unless all workers start at the same step, and steer by what all of them see."""

    def watched(self) -> Any:  # noqa: ANN401 -- a context manager
        """Turn what TensorFlow raises when another worker is gone into WorkerLost."""


class Alone:
    """A worker that needs no other."""

    def __init__(self, cluster: Cluster | None = None) -> None:
        self.cluster = cluster or Cluster()

    def share(self, start: Any, end: Any) -> tuple[Any, Any]:  # noqa: ANN401 -- scalar tensors
        """Take the whole batch."""
        return start, end

    def join(self, model: keras.Model) -> None:
        """Leave the optimizer as it is."""

    def require_same(self, spec: TrainingSpec, steps: int) -> None:
        """Agree with oneself."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch nobody."""
        yield


class Together:
    """One of several workers. Make it before TensorFlow has computed anything: it then waits for the others."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy()

    def share(self, start: Any, end: Any) -> tuple[Any, Any]:  # noqa: ANN401 -- scalar tensors
        """Take as many rows as every other worker: where a batch cannot be divided, neighbours have a row in common."""
        count, rank = self.cluster.count, self.cluster.rank
        rows = end - start
        each = (rows + count - 1) // count
        begin = start + tf.minimum(rank * each, rows - each)
        return begin, begin + each

    def join(self, model: keras.Model) -> None:
        """Let the optimizer that the model has in the end, one that scales the loss included, apply the mean."""
        optimizer = model.optimizer
        apply = optimizer.apply

        def apply_mean(gradients: Any, variables: Any = None) -> Any:  # noqa: ANN401 -- as Keras declares it
            return apply(self._mean(gradients), variables)

        optimizer.apply = apply_mean

    def require_same(self, spec: TrainingSpec, steps: int) -> None:
        """Compare the steps, and refuse to steer by the loss of one's own share."""
        for part in (spec.early_stopping, spec.schedule):
            monitor = getattr(part, "monitor", "val_loss")
            if not monitor.startswith("val_"):
                raise FitRefused(
                    f"Several workers fit, and each sees '{monitor}' of its own rows only; expected a monitor of the validation "
                    f"rows. Use 'val_{monitor}'."
                )
        [mean] = tf.function(self._mean)([tf.constant(float(steps), tf.float64)])
        if float(mean) != steps:
            raise FitRefused(
                f"Worker {self.cluster.rank} starts at step {steps}, another one elsewhere; expected one working directory for all "
                "workers. Mount it in each of them."
            )

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Name what happened."""
        try:
            yield
        except tf.errors.OpError as error:
            raise WorkerLost(self.cluster.rank, error.message.partition("\n")[0]) from error

    def _mean(self, gradients: Any) -> list[Any]:  # noqa: ANN401 -- tensors, slices of them, or None
        present = [tf.convert_to_tensor(gradient) for gradient in gradients if gradient is not None]

        def reduce(*tensors: Any) -> Any:  # noqa: ANN401 -- TensorFlow's nest
            # identity, because what is reduced must say on which device it is
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, [tf.identity(t) for t in tensors])

        means = iter(self._strategy.run(reduce, args=tuple(present)))
        return [None if gradient is None else next(means) for gradient in gradients]


def workers_of(cluster: Cluster, *, fitted: bool) -> Workers:
    """Return the workers of a cluster; with several, wait until all of them are there, unless the fit has ended before."""
    return Alone(cluster) if fitted or cluster.count == 1 else Together(cluster)
