from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.repository.configuration import Batching, ModelConfiguration


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    configuration = ModelConfiguration.read(tmp_path)

    assert configuration == ModelConfiguration()
    assert configuration.batching == Batching(max_batch_size=64, max_queue_size=4096, max_queue_delay=0.0)


def test_file_changes_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text(
        "intra_op_threads = 2\n[batching]\nmax_batch_size = 8\nmax_queue_delay = 0.005\n", encoding="utf-8"
    )

    configuration = ModelConfiguration.read(tmp_path)

    assert configuration == ModelConfiguration(intra_op_threads=2, batching=Batching(max_batch_size=8, max_queue_delay=0.005))


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        pytest.param("batchin = 1", "unknown field `batchin`", id="unknown key"),
        pytest.param("[batching]\nmax_batch = 1", r"unknown field `max_batch` - at `\$\.batching`", id="unknown key of a table"),
        pytest.param("[batching]\nmax_batch_size = 0", r">= 1 - at `\$\.batching\.max_batch_size`", id="too small"),
        pytest.param("[batching]\nmax_batch_size = '8'", r"Expected `int`, got `str`.*max_batch_size", id="a string"),
        pytest.param("[batching]\nmax_queue_delay = -0.1", r">= 0.0 - at `\$\.batching\.max_queue_delay`", id="negative delay"),
        pytest.param("[batching]\nmax_queue_delay = nan", r"max_queue_delay", id="delay that is not a number"),
        pytest.param("[batching]\nbatch_sizes = [4, 2]", r"must be ascending.*\$\.batching", id="sizes out of order"),
        pytest.param(
            "[batching]\nbatch_sizes = [2, 4]\nmax_batch_size = 8", "not the largest of batch_sizes", id="two largest sizes"
        ),
        pytest.param("[batching]\ndefault_priority_level = 1", "beyond priority_levels = 0", id="level that is not there"),
        pytest.param("[cache]\nmax_bytes = -1", r"max_bytes", id="cache of negative size"),
        pytest.param("intra_op_threads = 0", "intra_op_threads", id="no thread"),
        pytest.param("[batching", "Cannot read .*model.toml", id="no TOML"),
    ],
)
def test_mistake_is_named_with_its_place(toml: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text(toml, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=message) as caught:
        ModelConfiguration.read(tmp_path)

    assert "model.toml" in str(caught.value)


def test_largest_allowed_size_is_the_batch_size() -> None:
    assert Batching(batch_sizes=(1, 8, 32)).max_batch_size == 32


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match="Cannot read"):
        ModelConfiguration.read(tmp_path)
