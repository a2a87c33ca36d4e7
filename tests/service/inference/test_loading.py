import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from service.errors import ConfigurationError, ModelLoadError, PackageError
from service.inference import loading
from service.inference import session as session_module
from service.inference.loading import Loader
from service.inference.provider_defaults import CPU
from service.inference.served_model import LoadedModel
from service.repository.configuration import ModelConfiguration
from service.repository.layout import find_models, publish, staged
from service.repository.manifest import Manifest
from service.repository.samples import Samples
from service.repository.signature import Signature, TensorSpec

ROW = np.array([[1, 2, 3, 4]], dtype=np.float32)
DECLARED = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 4), features=("a", "b", "c", "d")),),
    outputs=(TensorSpec("y", "FP32", (-1, 3), labels=("red", "green", "blue")),),
)


def loaded(repository: Path) -> LoadedModel:
    model = find_models(repository)[0]
    return Loader(provider="auto").load(model, max(model.versions), ModelConfiguration.read(model.path))


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


AZURE = "AzureExecutionProvider"  # part of every build for the CPU, and never takes a node of these graphs


def test_several_instances_on_the_cpu_share_a_session(tmp_path: Path, graphs: Any, save: Callable[..., Path]) -> None:
    """A session takes several runs at once there; a second one would only hold the weights twice."""
    save(graphs.affine(), tmp_path / "m" / "1")
    (tmp_path / "m" / "model.toml").write_text("instances = 3", encoding="utf-8")

    model = loaded(tmp_path)

    assert len(model.runs) == 3
    assert len(model.sessions) == 1
    assert model.grant.instances == 3


