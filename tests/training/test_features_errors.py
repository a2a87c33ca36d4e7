"""What cannot be fitted is refused before anything is trained, naming the column, the value and the way out."""

from typing import Any

import msgspec
import numpy as np
import pytest

from training.errors import DatasetError, FeatureError
from training.features import fit_features, require_one_kind
from training.spec.features import (
    BucketizedSpec,
    CategoricalSpec,
    DateSpec,
    FeatureSpec,
    HashedSpec,
    IgnoredSpec,
    ImageSpec,
    NumericSpec,
    TextSpec,
)

Array = np.ndarray[Any, Any]
NAN = np.float32(np.nan)


def strings(*values: Any) -> Array:
    return np.array(values, dtype=object)


@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        (NumericSpec(), strings("", "12 EUR"), "holds text such as '12 EUR'; kind = 'numeric' expects numbers"),
        (NumericSpec(), strings("31", "thirty", "32"), "holds text such as 'thirty'; kind = 'numeric' expects numbers"),
        (NumericSpec(), np.array([2**60, 2**60 + 1]), "holds integers such as 1152921504606846976; kind = 'numeric' expects"),
        (NumericSpec(), np.float32([NAN, NAN]), "is missing in every training row; expected numbers. Leave it out"),
        (NumericSpec(), np.float32([[1, NAN], [2, NAN]]), "is missing in every training row"),
        (NumericSpec(), np.float32([]), "has no training rows"),
        (NumericSpec(log1p=True), np.float32([1, -3.5]), "has the value -3.5; log1p expects 0 or more"),
        (NumericSpec(), np.array([1 + 2j]), "has the numpy type complex128; expected numbers or strings"),
        (BucketizedSpec(quantiles=3), np.float32([NAN]), "is missing in every training row"),
        (
            BucketizedSpec(quantiles=3),
            np.zeros((2, 2), np.float32),
            "has the shape [-1, 2]; kind = 'bucketized' expects",
        ),
        (CategoricalSpec(), strings("", ""), "is missing in every training row; expected values"),
        (CategoricalSpec(min_count=3), strings("a", "a", "b"), "the most frequent has 2 training rows; expected min_count = 3"),
        (CategoricalSpec(), strings("a", float("nan")), 'has nan, of type float, in training row 1; expected a string, and ""'),
        (CategoricalSpec(oov_buckets=2), np.float32([1, 2]), "holds floats; oov_buckets above 1 expects strings or integers"),
        (CategoricalSpec(lowercase=True), np.array([1, 2]), "holds numbers; lowercase expects strings"),
        (HashedSpec(buckets=4), np.float32([1.5]), "holds FP32 values such as"),
        (DateSpec(), strings("2013-01-31", "31.1.2013"), "has '31.1.2013' in training row 1; expected 2013-01-31"),
        (DateSpec(), strings("2013-01-31T10:00+02:00"), "expected 2013-01-31 or 2013-01-31T09:08:07Z in UTC"),
        (DateSpec(), np.array([2**62]), "in training row 0; expected a moment of the years 1 to 9999"),
        (DateSpec(), strings("", ""), "is missing in every training row; expected dates"),
        (DateSpec(), np.float32([1.7e9]), "64-bit integer, which alone hold seconds exactly"),
        (
            TextSpec(),
            strings("a b", ""),
            "has no token for its vocabulary: the most frequent occurs 1 times; expected",
        ),
        (TextSpec(pattern="(a"), strings("a"), "cannot be split by pattern = '(a'; expected RE2 syntax"),
        (ImageSpec(crop=(9, 2)), np.zeros((1, 4, 4), np.uint8), "has pictures of [4, 4] pixels; crop = [9, 2] is larger"),
        (ImageSpec(), np.zeros((1, 4), np.uint8), "kind = 'image' expects pictures"),
    ],
)
def test_column_that_does_not_fit_its_kind_is_refused(spec: FeatureSpec, values: Array, message: str) -> None:
    with pytest.raises(FeatureError) as caught:
        fit_features({"x": spec}, {"x": values})

    assert str(caught.value).startswith("Column 'x' ")
    assert message in str(caught.value)


