from typing import Any

import msgspec
import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs the train extra")

from training.fitting.optimizers import build_optimizer, learning_rate, set_learning_rate  # noqa: E402 -- after the check
from training.spec.fit import FitSpec  # noqa: E402 -- after the check
from training.spec.optimizers import OptimizerSpec  # noqa: E402 -- after the check
from training.spec.schedules import Constant, ScheduleSpec  # noqa: E402 -- after the check

pytestmark = pytest.mark.training

NAMES = ("sgd", "adam", "adamw", "adamax", "nadam", "adagrad", "adadelta", "rmsprop", "lion", "ftrl")


def build(optimizer: dict[str, Any], schedule: dict[str, Any] | None = None, *, epochs: int = 10, steps: int = 5) -> Any:
    spec: Any = msgspec.convert(optimizer, OptimizerSpec)
    told: Any = msgspec.convert(schedule, ScheduleSpec) if schedule else Constant()
    return build_optimizer(spec, told, epochs=epochs, steps=steps)


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_keras_own(name: str) -> None:
    ours, theirs = build({"name": name}).get_config(), keras.optimizers.get(name).get_config()

    assert ours.keys() == theirs.keys()
    for option, value in theirs.items() - {("name", theirs["name"])}:
        assert ours[option] == (pytest.approx(value) if isinstance(value, float) else value), option


@pytest.mark.parametrize(
    "options",
    [
        {"name": "sgd", "momentum": 0.9, "nesterov": True, "clipnorm": 1.0},
        {"name": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6, "amsgrad": True, "global_clipnorm": 2.0},
        {"name": "adamw", "weight_decay": 0.01, "clipvalue": 0.5},
        {"name": "rmsprop", "rho": 0.8, "momentum": 0.5, "centered": True},
        {"name": "adagrad", "initial_accumulator_value": 0.0},
        {"name": "ftrl", "l1_regularization_strength": 0.01},
        {"name": "lion", "learning_rate": 0.00005},
    ],
    ids=lambda options: options["name"],
)
def test_options_reach_keras(options: dict[str, Any]) -> None:
    config = build(options).get_config()

    assert {name: config[name] for name in options if name != "name"} == pytest.approx(
        {name: value for name, value in options.items() if name != "name"}
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"beta_1": 0.5, "epsilon": 1e-3, "clipnorm": 0.1}, {"amsgrad": True}, {"name": "adamw", "weight_decay": 0.1}],
    ids=["defaults", "all numbers", "amsgrad", "weight decay"],
)
def test_fused_adam_follows_keras(options: dict[str, Any]) -> None:
    """Dense weights and an embedding, of which a step touches three rows, take the same thirty steps."""
    options = {"name": "adam", "learning_rate": 0.05, **options}
    theirs = keras.optimizers.get({"class_name": options["name"], "config": {k: v for k, v in options.items() if k != "name"}})
    rng = np.random.default_rng(1)
    rows, words, goals = rng.normal(size=(30, 8, 5)), rng.integers(0, 9, (30, 8, 3)), rng.normal(size=(30, 8, 1))
    fitted = []
    for optimizer in (build(options), theirs):
        keras.utils.set_random_seed(3)
        numbers, tokens = keras.Input((5,)), keras.Input((3,), dtype="int32")
        joined = keras.layers.Concatenate()([numbers, keras.layers.Flatten()(keras.layers.Embedding(50, 4)(tokens))])
        model = keras.Model([numbers, tokens], keras.layers.Dense(1)(joined))
        model.compile(optimizer, "mse")
        for step in range(30):
            model.train_on_batch([rows[step], words[step]], goals[step])
        fitted.append(model.get_weights())

    for ours, expected in zip(*fitted, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_learns(name: str) -> None:
    """A step makes (w - 1)^2 smaller, with any gradient bound."""
    weight = keras.Variable(np.float32(0.0))
    optimizer = build({"name": name, "learning_rate": 0.1, "clipvalue": 1.0})
    for _ in range(5):
        optimizer.apply([2 * (keras.ops.convert_to_tensor(weight) - 1)], [weight])

    assert 0 < float(weight.value) < 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "sgd", "nesterov": True}, "nesterov = true needs a momentum"),
        ({"name": "adam", "clipnorm": 1.0, "clipvalue": 1.0}, "clipnorm and clipvalue exclude each other"),
        ({"name": "adam", "momentum": 0.9}, "unknown field `momentum`"),
        ({"name": "adan"}, "Invalid value 'adan'"),
        ({"name": "adam", "learning_rate": 0.0}, "> 0"),
    ],
    ids=["nesterov alone", "two bounds", "foreign option", "unknown name", "no rate"],
)
def test_wrong_optimizer_is_refused_by_its_key(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        build(wrong)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        pytest.param({"kind": "constant"}, {0: 1.0, 49: 1.0}, id="constant"),
        pytest.param({"kind": "exponential", "factor": 0.5, "epochs": 2}, {0: 1.0, 5: 0.5**0.5, 10: 0.5, 20: 0.25}, id="smooth"),
        pytest.param(
            {"kind": "exponential", "factor": 0.5, "epochs": 2, "staircase": True},
            {9: 1.0, 10: 0.5, 19: 0.5, 20: 0.25},
            id="stairs",
        ),
        pytest.param(
            {"kind": "piecewise", "after": [2, 4], "factors": [0.1, 0.5]}, {9: 1.0, 10: 0.1, 19: 0.1, 20: 0.05}, id="pieces"
        ),
        pytest.param({"kind": "cosine", "final": 0.1}, {0: 1.0, 25: 0.55, 50: 0.1}, id="cosine"),
        pytest.param({"kind": "cosine", "warmup_epochs": 2}, {0: 0.0, 5: 0.5, 10: 1.0, 30: 0.5, 50: 0.0}, id="cosine with warm-up"),
    ],
)
def test_schedule_counts_in_epochs(schedule: dict[str, Any], expected: dict[int, float]) -> None:
    """Ten epochs of five steps; the rate is that of the step with this number, from 0."""
    optimizer = build({"name": "sgd", "learning_rate": 1.0}, schedule)
    rates = {}
    for step in expected:
        optimizer.iterations.assign(step)
        rates[step] = learning_rate(optimizer)

    assert rates == pytest.approx(expected, abs=1e-6)


def test_rate_can_be_changed_within_loss_scaling() -> None:
    optimizer = keras.optimizers.LossScaleOptimizer(build({"name": "adam"}))

    set_learning_rate(optimizer, 0.25)

    assert learning_rate(optimizer) == 0.25


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"kind": "cosine", "warmup_epochs": 10}, "leaves nothing of epochs = 10"),
        ({"kind": "reduce_on_plateau", "minimum": 0.5}, "not below optimizer.learning_rate = 0.01"),
        ({"kind": "piecewise", "after": [3, 2], "factors": [0.5, 0.5]}, "expected epochs in rising order"),
        ({"kind": "piecewise", "after": [3], "factors": [0.5, 0.5]}, "expected as many of each"),
        ({"kind": "reduce_on_plateau", "monitor": "val_f1"}, "monitor"),
    ],
    ids=["warm-up without end", "minimum above the rate", "not in order", "not as many", "unknown monitor"],
)
def test_wrong_schedule_is_refused(schedule: dict[str, Any], message: str) -> None:
    fit = {"epochs": 10, "batch_size": 8, "loss": "mse", "optimizer": {"name": "sgd"}, "schedule": schedule}

    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(fit, FitSpec)
