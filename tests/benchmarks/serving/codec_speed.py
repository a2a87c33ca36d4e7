"""How fast JSON becomes tensors and tensors JSON, beside what one writes with orjson and numpy.

    python tests/benchmarks/serving/codec_speed.py

Reading is the whole decoding of a request, with all its checks, against `numpy.array(orjson.loads(body)[...])`; writing is the
whole encoding of an answer against `orjson.dumps` of `.tolist()`. Prints the best time of each and how many times as fast.
"""

import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

sys.path.insert(0, str(Path(__file__).parents[3]))

from service.inference.batcher import Timing
from service.inference.served_model import Answer
from service.protocols import open_inference
from service.protocols.infer_request import InferRequest
from service.repository.signature import TensorSpec

Array = np.ndarray[Any, Any]
SECONDS = 1.0


def best(function: Callable[[], object]) -> float:
    """Return the seconds of the fastest of many calls."""
    function()
    once = timeit.timeit(function, number=1)
    number = max(1, round(0.01 / once))
    return min(timeit.repeat(function, number=number, repeat=max(5, round(SECONDS / (number * once))))) / number


def compare(name: str, ours: Callable[[], object], plain: Callable[[], object]) -> None:
    """Print one line."""
    fast, slow = best(ours), best(plain)
    sys.stdout.write(f"{name:34}{fast * 1e6:9,.0f} us, plain {slow * 1e6:9,.0f} us: {slow / fast:.1f} times as fast\n")
    sys.stdout.flush()


def reading(shape: tuple[int, ...], *, nested: bool) -> None:
    """Compare how a request is read."""
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": values if nested else values.ravel()}
    body = orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)

    def plain() -> Array:
        given = orjson.loads(body)["inputs"][0]
        return np.array(given["data"], np.float32).reshape(given["shape"])

    np.testing.assert_array_equal(open_inference.decode(body).inputs["x"], plain())
    compare(f"read {'nested' if nested else 'flat'} {list(shape)}", lambda: open_inference.decode(body), plain)


def writing(shape: tuple[int, ...]) -> None:
    """Compare how an answer is written."""
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    answer = Answer([(TensorSpec("y", "FP32", shape), values)], Timing(0.0, 0.0))
    request = InferRequest(inputs={})

    def ours() -> bytes:
        return bytes(open_inference.encode(answer, model="m", version=1, request=request).parts[0])

    def plain() -> bytes:
        output = {"name": "y", "datatype": "FP32", "shape": values.shape, "data": values.ravel().tolist()}
        return orjson.dumps({"model_name": "m", "model_version": "1", "outputs": [output]})

    for body in (ours(), plain()):
        np.testing.assert_array_equal(np.array(orjson.loads(body)["outputs"][0]["data"], np.float32), values.ravel())
    compare(f"write {list(shape)}", ours, plain)


def main() -> None:
    """Compare all."""
    reading((1, 4), nested=False)
    reading((1, 784), nested=False)
    reading((32, 784), nested=False)
    reading((32, 784), nested=True)
    reading((1, 28, 28, 1), nested=True)
    reading((1, 224, 224, 3), nested=False)
    reading((1, 224, 224, 3), nested=True)
    writing((1, 3))
    writing((32, 10))
    writing((32, 784))
    writing((1, 1000))


if __name__ == "__main__":
    main()
