from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import PackageError
from service.repository.baseline import Baseline, FeatureProfile, TensorProfile, profile

COMMITTED = Path(__file__).parents[3] / "models" / "digits" / "1"


def of(array: np.ndarray[Any, Any]) -> TensorProfile:
    return profile({"x": array}, {}).inputs["x"]


def test_deciles_split_the_rows_evenly() -> None:
    (feature,) = of(np.arange(1000.0)).features

    assert feature.counts == (100,) * 10
    assert (feature.mean, feature.min, feature.max) == (499.5, 0.0, 999.0)
    np.testing.assert_allclose(feature.edges, np.quantile(np.arange(1000.0), np.linspace(0.1, 0.9, 9)), rtol=1e-5)


def test_counts_follow_the_written_edges() -> None:
    values = np.random.default_rng(7).normal(size=2000).astype(np.float32)

    (feature,) = of(values).features

    edges = (-np.inf, *feature.edges, np.inf)
    expected = [((values >= low) & (values < high)).sum() for low, high in pairwise(edges)]
    assert list(feature.counts) == expected


def test_missing_numbers_are_a_share_and_in_no_count() -> None:
    (feature,) = of(np.array([1.0, np.nan, 3.0, np.nan], dtype=np.float32)).features

    assert (feature.missing, feature.mean, sum(feature.counts)) == (0.5, 2.0, 2)


def test_column_that_is_always_missing_has_an_empty_profile() -> None:
    assert of(np.full(3, np.nan)).features == (FeatureProfile(0.0, 0.0, 0.0, 0.0, (), (0,), missing=1.0),)


def test_constant_column_has_one_edge() -> None:
    (feature,) = of(np.full(5, 2.0)).features

    assert (feature.edges, feature.counts, feature.std) == ((2.0,), (0, 5), 0.0)


def test_texts_are_counted_most_frequent_first() -> None:
    found = of(np.array(["b", "a", "b", "", "b", "c"], dtype=object))

    (category,) = found.categories
    assert list(category.counts.items()) == [("b", 3), ("a", 1), ("c", 1)]
    assert category.missing == pytest.approx(1 / 6, rel=1e-5)
    assert found.features == ()


def test_values_beyond_the_fifty_most_frequent_are_counted_together() -> None:
    names = np.array([f"name {index}" for index in range(60)] + ["name 59"], dtype=object)

    (category,) = of(names).categories

    assert (len(category.counts), category.other, category.distinct) == (50, 10, 60)
    assert next(iter(category.counts)) == "name 59"


def test_column_of_integers_is_profiled_as_number_and_as_category() -> None:
    found = of(np.array([3, 1, 3], dtype=np.int64))

    assert found.features[0].mean == pytest.approx(7 / 3, rel=1e-5)
    assert found.categories[0].counts == {"3": 2, "1": 1}


def test_bytes_are_profiled_like_floats() -> None:
    values = np.random.default_rng(7).integers(0, 256, 500)

    assert of(values.astype(np.uint8)).features == of(values.astype(np.float64)).features


def test_features_are_in_row_major_order() -> None:
    found = of(np.arange(12.0).reshape(2, 2, 3))

    assert found.shape == (2, 3)
    assert [feature.min for feature in found.features] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_large_picture_is_profiled_by_channel() -> None:
    picture = np.zeros((2, 20, 20, 3), dtype=np.uint8)
    picture[..., 1] = 9

    found = of(picture)

    assert found.pooled
    assert [feature.mean for feature in found.features] == [0.0, 9.0, 0.0]
    assert sum(found.features[0].counts) == 2 * 20 * 20


def test_baseline_survives_the_file(tmp_path: Path) -> None:
    inputs = {"age": np.array([1.0, np.nan]), "sex": np.array(["m", ""], dtype=object), "n": np.array([1, 2])}
    baseline = profile(inputs, {"p": np.array([[0.1, 0.9], [0.2, 0.8]])})

    baseline.write(tmp_path)

    assert Baseline.read(tmp_path) == baseline


def test_baseline_of_the_first_format_is_read() -> None:
    baseline = Baseline.read(COMMITTED)

    assert baseline is not None
    assert all(feature.missing == 0 for feature in baseline.outputs["probabilities"].features)


def test_package_without_a_baseline_has_none(tmp_path: Path) -> None:
    assert Baseline.read(tmp_path) is None


def test_damaged_baseline_is_named(tmp_path: Path) -> None:
    (tmp_path / "baseline.json").write_text("{", encoding="ascii")

    with pytest.raises(PackageError, match=r"baseline\.json is not a readable baseline"):
        Baseline.read(tmp_path)
