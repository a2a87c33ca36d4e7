"""The steps of a compiled model as TensorFlow graphs that run many batches a call, by Keras' own train_step and test_step."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from training.fitting.batches import Examples
from training.fitting.workers import Alone, Workers

Metrics = dict[str, float]


class Steps:
    """Runs chunks of rows through a compiled model, in batches; the last batch of a chunk may be smaller.

    `_symbolic_build` is what Keras' fit calls first: without it, a checkpoint would find metrics that have no variables yet.
    """

    def __init__(self, model: keras.Model, example: Examples, *, batch_size: int, workers: Workers) -> None:
        self._model = model
        self._workers = workers
        self._example = example
        model._symbolic_build(data_batch=example.data(slice(0, 1), model))  # noqa: SLF001
        self._train = self._graph(model.train_step, example, batch_size)
        self._test: Callable[..., Any] | None = None
        self.test_batch = max(batch_size, 128)

    def train(self, data: tuple[Any, ...]) -> Metrics:
        """Take a step for each batch of `data`; return the metrics of the epoch so far."""
        return self._told(self._train(data))

    def test(self, data: tuple[Any, ...]) -> Metrics:
        """Add the rows of `data` to the metrics, without learning; return the metrics since the last reset."""
        if self._test is None:
            self._test = self._graph(self._model.test_step, self._example, self.test_batch, weighted=False)
        return self._told(self._test(data))

    def _graph(
        self, step: Callable[[tuple[Any, ...]], Any], example: Examples, batch_size: int, *, weighted: bool = True
    ) -> Callable[..., Any]:
        share = (self._workers if weighted else Alone()).share
        data = example.data(slice(0, 1), self._model)
        signature = tf.nest.map_structure(
            lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), data if weighted else data[:2]
        )

        def run(chunk: tuple[Any, ...]) -> Any:  # noqa: ANN401 -- TensorFlow's nest
            rows = tf.shape(tf.nest.flatten(chunk)[0])[0]

            def batch(start: Any) -> Any:  # noqa: ANN401 -- a scalar tensor
                begin, end = share(start, tf.minimum(start + batch_size, rows))
                step(tf.nest.map_structure(lambda array: array[begin:end], chunk))
                return start + batch_size

            tf.while_loop(lambda start: start < rows, batch, [tf.constant(0)], parallel_iterations=1)
            return self._model.get_metrics_result()

        # AutoGraph would rewrite Keras' code too; tf.while_loop says the same.
        graph: Callable[..., Any] = tf.function(run, input_signature=[signature], autograph=False)
        return graph

    @staticmethod
    def _told(metrics: dict[str, Any]) -> Metrics:
        return {name: float(value) for name, value in metrics.items()}
