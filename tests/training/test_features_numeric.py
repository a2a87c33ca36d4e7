import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.features import Features, fit_features
from training.spec.features import BucketizedSpec, FeatureSpec, NumericSpec

Array = np.ndarray[Any, Any]
BATCHES = (1, 2, 7, 64)
float32s = st.floats(width=32, allow_nan=True, allow_infinity=True)


def fitted(spec: FeatureSpec, values: Array) -> Features:
    return fit_features({"x": spec}, {"x": values})


def dense(features: Features, values: Array) -> Array:
    return features.transform({"x": values})["dense"]


@pytest.fixture
def ages() -> Array:
    """96 ages, of which every fifth is missing."""
    values = np.random.default_rng(3).normal(30, 12, 96).astype(np.float32)
    values[::5] = np.nan
    return values


@pytest.mark.parametrize("impute", ["mean", "median", -1.0])
@pytest.mark.parametrize("scale", ["standard", "minmax", "none"])
def test_numbers_are_imputed_and_scaled_as_by_pandas(ages: Array, impute: str | float, scale: str) -> None:
    series = pd.Series(ages.astype(np.float64))
    filled = series.fillna(impute if isinstance(impute, float) else getattr(series, impute)())
    offset, spread = {
        "standard": (filled.mean(), filled.std(ddof=0)),
        "minmax": (filled.min(), filled.max() - filled.min()),
        "none": (0, 1),
    }[scale]
    features = fitted(NumericSpec(impute=impute, scale=scale), ages)  # type: ignore[arg-type]

    for size in BATCHES:
        found = dense(features, ages[:size])
        np.testing.assert_allclose(found[:, 0], ((filled - offset) / spread)[:size], rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(found[:, 1], series.isna()[:size])
    assert features.feature_names == ("x", "x=<missing>")


def test_log_and_clip_come_between_imputation_and_scale(ages: Array) -> None:
    values = np.abs(ages) + 1
    low, high = np.nanquantile(values.astype(np.float64), [0.1, 0.9])
    filled = np.where(np.isnan(values), np.nanmedian(values), values).astype(np.float64)
    logged = np.log1p(np.clip(filled, low, high))

    found = dense(fitted(NumericSpec(log1p=True, clip_quantiles=(0.1, 0.9)), values), values)

    np.testing.assert_allclose(found[:, 0], (logged - logged.mean()) / logged.std(), atol=1e-6)


def test_bounds_in_the_unit_of_the_column_are_kept_to() -> None:
    found = dense(fitted(NumericSpec(clip=(0, 10), scale="none"), np.float32([1, 5, 9])), np.float32([-3e38, 4, 11]))

    np.testing.assert_array_equal(found[:, 0], [0, 4, 10])


def test_value_below_zero_counts_as_zero_for_the_logarithm() -> None:
    features = fitted(NumericSpec(log1p=True, scale="none"), np.float32([0, 1, 5]))

    np.testing.assert_allclose(dense(features, np.float32([-7, 0, 1]))[:, 0], [0, 0, np.log(2)], rtol=1e-7)


def test_statistics_are_of_the_training_rows_alone() -> None:
    features = fitted(NumericSpec(), np.float32([1, 2, 3, np.nan]))

    served = dense(features, np.float32([1000, np.nan, -np.inf]))

    np.testing.assert_allclose(served[:, 0], [998 / np.std([1, 2, 3, 2]), 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(served[:, 1], [0, 1, 1])


def test_indicator_that_no_training_row_would_set_is_left_out() -> None:
    assert fitted(NumericSpec(), np.float32([1, 2])).feature_names == ("x",)
    assert fitted(NumericSpec(indicator=False), np.float32([1, np.nan])).feature_names == ("x",)


@pytest.mark.parametrize("scale", ["standard", "minmax"])
def test_constant_column_becomes_zero_without_a_warning(scale: str) -> None:
    features = fitted(NumericSpec(scale=scale), np.full(11, 0.1, np.float32))  # type: ignore[arg-type]

    np.testing.assert_array_equal(dense(features, np.float32([0.1, 7, np.nan]))[:, 0], [0, 0, 0])


def test_integers_up_to_two_to_the_53_are_scaled_in_64_bits() -> None:
    """Beyond, floats tell them no longer apart: see the errors."""
    values = 2**53 - np.arange(64, dtype=np.int64) * 2**40
    expected = (values.astype(np.float64) - values.astype(np.float64).mean()) / values.astype(np.float64).std()

    np.testing.assert_array_equal(dense(fitted(NumericSpec(), values), values)[:, 0], expected.astype(np.float32))


def test_small_differences_of_large_numbers_survive() -> None:
    """In 32 bits, seconds of this century are 128 apart."""
    seconds = 1_700_000_000 + np.arange(10, dtype=np.int64)

    found = dense(fitted(NumericSpec(), seconds), seconds)[:, 0]

    np.testing.assert_allclose(np.diff(found), 1 / np.arange(10).std(), rtol=1e-5)


def test_rows_of_numbers_are_scaled_by_component() -> None:
    table = np.random.default_rng(0).normal([0, 100, -5], [1, 30, 0.01], (50, 3)).astype(np.float32)
    table[4, 1] = np.nan
    features = fitted(NumericSpec(impute="mean"), table)

    found = dense(features, table)

    assert features.feature_names == ("x[0]", "x[1]", "x[2]", "x[1]=<missing>")
    np.testing.assert_allclose(found[:, :3].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(found[:, :3].std(axis=0), 1, rtol=1e-6)
    assert found[:, 3].tolist() == [float(row == 4) for row in range(50)]


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float32, st.integers(1, 30), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    arrays(np.float32, st.integers(1, 9), elements=float32s),
)
def test_whatever_is_served_the_features_are_finite(train: Array, served: Array) -> None:
    for scale in ("standard", "minmax"):
        assert np.isfinite(dense(fitted(NumericSpec(scale=scale), train), served)).all()  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=6, unique=True).map(sorted),
    arrays(np.float32, st.integers(1, 20), elements=float32s),
)
def test_buckets_are_those_of_digitize(boundaries: list[float], values: Array) -> None:
    """Also for values on, and one rounding step off, a boundary."""
    near = np.float32(boundaries)
    values = np.concatenate([values, near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))])
    features = fitted(BucketizedSpec(boundaries=tuple(boundaries)), np.float32([0, np.nan]))

    found = dense(features, values)

    places = np.where(np.isfinite(values), np.digitize(values.astype(np.float64), boundaries), len(boundaries) + 1)
    np.testing.assert_array_equal(found, np.eye(len(boundaries) + 2)[places])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=40))
