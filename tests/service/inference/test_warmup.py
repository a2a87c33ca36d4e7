from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.errors import ModelLoadError, PackageError
from service.inference.session import Session
from service.inference.warmup import measured_batch, replay, rows_are_independent, warm_up
from service.repository.configuration import Batching, ModelConfiguration
from service.repository.manifest import Manifest, Parity
from service.repository.runtime_configuration import WarmUp
from service.repository.samples import Samples
from service.repository.signature import Signature

SessionOf = Callable[..., Session]
ROW = np.array([[1, 2, 3, 4]], dtype=np.float32)


def manifest(signature: Signature, tolerance: float = 1e-5) -> Manifest:
    parity = Parity(tolerance=tolerance, max_abs_error=0.0, batch_sizes=(1,))
    return Manifest(name="m", version=1, created="", signature=signature, files={}, parity=parity)


@pytest.mark.parametrize(
    ("build", "independent"),
    [
        pytest.param(lambda graphs: graphs.affine(), True, id="matrix product"),
        pytest.param(lambda graphs: graphs.softmax(axis=1), True, id="softmax over the columns"),
        pytest.param(lambda graphs: graphs.softmax(axis=0), False, id="softmax over the batch"),
        pytest.param(lambda graphs: graphs.centred(), False, id="mean of the batch subtracted"),
        pytest.param(lambda graphs: graphs.one_row_less(), False, id="an output row less than input rows"),
        pytest.param(lambda graphs: graphs.summed(), True, id="two inputs"),
        pytest.param(lambda graphs: graphs.identity("BYTES"), True, id="strings"),
        pytest.param(lambda graphs: graphs.identity("BOOL"), True, id="booleans"),
        pytest.param(lambda graphs: graphs.identity("FP32", ["n", "m"]), True, id="a second free axis"),
        pytest.param(lambda graphs: graphs.logarithm(), True, id="not a number"),
        pytest.param(lambda graphs: graphs.lookup(), True, id="a table"),
    ],
)
def test_rows_that_depend_on_each_other_are_found(
    build: Callable[[Any], Any], *, independent: bool, graphs: Any, session_of: SessionOf
) -> None:
    session = session_of(build(graphs))

    assert rows_are_independent(session, session.signature) is independent


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda graphs: graphs.affine(), id="batch axis"),
        pytest.param(lambda graphs: graphs.identity("FP32", [1, 2]), id="fixed shape"),
        pytest.param(lambda graphs: graphs.identity("FP32", []), id="scalar"),
        pytest.param(lambda graphs: graphs.identity("BYTES"), id="strings"),
        pytest.param(lambda graphs: graphs.one_row_less(), id="blank input is not good for it"),
    ],
)
def test_any_graph_can_be_warmed_up(build: Callable[[Any], Any], graphs: Any, session_of: SessionOf) -> None:
    session = session_of(build(graphs))

    warm_up(session, session.signature, ModelConfiguration(), full_batch=8)


@pytest.mark.parametrize(
    ("configuration", "sizes"),
    [
        pytest.param(ModelConfiguration(), [1, 8], id="one row and a full batch"),
        pytest.param(ModelConfiguration(batching=Batching(batch_sizes=(2, 4, 8))), [2, 4, 8], id="every allowed size"),
        pytest.param(ModelConfiguration(warm_up=WarmUp(batch_sizes=(3, 5))), [3, 5], id="sizes of model.toml"),
        pytest.param(ModelConfiguration(warm_up=WarmUp(enabled=False)), [], id="switched off"),
    ],
)
def test_sizes_that_runs_will_have_are_warm(
    configuration: ModelConfiguration, sizes: list[int], graphs: Any, session_of: SessionOf
) -> None:
    session = session_of(graphs.affine())
    ran: list[int] = []
    run = session.run
    session.run = lambda inputs: ran.append(len(inputs[0])) or run(inputs)

    warm_up(session, session.signature, configuration, full_batch=8)

    assert ran == sizes


@pytest.mark.parametrize(
    ("batching", "rows"),
    [
        pytest.param(Batching(preferred_batch_size=5), 5, id="preferred"),
        pytest.param(Batching(max_batch_size=9), 9, id="largest"),
        pytest.param(Batching(batch_sizes=(2, 7)), 7, id="only these"),
    ],
)
def test_batch_that_model_toml_sets_is_not_measured(batching: Batching, rows: int, graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.affine())
    session.run = lambda _inputs: pytest.fail("was run")

    assert measured_batch(session, session.signature, ModelConfiguration(batching=batching)) == rows


def test_batch_that_is_not_set_is_measured(graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.affine())

    assert measured_batch(session, session.signature, ModelConfiguration()) in {1, 2, 4, 8, 16, 32, 64}


@pytest.mark.parametrize(
    ("build", "configuration"),
    [
        pytest.param(lambda graphs: graphs.affine(), ModelConfiguration(warm_up=WarmUp(enabled=False)), id="no warm-up is wanted"),
        pytest.param(lambda graphs: graphs.one_row_less(), ModelConfiguration(), id="blank input is not good for it"),
    ],
)
def test_batch_that_cannot_be_measured_is_a_full_one(
    build: Callable[[Any], Any], configuration: ModelConfiguration, graphs: Any, session_of: SessionOf
) -> None:
    session = session_of(build(graphs))

    assert measured_batch(session, session.signature, configuration) == 64


def test_samples_that_agree_are_accepted(graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.affine())

    replay(session, session.signature, Samples({"x": ROW}, {"y": ROW @ graphs.weights}), manifest(session.signature))


def test_samples_that_differ_are_refused(graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.affine())

    with pytest.raises(PackageError, match=r"Output 'y' differs from the samples by 0\.5"):
        replay(session, session.signature, Samples({"x": ROW}, {"y": ROW @ graphs.weights + 0.5}), manifest(session.signature))


def test_tolerance_is_the_one_of_the_manifest(graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.affine())
    samples = Samples({"x": ROW}, {"y": ROW @ graphs.weights + 0.5})

    replay(session, session.signature, samples, manifest(session.signature, tolerance=1.0))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        pytest.param(Samples({}, {"y": ROW}), "no tensor 'x'", id="input missing"),
        pytest.param(Samples({"x": ROW}, {}), "no tensor 'y'", id="output missing"),
        pytest.param(Samples({"x": ROW}, {"y": ROW}), r"its shape, \[1, 3\] instead of \[1, 4\]", id="another shape"),
    ],
)
def test_samples_that_do_not_fit_are_refused(samples: Samples, message: str, graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.affine())

    with pytest.raises(PackageError, match=message):
        replay(session, session.signature, samples, manifest(session.signature))


def test_model_that_does_not_run_on_its_samples_is_refused(graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.lookup())
    samples = Samples({"x": np.array([[99]])}, {"y": np.array([[0]], np.float32)})

    with pytest.raises(ModelLoadError, match="does not run on its own samples"):
        replay(session, session.signature, samples, manifest(session.signature))


def test_strings_are_compared_exactly(graphs: Any, session_of: SessionOf) -> None:
    session = session_of(graphs.identity("BYTES"))
    words, others = np.array([["a", "b"]], dtype=object), np.array([["a", "c"]], dtype=object)

    replay(session, session.signature, Samples({"x": words}, {"y": words}), manifest(session.signature))
    with pytest.raises(PackageError, match="its values"):
        replay(session, session.signature, Samples({"x": words}, {"y": others}), manifest(session.signature))
