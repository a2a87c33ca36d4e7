"""Rows that real data rarely has."""

import numpy as np
import pytest

from service.repository.signature import Signature, TensorSpec
from training.edge_rows import large_rows


@pytest.mark.filterwarnings("error")
def test_large_rows_stay_far_from_overflow() -> None:
    """Numbers near the end of float32 are brought back, without numpy's warning on the user's terminal."""
    signature = Signature((TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),), ())
    limit = np.finfo(np.float32).max / 1000

    found = large_rows(signature, {"x": np.float32([[2, -1e38], [3, 1e38]])})["x"]

    np.testing.assert_allclose(found, [[2000, -limit], [-3000, -limit]], rtol=1e-6)