def test_unknown_column_is_refused_with_those_there_are() -> None:
    rows = {"age": np.float32([1]), "sex": strings("male")}

    with pytest.raises(FeatureError, match=r"Column 'aeg' has a section \[features.aeg\], but the dataset has only .*age, sex"):
        fit_features({"aeg": NumericSpec()}, rows)


def test_spec_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(DatasetError, match="leave out every column"):
        fit_features({"age": IgnoredSpec()}, {"age": np.float32([1])})


def test_column_with_the_name_of_an_input_of_the_network_is_refused() -> None:
    with pytest.raises(FeatureError, match=r"Column 'dense' has a name that the network's inputs need\. Rename"):
        fit_features({}, {"dense": np.float32([1, 2])})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"other": np.float32([1])}, "Column 'age' is missing; expected it among the columns other"),
        ({"age": np.array([1])}, "Column 'age' has the type int64; expected FP32"),
        ({"age": np.float32([[1]])}, r"Column 'age' has the shape \[1, 1\]; expected \[-1\]"),
    ],
    ids=["missing", "type", "shape"],
)
def test_rows_unlike_those_of_training_are_refused(rows: dict[str, Array], message: str) -> None:
    features = fit_features({}, {"age": np.float32([1, 2])})

    with pytest.raises(FeatureError, match=message):
        features.transform(rows)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"kind": "numeric", "clip": [2, 1]}, r"clip = \[2.0, 1.0\]; expected two finite numbers, the smaller first"),
        ({"kind": "numeric", "clip": [0, 1], "clip_quantiles": [0, 1]}, "clip and clip_quantiles are both given"),
        ({"kind": "bucketized", "boundaries": [0, float("inf")]}, "expected finite numbers"),
        ({"kind": "text", "encoding": "ids", "length": 3, "ngrams": 2}, "ngrams = 2 belongs to the encodings"),
        ({"kind": "bucketized"}, "expected either boundaries or quantiles"),
        ({"kind": "bucketized", "boundaries": [1, 1]}, "expected each greater than the one before"),
        ({"kind": "categorical", "dimension": 3}, "dimension = 3 belongs to encoding 'embedding', not to 'one_hot'"),
        ({"kind": "date", "parts": ["year", "year"]}, "expected each part once"),
        ({"kind": "text", "encoding": "ids"}, "expected it with encoding 'ids'"),
        ({"kind": "text", "dimension": 3}, "dimension = 3 belongs to encoding 'ids'"),
        ({"kind": "image", "resize": [0, 3]}, "Expected `int` >= 1"),
        ({"kind": "image", "resize": [3, 3], "antialias": True}, "unknown field `antialias`"),
        ({"kind": "scaled"}, "Invalid value 'scaled'"),
        ({"kind": "numeric", "impute": float("nan")}, "impute = nan; expected a finite number"),
    ],
)
def test_spec_that_contradicts_itself_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(raw, FeatureSpec)


def test_words_among_numbers_are_no_categories_unless_they_are_said_to_be() -> None:
    ages = strings(*(str(age) for age in range(20)), "thirty")

    with pytest.raises(FeatureError, match="holds numbers, but 1 of 21 rows have something else, such as 'thirty'"):
        require_one_kind({}, {"age": ages})
    require_one_kind({"age": CategoricalSpec()}, {"age": ages})
    assert len(fit_features({"age": CategoricalSpec()}, {"age": ages}).feature_names) == 21


def test_dates_that_are_not_declared_are_taken_as_dates_and_that_is_said() -> None:
    days = strings("2013-01-31", "", "2014-02-28")

    features = fit_features({}, {"day": days, "moment": strings("2013-01-31T09:08", "2014-02-28", "2015-01-01")})

    assert [name for name in features.feature_names if name.endswith("hour.sin")] == ["moment.hour.sin"]
    assert features.remarks[0].startswith("Column 'day' holds dates: it is taken as kind = 'date', its parts year, month, weekday.")


def test_texts_that_are_nearly_all_different_are_remarked_on() -> None:
    tickets = strings(*(f"T{number}" for number in range(60)))

    assert "has 60 different texts in 60 training rows, such as 'T0'" in fit_features({}, {"ticket": tickets}).remarks[0]
    assert fit_features({"ticket": CategoricalSpec()}, {"ticket": tickets}).remarks == ()
    assert fit_features({}, {"city": strings("Oslo", "Rome")}).remarks == ()