def test_several_instances_on_a_device_have_sessions_of_their_own(
    tmp_path: Path, graphs: Any, save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the CPU in the part of the device."""
    monkeypatch.setattr(session_module, "DEVICES", {CPU: "cpu"})
    save(graphs.affine(), tmp_path / "m" / "1")
    (tmp_path / "m" / "model.toml").write_text("instances = 2", encoding="utf-8")

    model = loaded(tmp_path)

    assert len(model.sessions) == 2
    assert [run([ROW])[0].tolist() for run in model.runs] == [(ROW @ graphs.weights).tolist()] * 2


def test_device_leaves_the_cpus_to_others(
    tmp_path: Path, graphs: Any, save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "DEVICES", {CPU: "cpu"})
    monkeypatch.setattr(loading, "available_cpus", lambda **_share: 8)
    save(graphs.affine(), tmp_path / "m" / "1")

    assert loaded(tmp_path).grant.intra_op == 1


def test_fallback_to_the_cpu_gets_the_threads_of_the_cpu(
    tmp_path: Path, graphs: Any, save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "DEVICES", {AZURE: "cuda"})
    monkeypatch.setattr(loading, "available_cpus", lambda **_share: 8)
    save(graphs.affine(), tmp_path / "m" / "1")
    (tmp_path / "m" / "model.toml").write_text(f"providers = ['{AZURE}']\nprovider_policy = 'prefer'", encoding="utf-8")

    assert loaded(tmp_path).grant.intra_op == 8


def test_threads_of_model_toml_hold(tmp_path: Path, graphs: Any, save: Callable[..., Path]) -> None:
    save(graphs.affine(), tmp_path / "m" / "1")
    (tmp_path / "m" / "model.toml").write_text("intra_op_threads = 3", encoding="utf-8")

    model = loaded(tmp_path)

    assert model.grant.intra_op == 3
    assert model.session._session.get_session_options().intra_op_num_threads == 3


def test_failed_load_gives_its_threads_back(tmp_path: Path, graphs: Any, publish_graph: Callable[..., Any]) -> None:
    publish_graph(graphs.softmax(axis=1), tmp_path / "m", DECLARED)
    loader = Loader(provider="auto")

    with pytest.raises(PackageError):
        loader.load(find_models(tmp_path)[0], 1, ModelConfiguration())
    gc.collect()

    assert loader.plan.grants == []


def test_nodes_of_the_graph_are_known_by_provider(tmp_path: Path, graphs: Any, save: Callable[..., Path]) -> None:
    save(graphs.summed(), tmp_path / "m" / "1")

    model = loaded(tmp_path)

    assert model.session.nodes == {CPU: 2}
    assert model.problems == ()


def test_required_provider_that_takes_no_node_fails_the_version(tmp_path: Path, graphs: Any, save: Callable[..., Path]) -> None:
    save(graphs.summed(), tmp_path / "m" / "1")
    (tmp_path / "m" / "model.toml").write_text(f"providers = ['{AZURE}']", encoding="utf-8")

    with pytest.raises(ConfigurationError, match=f"{AZURE} was asked for, but took none of the 2 nodes of the graph: 2 on {CPU}"):
        loaded(tmp_path)


def test_required_provider_that_is_not_there_fails_the_version(tmp_path: Path, graphs: Any, save: Callable[..., Path]) -> None:
    save(graphs.summed(), tmp_path / "m" / "1")
    (tmp_path / "m" / "model.toml").write_text("providers = ['NoExecutionProvider', 'CPUExecutionProvider']", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="NoExecutionProvider is not in the installed onnxruntime"):
        loaded(tmp_path)


@pytest.mark.parametrize("missing", [AZURE, "NoExecutionProvider"])
def test_preferred_provider_that_cannot_be_had_is_done_without_and_said(
    missing: str, tmp_path: Path, graphs: Any, save: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    save(graphs.affine(), tmp_path / "m" / "1")
    (tmp_path / "m" / "model.toml").write_text(f"providers = ['{missing}']\nprovider_policy = 'prefer'", encoding="utf-8")

    model = loaded(tmp_path)

    assert model.session.providers == (CPU,)
    assert missing in model.problems[0]
    assert missing in caplog.text
    np.testing.assert_allclose(model.session.run([ROW])[0], ROW @ graphs.weights)


def test_graph_that_is_at_fault_is_an_error_under_any_policy(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(b"\x08\x0a")
    (tmp_path / "m" / "model.toml").write_text(f"providers = ['{AZURE}']\nprovider_policy = 'prefer'", encoding="utf-8")

    with pytest.raises(ModelLoadError, match="onnxruntime cannot load"):
        loaded(tmp_path)


def with_external_weights(graph: Any, directory: Path, location: str = "weights.bin") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, directory / "model.onnx", save_as_external_data=True, location=location, size_threshold=0)
    return directory


def test_weights_in_a_file_of_their_own_are_served(tmp_path: Path, graphs: Any) -> None:
    with_external_weights(graphs.affine(), tmp_path / "m" / "1")

    np.testing.assert_allclose(loaded(tmp_path).session.run([ROW])[0], ROW @ graphs.weights)


def test_weights_outside_the_version_are_refused_before_they_are_opened(tmp_path: Path, graphs: Any) -> None:
    directory = with_external_weights(graphs.affine(), tmp_path / "m" / "1")
    (directory / "weights.bin").rename(tmp_path / "weights.bin")
    (directory / "weights.bin").symlink_to(tmp_path / "weights.bin")

    with pytest.raises(PackageError, match=r"'weights\.bin', a link to"):
        loaded(tmp_path)


def test_missing_weights_are_named(tmp_path: Path, graphs: Any) -> None:
    (with_external_weights(graphs.affine(), tmp_path / "m" / "1") / "weights.bin").unlink()

    with pytest.raises(PackageError, match=r"'weights\.bin', but there is no such file"):
        loaded(tmp_path)


def test_weights_that_are_cut_are_a_load_error(tmp_path: Path, graphs: Any) -> None:
    weights = with_external_weights(graphs.affine(), tmp_path / "m" / "1") / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-8])

    with pytest.raises(ModelLoadError, match="onnxruntime cannot load"):
        loaded(tmp_path)


def published_with_external_weights(graph: Any, repository: Path) -> Path:
    with staged(repository / "m") as staging:
        with_external_weights(graph, staging)
        publish(staging, repository / "m", signature=DECLARED)
    return repository / "m" / "1"


def test_weights_beside_the_graph_are_under_its_checksums(tmp_path: Path, graphs: Any) -> None:
    weights = published_with_external_weights(graphs.affine(), tmp_path) / "weights.bin"
    weights.write_bytes(bytes(weights.stat().st_size))

    with pytest.raises(PackageError, match=r"weights\.bin has \d+ bytes and SHA-256"):
        loaded(tmp_path)


def test_weights_without_a_checksum_are_refused(tmp_path: Path, graphs: Any) -> None:
    directory = published_with_external_weights(graphs.affine(), tmp_path)
    manifest = Manifest.read(directory)
    only_graph = {name: digest for name, digest in manifest.files.items() if name == "model.onnx"}
    msgspec.structs.replace(manifest, files=only_graph).write(directory)

    with pytest.raises(PackageError, match=r"has no checksum of weights\.bin"):
        loaded(tmp_path)
