from typing import Any

import numpy as np
import pytest

from service.errors import SignatureMismatch
from service.inference.validation import checked_inputs, checked_outputs
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]

PICTURE = TensorSpec("image", "FP32", (-1, 28, 28, 1))
MASK = TensorSpec("mask", "BOOL", (-1, 2))
SIGNATURE = Signature(inputs=(PICTURE, MASK), outputs=(TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "FP32", (-1, 3))))


def image(*shape: int, dtype: Any = np.float32) -> Array:
    return np.ones(shape or (2, 28, 28, 1), dtype)


def mask(*shape: int) -> Array:
    return np.ones(shape or (2, 2), np.bool_)


def test_inputs_come_in_the_order_of_the_signature() -> None:
    picture, hidden = image(), mask()

    ordered = checked_inputs("m", SIGNATURE, {"mask": hidden, "image": picture}, same_rows=True)

    assert ordered[0] is picture
    assert ordered[1] is hidden


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param({"image": image()}, "Input 'mask' of model 'm' is missing", id="missing input"),
        pytest.param({"image": image(), "x": mask()}, "has no input 'x'. Its inputs: 'image' FP32", id="unknown input"),
        pytest.param(
            {"image": image(dtype=np.float64), "mask": mask()},
            "'image' of model 'm' has datatype FP64; expected FP32",
            id="datatype",
        ),
        pytest.param(
            {"image": image(2, 28, 27, 1), "mask": mask()},
            r"has shape \[2, 28, 27, 1\]; expected \[-1, 28, 28, 1\], where -1 is any size",
            id="fixed axis of another size",
        ),
        pytest.param({"image": image(28, 28, 1), "mask": mask()}, r"add the batch axis, \[1, ...\]", id="no batch axis"),
        pytest.param({"image": image(2, 28, 28), "mask": mask()}, r"add the channel axis, \[..., 1\]", id="no channel axis"),
        pytest.param({"image": image(0, 28, 28, 1), "mask": mask(0, 2)}, "which holds no values", id="no rows"),
        pytest.param({"image": image(), "mask": mask(3, 2)}, "numbers of rows: 'image' 2, 'mask' 3", id="rows differ"),
    ],
)
def test_inputs_that_do_not_fit_are_named_with_what_was_expected(inputs: dict[str, Array], message: str) -> None:
    with pytest.raises(SignatureMismatch, match=message):
        checked_inputs("m", SIGNATURE, inputs, same_rows=True)


def test_long_names_are_cut_in_the_message() -> None:
    with pytest.raises(SignatureMismatch) as caught:
        checked_inputs("m", SIGNATURE, {"x" * 10_000: mask()}, same_rows=True)

    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("names", "positions"),
    [
        pytest.param([], [0, 1], id="none means all"),
        pytest.param(["b"], [1], id="one"),
        pytest.param(["b", "a"], [1, 0], id="in the order asked for"),
    ],
)
def test_requested_outputs_are_found(names: list[str], positions: list[int]) -> None:
    assert list(checked_outputs("m", SIGNATURE, names)) == positions


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(["c"], "has no output 'c'. Its outputs: 'a' FP32", id="unknown"),
        pytest.param(["a", "a"], "requested twice", id="repeated"),
    ],
)
def test_outputs_that_cannot_be_given_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(SignatureMismatch, match=message):
        checked_outputs("m", SIGNATURE, names)


def test_missing_values_are_taken_only_where_the_signature_says_so() -> None:
    tensors = {"x": np.array([np.nan, 1], np.float32)}
    strict = Signature(inputs=(TensorSpec("x", "FP32", (-1,)),), outputs=())
    lenient = Signature(inputs=(TensorSpec("x", "FP32", (-1,), missing=True),), outputs=())

    with pytest.raises(SignatureMismatch, match="takes no missing values"):
        checked_inputs("m", strict, tensors, same_rows=True, missing={"x"})
    assert checked_inputs("m", lenient, tensors, same_rows=True, missing={"x"})[0] is tensors["x"]
