from pathlib import Path
from typing import get_args

import pytest

from training.datasets import DATASETS
from training.errors import SpecError
from training.spec import DatasetName, TrainingSpec
from training.spec_file import read_spec


def refusal(spec_file: Path, tmp_path: Path, old: str, new: str) -> str:
    """Return the error of the committed spec with one text replaced."""
    text = spec_file.read_text()
    assert old in text
    changed = tmp_path / "changed.toml"
    changed.write_text(text.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        read_spec(changed)
    message = str(caught.value)
    assert message.startswith(f"{changed}: ")
    return message.removeprefix(f"{changed}: ")


def test_committed_spec_is_valid_and_frozen(digits_spec: TrainingSpec) -> None:
    assert digits_spec.name == "digits"
    assert len(digits_spec.architecture.hidden) >= 2
    with pytest.raises(AttributeError):
        digits_spec.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("batch_size = 64", "batch_size = 0", "batch_size = 0 is not valid. Expected `int` >= 1."),
        ("epochs = ", "epochs = 'ten' #", "epochs = 'ten' is not valid. Expected `int`, got `str`."),
        ("units = 512", "units = 0", "architecture.hidden[0].units = 0 is not valid. Expected `int` >= 1."),
        ("learning_rate = 0.002", "learning_rate = nan", "optimizer.learning_rate = nan is not valid. Expected `float` > 0.0."),
        ("test_fraction = 0.2", "test_fraction = 1.0", "dataset.test_fraction = 1.0 is not valid. Expected `float` < 1.0."),
        ("opset = 18", "opset = 19", "export.opset = 19 is not valid. Expected `int` <= 18."),
        ("seed = 1", "", "key 'seed' is missing."),
        ('name = "adam"', "", "key 'optimizer.name' is missing. Expected one of 'sgd', 'adam', 'adagrad', 'rmsprop'."),
    ],
    ids=[
        "batch size 0", "words for a number", "a layer of no units", "a rate that is no number", "nothing left to fit",
        "an opset that tf2onnx lacks", "no seed", "no optimizer name",
    ],
)  # fmt: skip
def test_wrong_value_names_its_key_and_what_was_expected(
    spec_file: Path, tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert refusal(spec_file, tmp_path, old, new) == expected


@pytest.mark.parametrize(
    ("old", "new", "key", "choice"),
    [
        ('loss = "sparse_categorical_crossentropy"', 'loss = "crossentropy"', "loss = 'crossentropy'", "'mse'"),
        ('"relu"', '"rleu"', "architecture.hidden[0].activation = 'rleu'", "'relu'"),
        ('name = "adam"', 'name = "adamm"', "optimizer.name = 'adamm'", "'adam'"),
        ('kind = "dense"', 'kind = "cnn"', "architecture.kind = 'cnn'", "'dense'"),
        ('[dataset]\nname = "digits"', '[dataset]\nname = "mnist"', "dataset.name = 'mnist'", "'digits'"),
    ],
    ids=["loss", "activation", "optimizer", "architecture", "dataset"],
)
def test_unknown_word_lists_the_known_ones(spec_file: Path, tmp_path: Path, old: str, new: str, key: str, choice: str) -> None:
    message = refusal(spec_file, tmp_path, old, new)

    assert message.startswith(f"{key} is not valid. Expected one of ")
    assert choice in message


def test_unknown_key_suggests_the_nearest(spec_file: Path, tmp_path: Path) -> None:
    message = refusal(spec_file, tmp_path, "learning_rate", "lerning_rate")

    assert message.startswith("unknown key 'optimizer.lerning_rate'. Did you mean 'learning_rate'? Expected one of beta_1, ")


def test_key_of_another_optimizer_is_refused(spec_file: Path, tmp_path: Path) -> None:
    message = refusal(spec_file, tmp_path, "learning_rate = 0.002", "momentum = 0.9")

    assert message == ("unknown key 'optimizer.momentum'. Expected one of beta_1, beta_2, epsilon, learning_rate, name.")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('output = "softmax"', 'output = "sigmoid"', "does not fit architecture.output = 'sigmoid'; expected output 'softmax'"),
        ('"sparse_categorical_crossentropy"', '"binary_crossentropy"', "expected output 'sigmoid'"),
        ('activation = "leaky_relu"', 'activation = "tanh"', "architecture.hidden[1]: slope = 0.1 belongs to activation"),
        ("test_fraction = 0.2", "test_fraction = 0.95", "dataset: test_fraction + validation_fraction = 1.05; expected less"),
        ("accuracy = 0.97", "", "acceptance: no threshold is given; expected at least one of accuracy"),
        ('name = "adam"', 'name = "sgd"\nnesterov = true', "optimizer: nesterov = true needs a momentum"),
    ],
    ids=["loss and output", "output and loss", "slope without leaky_relu", "no rows to fit", "no threshold", "nesterov alone"],
)
def test_contradicting_values_are_refused_before_training(
    spec_file: Path, tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert expected in refusal(spec_file, tmp_path, old, new)


def test_file_that_is_no_toml_says_where(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("name = \n")

    with pytest.raises(SpecError, match=r"broken.toml: is not valid TOML: .*line 1"):
        read_spec(path)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")

    with pytest.raises(SpecError, match="cannot be read: No such file"):
        read_spec(tmp_path / "absent.toml")
    with pytest.raises(SpecError, match="is not UTF-8 text"):
        read_spec(binary)


def test_every_dataset_of_the_spec_can_be_loaded() -> None:
    assert set(get_args(DatasetName)) == set(DATASETS)
