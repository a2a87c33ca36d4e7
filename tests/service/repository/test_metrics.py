import pytest

from service.repository.metrics import improvement


@pytest.mark.parametrize(
    ("name", "better"),
    [("accuracy", 0.1), ("accuracy.species", 0.1), ("rmse", -0.1), ("rmse.income", -0.1), ("rmse.sizes.bill", -0.1), ("own", 0.1)],
)
def test_more_is_better_or_worse_by_the_metric_whichever_output_it_is_of(name: str, better: float) -> None:
    assert improvement(name, 0.5, 0.6) == pytest.approx(better)
