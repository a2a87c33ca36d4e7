from typing import Any

import numpy as np
import pytest

from training.features import Features, fit_features
from training.spec.features import CategoricalSpec, FeatureSpec, NumericSpec

Array = np.ndarray[Any, Any]
ROWS = 50

SPECS: dict[str, FeatureSpec] = {
    "plain": NumericSpec(),
    "kind": CategoricalSpec(),
    "count": NumericSpec(),
    "logged": NumericSpec(log1p=True),
    "clipped": NumericSpec(clip=(0.0, 1.0)),
    "other": NumericSpec(impute=-1.0, scale="minmax"),
    "full": NumericSpec(),
    "double": NumericSpec(),
    "vector": NumericSpec(),
    "clipped_too": NumericSpec(clip_quantiles=(0.1, 0.9)),
    "unmarked": NumericSpec(indicator=False),
    "last": NumericSpec(),
}


@pytest.fixture
def table() -> dict[str, Array]:
    """Columns of several types; one in five numbers is missing, but not in `full`."""
    generator = np.random.default_rng(11)

    def numbers(dtype: type) -> Array:
        values = generator.lognormal(1.0, 2.0, ROWS).astype(dtype)
        values[generator.random(ROWS) < 0.2] = np.nan
        return values

    columns = {name: numbers(np.float32) for name in SPECS}
    return columns | {
        "kind": generator.choice(np.array(["a", "b", "c"], dtype=object), ROWS),
        "count": generator.integers(0, 1000, ROWS),
        "full": generator.normal(size=ROWS).astype(np.float32),
        "double": numbers(np.float64),
        "vector": generator.normal(size=(ROWS, 3)).astype(np.float32),
    }


def alone(name: str, table: dict[str, Array]) -> Features:
    return fit_features({name: SPECS[name]}, {name: table[name]})


def test_columns_that_go_together_give_what_each_gives_alone(table: dict[str, Array]) -> None:
    together = fit_features(SPECS, table)
    apart = [alone(name, table) for name in SPECS]

    assert together.feature_names == tuple(name for each in apart for name in each.feature_names)
    for rows in (0, 1, 7, ROWS):
        some = {name: values[:rows] for name, values in table.items()}
        expected = np.concatenate([each.transform(some)["dense"] for each in apart], axis=1)
        np.testing.assert_array_equal(together.transform(some)["dense"], expected)


def test_number_of_nodes_hardly_grows_with_the_columns() -> None:
    names = [f"x{number}" for number in range(100)]
    table = {name: np.float32([1, 2, np.nan, 4]) for name in names}
    features = fit_features(dict.fromkeys(names, NumericSpec()), table)

    assert len(features.model().graph.node) < 120


def test_columns_of_different_lengths_are_not_mixed(table: dict[str, Array]) -> None:
    features = fit_features(SPECS, table)
    broken = table | {"last": table["last"][:1]}

    with pytest.raises(Exception, match=r"(?i)concat"):
        features.transform(broken)
