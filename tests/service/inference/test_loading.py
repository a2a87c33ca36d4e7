from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import ConfigurationError, PackageError
from service.inference.loading import load
from service.inference.served_model import LoadedModel
from service.repository.configuration import ModelConfiguration
from service.repository.layout import find_models
from service.repository.samples import Samples
from service.repository.signature import Signature, TensorSpec

ROW = np.array([[1, 2, 3, 4]], dtype=np.float32)
DECLARED = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 4), features=("a", "b", "c", "d")),),
    outputs=(TensorSpec("y", "FP32", (-1, 3), labels=("red", "green", "blue")),),
)


def loaded(repository: Path) -> LoadedModel:
    model = find_models(repository)[0]
    return load(model, max(model.versions), ModelConfiguration.read(model.path), provider="auto")


def test_package_is_loaded_with_what_its_manifest_says(tmp_path: Path, graphs: Any, publish_graph: Callable[..., Any]) -> None:
    samples = Samples({"x": ROW}, {"y": ROW @ graphs.weights})
    publish_graph(graphs.affine(), tmp_path / "m", DECLARED, samples=samples)

    model = loaded(tmp_path)

    assert model.signature == DECLARED
    assert model.batched


def test_bare_graph_is_loaded_with_its_own_signature(tmp_path: Path, graphs: Any, save: Callable[..., Path]) -> None:
    save(graphs.affine(), tmp_path / "m" / "7")

    model = loaded(tmp_path)

    assert (model.name, model.version, model.manifest) == ("m", 7, None)
    assert model.signature.inputs == (TensorSpec("x", "FP32", (-1, 4)),)


@pytest.mark.parametrize(
    ("build", "toml", "batched"),
    [
        pytest.param(lambda graphs: graphs.affine(), "", True, id="independent rows"),
        pytest.param(lambda graphs: graphs.softmax(axis=0), "", False, id="dependent rows"),
        pytest.param(lambda graphs: graphs.identity("FP32", [1, 2]), "", False, id="no batch axis"),
        pytest.param(lambda graphs: graphs.affine(), "[batching]\nenabled = false", False, id="switched off"),
        pytest.param(lambda graphs: graphs.softmax(axis=0), "[batching]\nenabled = true", True, id="switched on"),
        pytest.param(
            lambda graphs: graphs.identity("FP32", [1, 2]), "[batching]\nenabled = true", False, id="on without batch axis"
        ),
    ],
)
def test_requests_are_merged_where_that_is_safe_or_demanded(
    build: Callable[[Any], Any], toml: str, *, batched: bool, tmp_path: Path, graphs: Any, save: Callable[..., Path]
) -> None:
    save(build(graphs), tmp_path / "m" / "1")
    (tmp_path / "m" / "model.toml").write_text(toml, encoding="utf-8")

    assert loaded(tmp_path).batched is batched


def test_damaged_package_is_refused(
    tmp_path: Path, graphs: Any, save: Callable[..., Path], publish_graph: Callable[..., Any]
) -> None:
    publish_graph(graphs.affine(), tmp_path / "m", DECLARED)
    save(graphs.softmax(axis=1), tmp_path / "m" / "1")

    with pytest.raises(PackageError, match=r"model\.onnx has \d+ bytes"):
        loaded(tmp_path)


def test_signature_that_contradicts_the_graph_is_refused(tmp_path: Path, graphs: Any, publish_graph: Callable[..., Any]) -> None:
    publish_graph(graphs.softmax(axis=1), tmp_path / "m", DECLARED)

    with pytest.raises(PackageError, match="The manifest declares output 'y'"):
        loaded(tmp_path)


def test_samples_are_replayed(tmp_path: Path, graphs: Any, publish_graph: Callable[..., Any]) -> None:
    publish_graph(graphs.affine(), tmp_path / "m", DECLARED, samples=Samples({"x": ROW}, {"y": ROW @ graphs.weights + 1}))

    with pytest.raises(PackageError, match="differs from the samples"):
        loaded(tmp_path)


def test_package_without_its_graph_is_refused(tmp_path: Path, graphs: Any, publish_graph: Callable[..., Any]) -> None:
    publish_graph(graphs.affine(), tmp_path / "m", DECLARED)
    (tmp_path / "m" / "1" / "model.onnx").unlink()

    with pytest.raises(PackageError, match=r"model\.onnx"):
        loaded(tmp_path)


def test_wrong_configuration_stops_the_model(tmp_path: Path, graphs: Any, save: Callable[..., Path]) -> None:
    save(graphs.affine(), tmp_path / "m" / "1")
    (tmp_path / "m" / "model.toml").write_text("batch = 3", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="batch"):
        loaded(tmp_path)
