"""The state of the process that a fit depends on: seeds, deterministic operations, precision. Set before the model is built."""

import keras
import tensorflow as tf

from training.errors import FitRefused
from training.spec import Precision


def fix_randomness(seed: int) -> None:
    """Seed Python, numpy and TensorFlow, and allow only operations that give the same result every time.

    Applies to the whole process; call it before the model is built, which draws the first weights.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def choose_precision(precision: Precision) -> None:
    """Make `precision` that of all layers built from now on. Raises FitRefused for half precision without a GPU."""
    if precision != "float32" and not tf.config.list_physical_devices("GPU"):
        raise FitRefused(
            f"precision = '{precision}' needs a GPU, and TensorFlow sees none; on a CPU it is about 5 times slower than float32. "
            "Use precision = 'float32', or install the GPU build of tensorflow and check the driver."
        )
    keras.config.set_dtype_policy(precision)


def to_float32(model: keras.Model) -> None:
    """Make a model that was fitted in mixed precision compute in float32, in place; its weights are float32 already."""
    keras.config.set_dtype_policy("float32")
    for layer in model._flatten_layers():  # noqa: SLF001 -- the only way to every nested layer
        if layer.dtype_policy.name != "float32":
            layer.dtype_policy = keras.DTypePolicy("float32")
