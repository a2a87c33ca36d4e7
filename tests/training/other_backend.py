"""Fit a small CNN and an LSTM on the back end that KERAS_BACKEND names, and save both: `python other_backend.py DIRECTORY`.

Runs in an environment of its own, which needs keras and that back end, and nothing of Axon. Beside each .keras file stand rows and
what the back end answers for them, as .npz.
"""

import sys
from pathlib import Path

import keras
import numpy as np


def cnn() -> keras.Model:
    """Build a convolutional network with batch normalisation, dropout and an exact gelu."""
    image = keras.Input((12, 12, 1), name="image")
    values = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    values = keras.layers.Activation("gelu")(keras.layers.BatchNormalization()(values))
    values = keras.layers.Dropout(0.1)(keras.layers.Flatten()(keras.layers.MaxPooling2D()(values)))
    return keras.Model(image, keras.layers.Dense(3, activation="softmax", name="probabilities")(values))


def lstm() -> keras.Model:
    """Build a recurrent network."""
    series = keras.Input((10, 2), name="series")
    return keras.Model(series, keras.layers.Dense(1, name="value")(keras.layers.LSTM(6)(series)))


def main(directory: Path) -> None:
    """Fit, save, and write down what each model answers."""
    generator = np.random.default_rng(0)
    keras.utils.set_random_seed(3)
    images, series = generator.random((256, 12, 12, 1), np.float32), generator.random((256, 10, 2), np.float32)
    labels, sums = images[:, :4, :4, 0].mean((1, 2)).argsort().argsort() * 3 // 256, series.sum((1, 2))[:, None]
    for name, model, loss, rows, targets in (
        ("cnn", cnn(), "sparse_categorical_crossentropy", images, labels),
        ("lstm", lstm(), "mse", series, sums),
    ):
        model.compile(optimizer="adam", loss=loss)
        model.fit(rows, targets, epochs=3, verbose=0)
        model.save(directory / f"{name}.keras")
        np.savez(directory / f"{name}.npz", rows=rows[:16], answers=np.asarray(model.predict(rows[:16], verbose=0)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
