import os
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.repository.configuration import Batching, ModelConfiguration
from service.repository.runtime_configuration import Provider, SessionTuning, WarmUp


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    configuration = ModelConfiguration.read(tmp_path)

    assert configuration == ModelConfiguration()
    assert configuration.batching == Batching(max_queue_size=0, max_queue_delay=0.0)
    assert (configuration.batching.max_batch_size, configuration.batching.preferred_batch_size) == (64, 0)


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
        pytest.param("[batching]\nmax_queue_size = 0", r">= 1 - at `\$\.batching\.max_queue_size`", id="queue for nobody"),
        pytest.param("[batching]\nmax_batch_size = '8'", r"Expected `int`, got `str`.*max_batch_size", id="a string"),
        pytest.param("[batching]\nmax_queue_delay = -0.1", r">= 0.0 - at `\$\.batching\.max_queue_delay`", id="negative delay"),
        pytest.param("[batching]\nmax_queue_delay = nan", r"max_queue_delay", id="delay that is not a number"),
        pytest.param("[batching]\nbatch_sizes = [4, 2]", r"must be ascending.*\$\.batching", id="sizes out of order"),
        pytest.param(
            "[batching]\nbatch_sizes = [2, 4]\nmax_batch_size = 8", "not the largest of batch_sizes", id="two largest sizes"
        ),
        pytest.param("[batching]\ndefault_priority_level = 1", "beyond priority_levels = 0", id="level that is not there"),
        pytest.param("[cache]\nmax_bytes = -1", r"max_bytes", id="cache of negative size"),
        pytest.param("batchin = 1", "known keys: batching, cache, versions, labels, providers,", id="known keys"),
        pytest.param("[batching]\nmax = 1", "known keys: enabled, max_batch_size,", id="known keys of a table"),
        pytest.param("[versions]\npolicy = 'x'", "expected one of latest, all, specific", id="unknown policy"),
        pytest.param(
            "[versions]\npolicy = 'all'\ncount = 1", "unknown field `count`.*known keys: policy", id="key of another policy"
        ),
        pytest.param("provider = 'x'", "unknown field `provider`.*providers, provider_policy", id="one provider"),
        pytest.param("providers = 'x'", r"Expected `array`, got `str` - at `\$\.providers`", id="providers that are no list"),
        pytest.param(
            "providers = [{ nam = 'x' }]", r"unknown field `nam` - at `\$\.providers\[0\]`; known keys: name, options", id="key"
        ),
        pytest.param("providers = ['']", "name is empty; expected a provider of onnxruntime", id="provider without a name"),
        pytest.param("providers = ['a', 'a']", r"\['a', 'a'\] must be different", id="provider twice"),
        pytest.param("providers = ['auto', 'a']", "'auto' alone", id="auto among others"),
        pytest.param(
            "providers = [{ name = 'CPUExecutionProvider', options = { a = 1 } }]", "takes no options", id="options of the CPU"
        ),
        pytest.param("providers = [{ name = 'a', options = { b = [1] } }]", "got `array`.*options", id="option that is a list"),
        pytest.param(
            "provider_policy = 'maybe'", "provider_policy`; expected one of require, prefer", id="unknown provider policy"
        ),
        pytest.param("instances = 0", r">= 1 - at `\$\.instances`", id="no instance"),
        pytest.param(
            "[session]\ngraph_optimization = 'al'", "expected one of none, basic, extended, layout, all", id="unknown optimisation"
        ),
        pytest.param(
            "[session]\nmemory_arena = false\narena_shrinkage = true", "needs memory_arena = true", id="no arena to shrink"
        ),
        pytest.param("[warm_up]\nbatch_sizes = [0]", r">= 1 - at `\$\.warm_up\.batch_sizes", id="warm-up of no rows"),
        pytest.param("[warm_up]\nenabled = false\nbatch_sizes = [1]", "without enabled = true", id="warm-up that is off"),
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
    assert Batching(batch_sizes=(1, 8, 32)).preferred_batch_size == 32


def test_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    """The event loop of the whole server would wait."""
    os.mkfifo(tmp_path / "model.toml")

    with pytest.raises(ConfigurationError, match=r"model\.toml is no file"):
        ModelConfiguration.read(tmp_path)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match="Cannot read"):
        ModelConfiguration.read(tmp_path)


def test_providers_are_names_or_tables_with_options(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text(
        """
        providers = [
            { name = "TensorrtExecutionProvider", options = { trt_fp16_enable = true, device_id = 1 } },
            "CUDAExecutionProvider",
        ]
        provider_policy = "prefer"
        """,
        encoding="utf-8",
    )

    configuration = ModelConfiguration.read(tmp_path)

    assert configuration.wishes == (
        Provider(name="TensorrtExecutionProvider", options={"trt_fp16_enable": True, "device_id": 1}),
        Provider(name="CUDAExecutionProvider"),
    )
    assert configuration.wishes[0].texts == {"trt_fp16_enable": "True", "device_id": "1"}
    assert configuration.provider_policy == "prefer"


def test_session_and_warm_up_are_tables(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text(
        "instances = 2\n[session]\ngraph_optimization = 'basic'\narena_shrinkage = true\n[warm_up]\nbatch_sizes = [1, 8]\n", "utf-8"
    )

    assert ModelConfiguration.read(tmp_path) == ModelConfiguration(
        instances=2,
        session=SessionTuning(graph_optimization="basic", arena_shrinkage=True),
        warm_up=WarmUp(batch_sizes=(1, 8)),
    )
