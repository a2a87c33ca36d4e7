import json
import tomllib
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from training.datasets.loading import READERS
from training.errors import SpecError
from training.spec import TrainingSpec
from training.spec.reading import json_schema, read_spec
from training.spec.sources import Source

SPECS = Path(__file__).parents[2] / "training" / "specs"


NO_OPTIMIZER = (
    "key 'optimizer.name' is missing. Expected one of 'sgd', 'adam', 'adamw', 'adamax', 'nadam', 'adagrad', 'adadelta', "
    "'rmsprop', 'lion', 'ftrl'."
)
DIGITS = 'source = { kind = "sklearn", name = "digits" }'


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
    assert digits_spec.name == "digits_cnn"
    assert digits_spec.dataset.task == "classification"
    with pytest.raises(AttributeError):
        digits_spec.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("batch_size = 32", "batch_size = 0", "batch_size = 0 is not valid. Expected `int` >= 1."),
        ("batch_size = 32", "batch_size = 3000000000", "batch_size = 3000000000 is not valid. Expected `int` <= 2147483647."),
        ("epochs = ", "epochs = 'ten' #", "epochs = 'ten' is not valid. Expected `int`, got `str`."),
        ("filters = 32", "filters = 0", "architecture.blocks[1].filters = 0 is not valid. Expected `int` >= 1."),
        ("learning_rate = 0.002", "learning_rate = nan", "optimizer.learning_rate = nan is not valid. Expected `float` > 0.0."),
        ("test_fraction = 0.2", "test_fraction = 1.0", "dataset.split.test_fraction = 1.0 is not valid. Expected `float` < 1.0."),
        ("opset = 18", "opset = 19", "export.opset = 19 is not valid. Expected `int` <= 18."),
        ("seed = 7\n", "", "key 'seed' is missing."),
        ('name = "adam"', "", NO_OPTIMIZER),
    ],
    ids=[
        "batch size 0", "batches beyond 32 bits", "words for a number", "a layer of no filters", "a rate that is no number",
        "nothing left to fit",
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
        ('"relu"', '"rleu"', "architecture.blocks[0].activation = 'rleu'", "'relu'"),
        ('name = "adam"', 'name = "adamm"', "optimizer.name = 'adamm'", "'adam'"),
        ('kind = "cnn"', 'kind = "mlp"', "architecture.kind = 'mlp'", "'dense'"),
        ('name = "digits" }', 'name = "mnist" }', "dataset.source.name = 'mnist'", "'digits'"),
        ('kind = "sklearn"', 'kind = "sql"', "dataset.source.kind = 'sql'", "'parquet'"),
    ],
    ids=["loss", "activation", "optimizer", "architecture", "dataset", "kind of source"],
)
def test_unknown_word_lists_the_known_ones(spec_file: Path, tmp_path: Path, old: str, new: str, key: str, choice: str) -> None:
    message = refusal(spec_file, tmp_path, old, new)

    assert message.startswith(f"{key} is not valid. Expected one of ")
    assert choice in message


def test_unknown_key_suggests_the_nearest(spec_file: Path, tmp_path: Path) -> None:
    message = refusal(spec_file, tmp_path, "learning_rate", "lerning_rate")

    assert message.startswith("unknown key 'optimizer.lerning_rate'. Did you mean 'learning_rate'? Expected one of ")


def test_key_of_another_optimizer_is_refused(spec_file: Path, tmp_path: Path) -> None:
    message = refusal(spec_file, tmp_path, 'name = "adam"', 'name = "adam"\nrho = 0.9')

    assert message.startswith("unknown key 'optimizer.rho'. Expected one of amsgrad, beta_1, beta_2, ")


def test_key_of_a_section_that_several_kinds_share_is_listed_once(spec_file: Path, tmp_path: Path) -> None:
    message = refusal(spec_file, tmp_path, 'kind = "cnn"', 'kind = "cnn"\naugmentation = { flip = true }')

    assert message == (
        "unknown key 'architecture.augmentation.flip'. Expected one of horizontal_flip, rotation, translation, zoom."
    )


