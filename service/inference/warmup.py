"""What a session shows before it serves: that it runs, gives the expected answers, and treats rows independently."""

from typing import Any

import numpy as np

from service.errors import ModelLoadError, PackageError
from service.inference.batch import split
from service.inference.preferred_batch import preferred_rows
from service.inference.provider_defaults import CPU
from service.inference.session import Session
from service.repository.configuration import ModelConfiguration
from service.repository.datatypes import to_numpy
from service.repository.manifest import Manifest
from service.repository.samples import Samples
from service.repository.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]

DEFAULT_TOLERANCE = 1e-4
_PROBE_ROWS = 3
_PROBE_SEED = 20
_FREE_AXIS = 4  # an arbitrary size for an axis of any size that is not the batch axis


def warm_up(session: Session, signature: Signature, configuration: ModelConfiguration, *, full_batch: int) -> None:
    """Run on blank input, so that no request pays for a first run: at one row and at a full batch, or at every allowed size.

    A graph whose free axes cannot be guessed (or whose input must not be blank) is left cold; that it loads has been shown.
    """
    sizes = configuration.warm_up.batch_sizes or configuration.batching.batch_sizes or (1, full_batch)
    if not configuration.warm_up.enabled:
        return
    for rows in dict.fromkeys(sizes if signature.has_batch_axis else (1,)):
        try:
            session.run([_blank(spec, rows) for spec in signature.inputs])
        except Exception:  # noqa: BLE001 -- onnxruntime's exceptions have no common base; see the docstring
            return


def measured_batch(session: Session, signature: Signature, configuration: ModelConfiguration) -> int:
    """Return up to how many rows requests should be merged, measured on blank input where that shows it, else a full batch.

    A device gains from every row more, and free axes make runs incomparable.
    """
    batching = configuration.batching
    if batching.preferred_batch_size or session.providers != (CPU,) or not configuration.warm_up.enabled:
        return batching.preferred_batch_size or batching.max_batch_size
    if any(-1 in spec.shape[1:] for spec in signature.inputs):
        return batching.max_batch_size
    try:
        return preferred_rows(lambda rows: session.run([_blank(spec, rows) for spec in signature.inputs]), batching.max_batch_size)
    except Exception:  # noqa: BLE001 -- as for a warm-up
        return batching.max_batch_size


def replay(session: Session, signature: Signature, samples: Samples, manifest: Manifest) -> None:
    """Run the samples of a package and compare with the outputs they expect.

    With the parity tolerance t of the manifest, |actual - expected| <= t + t |expected| must hold for every value.
    Raises PackageError if a tensor is missing or differs by more.
    """
    tolerance = manifest.parity.tolerance if manifest.parity else DEFAULT_TOLERANCE
    try:
        inputs = [samples.inputs[spec.name].astype(to_numpy(spec.datatype), copy=False) for spec in signature.inputs]
        expected = [samples.outputs[spec.name] for spec in signature.outputs]
    except KeyError as error:
        raise PackageError(f"The samples have no tensor {error}. Publish the model again.") from error
    try:
        outputs = session.run(inputs)
    except Exception as error:
        raise ModelLoadError(f"The model does not run on its own samples: {error}") from error
    for spec, actual, wanted in zip(signature.outputs, outputs, expected, strict=True):
        if not _agrees(actual, wanted, tolerance):
            raise PackageError(
                f"Output '{spec.name}' differs from the samples by {_difference(actual, wanted)}; {tolerance:g} is allowed. "
                "The graph, the samples or this machine's onnxruntime is not what was published."
            )


def rows_are_independent(session: Session, signature: Signature) -> bool:
    """Whether a row's answer stays the same beside other rows, shown on random rows: only then may requests share a run.

    False too if the graph does not run on them or does not give one output row for each input row.
    """
    generator = np.random.default_rng(_PROBE_SEED)
    rows = [[_random(spec, generator) for spec in signature.inputs] for _ in range(_PROBE_ROWS)]
    try:
        together = session.run([np.concatenate(arrays) for arrays in zip(*rows, strict=True)])
        apart = [session.run(row) for row in rows]
        pieces = split(together, [1] * _PROBE_ROWS)
    except Exception:  # noqa: BLE001 -- onnxruntime's exceptions have no common base; not runnable is not independent
        return False
    return all(
        _agrees(ours, theirs, DEFAULT_TOLERANCE) and not _all_nan(ours)
        for piece, alone in zip(pieces, apart, strict=True)
        for ours, theirs in zip(piece, alone, strict=True)
    )


def _agrees(actual: Array, expected: Array, tolerance: float) -> bool:
    if actual.shape != expected.shape:
        return False
    if actual.dtype.kind in "OSUb":
        return bool(np.array_equal(actual, expected))
    return bool(np.allclose(actual, expected, rtol=tolerance, atol=tolerance, equal_nan=True))


def _all_nan(array: Array) -> bool:
    """Whether the values prove nothing: a random row may lie outside what the graph can compute."""
    return array.dtype.kind == "f" and bool(np.isnan(array).all())


def _difference(actual: Array, expected: Array) -> str:
    if actual.shape != expected.shape:
        return f"its shape, {list(actual.shape)} instead of {list(expected.shape)}"
    if actual.dtype.kind in "OSUb":
        return "its values"
    return f"{np.max(np.abs(actual.astype(np.float64) - expected.astype(np.float64))):g}"


def _sizes(spec: TensorSpec, rows: int) -> tuple[int, ...]:
    first = rows if spec.shape[:1] == (-1,) else spec.shape[0] if spec.shape else 0
    rest = tuple(_FREE_AXIS if size == -1 else size for size in spec.shape[1:])
    return (first, *rest) if spec.shape else ()


def _blank(spec: TensorSpec, rows: int) -> Array:
    shape = _sizes(spec, rows)
    return np.full(shape, "", dtype=object) if spec.datatype == "BYTES" else np.zeros(shape, dtype=to_numpy(spec.datatype))


def _random(spec: TensorSpec, generator: np.random.Generator) -> Array:
    shape = _sizes(spec, 1)
    dtype = to_numpy(spec.datatype)
    if dtype.kind == "O":
        return generator.choice(np.array(["a", "b", "c"], dtype=object), size=shape)
    if dtype.kind == "f":
        return generator.normal(size=shape).astype(dtype)
    return generator.integers(0, 2, size=shape).astype(dtype)
