"""Columns to inputs and targets, and what is refused before anything is trained."""

import numpy as np
import pytest

from training.datasets import Dataset
from training.datasets.loading import assemble
from training.datasets.table import Table, column, columns
from training.errors import DatasetError
from training.spec import DatasetSpec, TargetSpec
from training.spec.sources import CsvSource

AGES = np.array([20.0, 30.0, 40.0, 50.0], np.float32)
ANSWERS = np.array(["yes", "no", "no", "yes"], dtype=object)


def table(**changed: np.ndarray) -> Table:
    return Table(name="people.csv", columns={"age": AGES, "answer": ANSWERS} | changed)


def first_target(dataset: Dataset) -> np.ndarray:
    """Return the targets of the first output."""
    return next(iter(dataset.rows.targets.values()))


def spec(**changed: object) -> DatasetSpec:
    return DatasetSpec(**{"source": CsvSource("people.csv"), "target": "answer"} | changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({}, {"target": "anwser"}, "people.csv has no column 'anwser'; expected one of age, answer"),
        ({}, {"drop": ("name",)}, "people.csv has no column 'name'; expected one of age, answer"),
        ({}, {"drop": ("age",)}, "people.csv has no column left as an input"),
        ({"age": np.array(["20", "thirty", "", "50"], dtype=object)}, {"types": {"age": "number"}},
         "Column 'age' holds 'thirty' in row 1; expected a number"),
        ({"age": AGES + 0.5}, {"types": {"age": "integer"}}, "Column 'age' holds 20.5 in row 0; expected an integer"),
        ({"answer": np.array(["yes"] * 4, dtype=object)}, {}, "Target 'answer' holds only 'yes'; expected at least two"),
        ({"answer": np.array(["yes", "", "no", ""], dtype=object)}, {},
         "Target 'answer' is missing in 2 of 4 rows, first in row 1; expected a value in every row"),
        ({"answer": np.array([1.0, np.nan, 2.0, 1.0], np.float32)}, {"task": "regression"},
         "Target 'answer' is missing in 1 of 4 rows, first in row 1"),
        ({"answer": np.array([""] * 4, dtype=object)}, {"missing_target": "drop"}, "Target 'answer' is missing in 4 of 4 rows"),
        ({"answer": np.array([0.5, 1.5, 0.5, 1.0], np.float32)}, {}, "holds numbers such as 0.5; expected labels"),
        ({}, {"task": "regression"}, r"Target 'answer' holds text \('yes' in row 0\); expected one number a row"),
        ({"answer": np.full(4, 5.0, np.float32)}, {"task": "regression"},
         "Target 'answer' holds only 5; expected at least two different numbers"),
        ({}, {"labels": ("yes", "maybe")}, "Target 'answer' holds 'no'; expected one of yes, maybe"),
    ],
    ids=[
        "wrong target", "wrong column to drop", "no input", "text in a numeric column", "fraction in an integer column",
        "one class only", "label missing", "value missing", "no target at all", "fractions as labels", "text as a value",
        "one value only", "unknown label",
    ],
)  # fmt: skip
def test_wrong_data_is_refused_with_what_was_expected(
    columns: dict[str, np.ndarray], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        assemble(table(**columns), spec(**changes))


def test_labels_are_sorted_unless_the_spec_orders_them() -> None:
    assert assemble(table(), spec()).goals[0].labels == ("no", "yes")

    ordered = assemble(table(), spec(labels=("yes", "no")))

    assert ordered.goals[0].labels == ordered.outputs[0].labels == ("yes", "no")
    assert first_target(ordered).tolist() == [0, 1, 1, 0]


def test_integer_labels_keep_their_names() -> None:
    dataset = assemble(table(answer=np.array([10, 2, 2, 10])), spec())

    assert (dataset.goals[0].labels, first_target(dataset).tolist()) == (("2", "10"), [1, 0, 0, 1])


def test_rows_without_a_target_can_be_left_out() -> None:
    dataset = assemble(table(answer=np.array(["yes", "", "no", "yes"], dtype=object)), spec(missing_target="drop"))

    assert dataset.rows.inputs["age"].tolist() == [20, 40, 50]
    assert first_target(dataset).tolist() == [1, 0, 1]


def test_several_values_with_their_units_are_one_output() -> None:
    wide = table(answer=np.array([1, 2, 3, 4]), height=np.array([1.5, 1.6, 1.7, 1.8], np.float32))

    dataset = assemble(
        wide, spec(task="regression", target=("answer", "height"), units={"answer": "kg", "height": "m", "age": "years"})
    )

    output = dataset.goals[0].output
    assert (output.shape, output.labels, output.unit) == ((-1, 2), ("answer", "height"), "kg, m")
    assert dataset.inputs[0].unit == "years"
    np.testing.assert_allclose(first_target(dataset), [[1, 1.5], [2, 1.6], [3, 1.7], [4, 1.8]], rtol=1e-6)


def test_several_outputs_have_targets_of_their_own_and_share_the_inputs() -> None:
    outputs = {"bought": TargetSpec(target="answer"), "years": TargetSpec(target="age", task="regression")}

    dataset = assemble(table(age=np.array([1.0, np.nan, 3.0, 4.0]), size=AGES), spec(target="", missing_target="drop"), outputs)

    assert [(goal.task, goal.output.name, goal.output.shape) for goal in dataset.goals] == [
        ("classification", "bought", (-1, 2)), ("regression", "years", (-1, 1)),
    ]  # fmt: skip
    assert {name: array.tolist() for name, array in dataset.rows.targets.items()} == {
        "bought": [1, 0, 1], "years": [[1.0], [3.0], [4.0]],
    }  # fmt: skip
    assert {"answer", "age"}.isdisjoint(dataset.rows.inputs)


def test_reconstruction_has_no_target_column() -> None:
    dataset = assemble(table(), spec(task="reconstruction", target=()))

    assert list(dataset.rows.inputs) == ["age", "answer"]
    assert (first_target(dataset).shape, dataset.goals[0].output.name) == ((4, 0), "reconstruction")


def test_declared_types_read_text_as_numbers_and_numbers_as_text() -> None:
    odd = table(age=np.array(["20", " ", "3e1", "50"], dtype=object), zip=np.array([1234.0, np.nan, 5.0, 6.0], np.float32))

    inputs = assemble(odd, spec(types={"age": "number", "zip": "text"})).rows.inputs

    np.testing.assert_array_equal(inputs["age"], np.array([20, np.nan, 30, 50], np.float32))
    assert inputs["zip"].tolist() == ["1234", "", "5", "6"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([1.0, np.inf]), "Column 'c' holds inf in row 1; expected finite numbers"),
        (np.array([[1.0, np.nan]]), "Column 'c' holds a value that is no finite number in row 0"),
        (np.array([1j]), "Column 'c' has the type complex128; expected numbers or text"),
        (np.array(["a", 1], dtype=object), "Column 'c' mixes values of the types int, str; expected all text or all numbers"),
    ],
    ids=["infinity", "NaN in a tensor", "complex", "mixed"],
)
def test_values_that_no_model_takes_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        column("c", values)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"rows\.npz: the columns differ in their number of rows \('a' 2, 'b' 3\)"):
        columns({"a": [1, 2], "b": [1, 2, 3]}, "rows.npz")


def test_column_of_empty_arrays_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"rows\.npz: column 'a' has the shape \[0\] a row, which holds nothing"):
        columns({"a": np.zeros((2, 0)), "b": [1, 2]}, "rows.npz")