def test_column_names_with_spaces_and_dots_are_named_in_errors(spec_file: Path, tmp_path: Path) -> None:
    features = '[features."alcohol"]\nkind = "numeric"\n[features."net weight"]\nkind = "numeric"\nscale = "log"\n[optimizer]'
    message = refusal(spec_file, tmp_path, "[optimizer]", features)

    assert message == "features.net weight.scale = 'log' is not valid. Expected one of 'minmax', 'none', 'standard'."


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ('source = { kind = "csv", path = "a.csv" }', "dataset: key 'target' is missing; expected the name of the column"),
        (DIGITS + '\ntarget = ["a", "b"]', "dataset: task 'classification' has 2 target columns; expected one"),
        (DIGITS + '\ntask = "regression"\nlabels = ["a"]', "dataset: labels does not belong to task 'regression': only a"),
        (DIGITS + '\ntask = "reconstruction"\ntarget = "a"', "target does not belong to task 'reconstruction': the inputs"),
        (DIGITS + '\nlabels = ["a", "b", "a"]', "dataset: labels holds 'a' twice; expected different ones"),
        (DIGITS + '\ntarget = "a"\ndrop = ["a"]', "dataset: column 'a' is in both target and drop; expected one of them"),
        ('source = { kind = "image_folder", directory = "a", width = 8 }', "dataset.source: only one of height and width"),
        ('source = { kind = "function", function = "os.getcwd" }', "dataset.source.function = 'os.getcwd' is not valid."),
    ],
    ids=[
        "no target", "two targets to classify", "labels of a regression", "target of a reconstruction",
        "one label twice", "target dropped",
        "half a size", "no function",
    ],
)  # fmt: skip
def test_contradicting_dataset_is_refused_before_it_is_read(spec_file: Path, tmp_path: Path, dataset: str, expected: str) -> None:
    assert expected in refusal(spec_file, tmp_path, DIGITS, dataset)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('output = "softmax"', 'output = "sigmoid"', "does not fit architecture.output = 'sigmoid'; expected output 'softmax'"),
        ('"sparse_categorical_crossentropy"', '"binary_crossentropy"', "expected output 'sigmoid'"),
        ('activation = "leaky_relu"', 'activation = "tanh"', "architecture.hidden[0]: slope = 0.1 belongs to activation"),
        ("test_fraction = 0.2", "test_fraction = 0.95", "dataset.split: test_fraction + validation_fraction = 1.05; expected less"),
        ("accuracy = 0.98", "", "acceptance: no threshold is given; expected at least one of accuracy"),
        ('name = "adam"', 'name = "sgd"\nnesterov = true', "optimizer: nesterov = true needs a momentum"),
    ],
    ids=["loss and output", "output and loss", "slope without leaky_relu", "no rows to fit", "no threshold", "nesterov alone"],
)
def test_contradicting_values_are_refused_before_training(
    spec_file: Path, tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert expected in refusal(spec_file, tmp_path, old, new)


def test_name_of_an_output_that_is_none_is_named(spec_file: Path, tmp_path: Path) -> None:
    output = 'target = "target"\nloss = "mse"\nacceptance = { accuracy = 0.5 }\n'
    message = refusal(spec_file, tmp_path, "[optimizer]", f'[outputs.good]\n{output}[outputs."so ld"]\n{output}[optimizer]')

    assert message == "'outputs.so ld' is no valid key. Expected `str` matching regex '^[A-Za-z][A-Za-z0-9_]{0,63}$'."


def test_each_known_word_is_listed_once(spec_file: Path, tmp_path: Path) -> None:
    message = refusal(spec_file, tmp_path, 'activation = "leaky_relu", slope = 0.1', 'activation = "rleu"')

    assert message.count("'selu'") == 1


REGRESSION = 'source = { kind = "sklearn", name = "digits" }\ntask = "regression"\ntarget = '


@pytest.mark.parametrize(
    ("target", "output", "head"),
    [('"a"', "", "linear"), ('"a"', 'output = "tanh"', "tanh"), ('["a", "b"]', 'output = "softmax"', "softmax")],
    ids=["a number is linear", "unless it is said", "shares of a whole"],
)
def test_regression_is_linear_unless_it_is_said(spec_file: Path, tmp_path: Path, target: str, output: str, head: str) -> None:
    path = tmp_path / "regression.toml"
    path.write_text(regression(spec_file, target, output))

    assert read_spec(path).goals[""].head == head


def test_softmax_of_one_number_is_refused(spec_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "regression.toml"
    path.write_text(regression(spec_file, '"a"', 'output = "softmax"'))

    with pytest.raises(SpecError, match=r"architecture.output = 'softmax' of a single number is always 1; expected 'linear'"):
        read_spec(path)


def regression(spec_file: Path, target: str, output: str) -> str:
    """Return the committed spec as that of a regression."""
    text = spec_file.read_text().replace(DIGITS, REGRESSION + target).replace('output = "softmax"', output)
    return text.replace('loss = "sparse_categorical_crossentropy"', 'loss = "mse"')


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


def test_every_kind_of_source_has_a_reader() -> None:
    assert set(get_args(Source)) == set(READERS)


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.toml")), ids=lambda path: path.stem)
def test_committed_specs_are_valid_and_survive_being_written(path: Path) -> None:
    """A manifest holds the spec; the same run can be made from it."""
    spec = read_spec(path)

    assert spec.name == path.stem
    assert msgspec.convert(json.loads(msgspec.json.encode(spec)), TrainingSpec) == spec


def test_published_schema_is_that_of_the_types() -> None:
    """`training/specs/schema.json` is written by `axon schema`; every committed spec names it for editors."""
    assert json.loads((SPECS / "schema.json").read_text()) == json.loads(json.dumps(json_schema()))
    for path in SPECS.glob("*.toml"):
        assert path.read_text().startswith("#:schema schema.json\n")
        assert tomllib.loads(path.read_text()).keys() <= json_schema()["$defs"]["TrainingSpec"]["properties"].keys()