def test_integers_are_compared_as_integers(numbers: list[int]) -> None:
    values = np.array(numbers, dtype=np.int64)
    features = fitted(BucketizedSpec(quantiles=4, encoding="embedding"), values)
    boundaries = features.description["x"]["boundaries"]

    found = features.transform({"x": values})["x_id"]

    assert set(boundaries) <= set(numbers)
    assert found.tolist() == [sum(number >= boundary for boundary in boundaries) for number in numbers]


def test_quantile_buckets_hold_about_equally_many_training_rows() -> None:
    values = np.random.default_rng(1).lognormal(size=1000).astype(np.float32)

    counts = dense(fitted(BucketizedSpec(quantiles=5), values), values).sum(axis=0)

    assert counts.sum() == 1000
    assert all(abs(count - 200) <= 1 for count in counts)


def test_missing_number_without_a_trained_bucket_is_all_zeros() -> None:
    features = fitted(BucketizedSpec(boundaries=(0.5, 1.5)), np.float32([0, 1, 2]))

    assert features.feature_names == ("x<0.5", "0.5<=x<1.5", "x>=1.5")
    np.testing.assert_array_equal(dense(features, np.float32([np.nan, 1])), [[0, 0, 0], [0, 1, 0]])


def test_embedded_buckets_tell_their_ids_and_dimension() -> None:
    features = fitted(BucketizedSpec(boundaries=(0, 1), encoding="embedding", dimension=3), np.float32([0, 1, 2]))
    (output,) = features.outputs

    assert (output.name, output.datatype, output.shape, output.value_range) == ("x_id", "INT64", (-1,), (0, 3))
    assert features.embedding_dimensions == {"x_id": 3}
    assert features.transform({"x": np.float32([-1, 0, 5, np.nan])})["x_id"].tolist() == [0, 1, 2, 3]


def test_features_do_not_depend_on_the_batch(ages: Array) -> None:
    features = fit_features({"b": BucketizedSpec(quantiles=3)}, {"x": ages, "b": ages})
    whole = features.transform({"x": ages, "b": ages})["dense"]

    for low, high in itertools.pairwise([0, 1, 3, 10, 74]):
        np.testing.assert_array_equal(features.transform({"x": ages[low:high], "b": ages[low:high]})["dense"], whole[low:high])
