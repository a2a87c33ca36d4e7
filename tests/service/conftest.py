"""Shared by the service's tests: tiny graphs, packages made of them, and a real server process."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import onnx
import pytest
import requests
from onnx import TensorProto, helper, numpy_helper

from service.inference.providers import CPU
from service.inference.session import Session
from service.repository.layout import GRAPH_NAME, publish, staged
from service.repository.manifest import Manifest
from service.repository.samples import Samples
from service.repository.signature import Signature, TensorSpec

# How long an example takes says more of the machine than of what is tested.
hypothesis.settings.register_profile("axon", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("axon")

Array = np.ndarray[Any, Any]

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0  # for what happens at once; reached only when something hangs
BODY_LIMIT = 12_000_000

ELEMENT_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
    "BF16": TensorProto.BFLOAT16,
}

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


class Graphs:
    """Builders of ONNX models, as small as the fact that they show."""

    weights = WEIGHTS

    def build(
        self,
        nodes: Sequence[onnx.NodeProto],
        inputs: Mapping[str, tuple[str, Sequence[int | str | None]]],
        outputs: Mapping[str, tuple[str, Sequence[int | str | None]]],
        **constants: Array,
    ) -> onnx.ModelProto:
        """Put nodes, `(datatype, shape)` of inputs and outputs, and constants together."""
        graph = helper.make_graph(
            list(nodes),
            "graph",
            [helper.make_tensor_value_info(name, ELEMENT_TYPES[kind], shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, ELEMENT_TYPES[kind], shape) for name, (kind, shape) in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)

    def affine(self) -> onnx.ModelProto:
        """Build y[-1, 3] = x[-1, 4] @ weights."""
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        return self.build(nodes, {"x": ("FP32", ["n", 4])}, {"y": ("FP32", ["n", 3])}, w=WEIGHTS)

    def identity(self, datatype: str, shape: Sequence[int | str | None] = ("n", 2)) -> onnx.ModelProto:
        """Build y = x of any datatype."""
        nodes = [helper.make_node("Identity", ["x"], ["y"])]
        return self.build(nodes, {"x": (datatype, shape)}, {"y": (datatype, shape)})

    def softmax(self, axis: int) -> onnx.ModelProto:
        """Build a softmax over an axis; over the batch axis every row changes all others."""
        nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=axis)]
        return self.build(nodes, {"x": ("FP32", ["n", 4])}, {"y": ("FP32", ["n", 4])})

    def centred(self) -> onnx.ModelProto:
        """Build y = x minus the mean over the batch."""
        nodes = [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ]
        return self.build(nodes, {"x": ("FP32", ["n", 4])}, {"y": ("FP32", ["n", 4])}, axes=np.array([0]))

    def one_row_less(self) -> onnx.ModelProto:
        """Build a graph whose batch of outputs is one row shorter than that of its inputs."""
        nodes = [helper.make_node("Slice", ["x", "start", "stop"], ["y"])]
        ends = {"start": np.array([1]), "stop": np.array([2**31])}
        return self.build(nodes, {"x": ("FP32", ["n", 4])}, {"y": ("FP32", ["m", 4])}, **ends)

    def summed(self) -> onnx.ModelProto:
        """Build y = a + b, with an output of its own for the difference."""
        nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])]
        shape = ("FP32", ["n", 2])
        return self.build(nodes, {"a": shape, "b": shape}, {"sum": shape, "difference": shape})

    def lookup(self) -> onnx.ModelProto:
        """Build y = table[x] for x from 0 to 3; any other x lets the run fail."""
        nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
        table = np.array([0.0, 10.0, 20.0, 30.0], dtype=np.float32)
        return self.build(nodes, {"x": ("INT64", ["n", 1])}, {"y": ("FP32", ["n", 1])}, table=table)

    def logarithm(self) -> onnx.ModelProto:
        """Build y = log(x): NaN below zero."""
        nodes = [helper.make_node("Log", ["x"], ["y"])]
        return self.build(nodes, {"x": ("FP32", ["n", 2])}, {"y": ("FP32", ["n", 2])})

    def picture(self) -> onnx.ModelProto:
        """Build y = x for grey pictures of 2 x 2."""
        nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
        return self.build(nodes, {"x": ("FP32", ["n", 2, 2, 1])}, {"y": ("FP32", ["n", 4])}, shape=np.array([-1, 4]))

    def slow(self, repeats: int = 60, size: int = 1024) -> onnx.ModelProto:
        """Build y = x by way of many large matrices that only move columns, so that the result is exact."""
        embed = np.eye(4, size, dtype=np.float32)
        shift = np.roll(np.eye(size, dtype=np.float32), 1, axis=1)
        extract = np.roll(embed, repeats, axis=1).T.copy()
        nodes = [helper.make_node("MatMul", ["x", "embed"], ["h0"])]
        nodes += [helper.make_node("MatMul", [f"h{index}", "shift"], [f"h{index + 1}"]) for index in range(repeats)]
        nodes += [helper.make_node("MatMul", [f"h{repeats}", "extract"], ["y"])]
        shapes = {"embed": embed, "shift": shift, "extract": extract}
        return self.build(nodes, {"x": ("FP32", ["n", 4])}, {"y": ("FP32", ["n", 4])}, **shapes)


@pytest.fixture(scope="session")
def graphs() -> Graphs:
    """Builders of tiny graphs."""
    return Graphs()


@pytest.fixture(scope="session")
def save() -> Callable[[onnx.ModelProto, Path], Path]:
    """Return a function that writes a graph as `model.onnx` into a directory."""

    def write(graph: onnx.ModelProto, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / GRAPH_NAME
        path.write_bytes(graph.SerializeToString())
        return path

    return write


@pytest.fixture(scope="session")
def publish_graph(save: Callable[..., Path]) -> Callable[..., Manifest]:
    """Return a function that publishes a graph with its signature as the next version of a model."""

    def write(
        graph: onnx.ModelProto, model_directory: Path, signature: Signature, *, samples: Samples | None = None, **facts: Any
    ) -> Manifest:
        with staged(model_directory) as staging:
            save(graph, staging)
            if samples is not None:
                samples.write(staging)
            return publish(staging, model_directory, signature=signature, **facts)

    return write


@pytest.fixture
def session_of(tmp_path: Path, save: Callable[..., Path]) -> Callable[[onnx.ModelProto], Session]:
    """Return a function that loads a graph into onnxruntime."""

    def load(graph: onnx.ModelProto) -> Session:
        return Session(save(graph, tmp_path), threads=1, providers=[CPU])

    return load


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio."""
    return "asyncio"


class Server:
    """A server process, and what it has written to standard error so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.http = requests.Session()
        self.http.trust_env = False  # no proxy on the way to loopback
        self.url = ""
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """All lines so far."""
        with self._news:
            return "".join(self._lines)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.url.partition("://")[2].split(":")
        return host, int(port)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a log line that holds `pattern`."""
        with self._news:
            self._news.wait_for(lambda: self._found(pattern) or self._ended, timeout=DEADLINE)
            match = self._found(pattern)
            assert match, f"no {pattern!r} in: {''.join(self._lines)}"
            return match

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so that the process does not log; it is asked again and again."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f"in vain; the log: {self.log}"
            time.sleep(0.01)

    def started(self) -> "Server":
        """Wait until the repository is loaded."""
        self.url = self.wait_for(r"listens on (https?://127\.0\.0\.1:\d+)").group(1)
        self.wait_for(r"\d+ of \d+ models ready")
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the end of the process and of its log."""
        status = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return status

    def accepts(self) -> bool:
        """Whether it takes new connections; not, once it has closed its socket."""
        try:
            socket.create_connection(self.address, timeout=DEADLINE).close()
        except ConnectionRefusedError:
            return False
        except ConnectionResetError:  # it closes its socket in between
            return True
        return True

    def infer(self, model: str, body: Any, **options: Any) -> requests.Response:
        """Post an infer request: any JSON, or bytes as they are."""
        content = {"data": body} if isinstance(body, bytes) else {"json": body}
        return self.http.post(f"{self.url}/v2/models/{model}/infer", timeout=DEADLINE, **content, **options)

    def get(self, path: str) -> requests.Response:
        """Get a path."""
        return self.http.get(self.url + path, timeout=DEADLINE)

    def metric(self, name: str, **labels: str) -> float:
        """Sum the samples of a metric that have these label values."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in self.get("/metrics").text.splitlines()
            if re.match(rf"{name}(\{{| )", line) and all(label in line for label in wanted)
        )

    def _found(self, pattern: str) -> re.Match[str] | None:
        return re.search(pattern, "".join(self._lines))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


@pytest.fixture(scope="session")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AbstractContextManager[Server]]:
    """Return a context manager: a server process that is not waited for, ended with the block at the latest."""

    @contextmanager
    def launch(repository: Path, *options: str, **environ: str) -> Iterator[Server]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AXON_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve", str(repository), "--port", "0", *options],
            cwd=tmp_path_factory.mktemp("working"),
            env=inherited | {"PYTHONPATH": str(ROOT)} | environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        server = Server(process)
        try:
            yield server
        finally:
            process.kill()
            server.ended()
            server.http.close()
            if process.stderr is not None:
                process.stderr.close()

    return launch


@pytest.fixture(scope="session")
def running(launched: Callable[..., AbstractContextManager[Server]]) -> Callable[..., AbstractContextManager[Server]]:
    """Return a context manager: a server process whose repository is loaded."""

    @contextmanager
    def run(repository: Path, *options: str, **environ: str) -> Iterator[Server]:
        with launched(repository, *options, **environ) as server:
            yield server.started()

    return run


@pytest.fixture(scope="session")
def repository(
    tmp_path_factory: pytest.TempPathFactory,
    graphs: Graphs,
    save: Callable[..., Path],
    publish_graph: Callable[..., Manifest],
) -> Path:
    """Build a repository of published packages, bare graphs and a broken one."""
    root = tmp_path_factory.mktemp("models")
    row = np.array([[1, 2, 3, 4]], dtype=np.float32)
    publish_graph(
        graphs.affine(),
        root / "affine",
        Signature(
            inputs=(TensorSpec("x", "FP32", (-1, 4), features=("a", "b", "c", "d")),),
            outputs=(TensorSpec("y", "FP32", (-1, 3), labels=("red", "green", "blue")),),
        ),
        samples=Samples(inputs={"x": row}, outputs={"y": row @ WEIGHTS}),
    )
    (root / "affine" / "model.toml").write_text("labels = { stable = 1 }")
    publish_graph(
        graphs.picture(),
        root / "picture",
        Signature(
            inputs=(TensorSpec("x", "FP32", (-1, 2, 2, 1), value_range=(0.0, 16.0)),),
            outputs=(TensorSpec("y", "FP32", (-1, 4)),),
        ),
    )
    publish_graph(
        graphs.logarithm(),
        root / "logarithm",
        Signature(
            inputs=(TensorSpec("x", "FP32", (-1, 2)),),
            outputs=(TensorSpec("y", "FP32", (-1, 2), labels=("left", "right")),),
        ),
    )
    save(graphs.summed(), root / "summed" / "1")
    save(graphs.identity("INT64"), root / "integers" / "1")
    save(graphs.identity("BYTES"), root / "strings" / "1")
    save(graphs.lookup(), root / "lookup" / "1")
    save(graphs.slow(), root / "slow" / "1")
    # A measurement may find that 4 rows do as well; and more callers than 16 are not all answered at once.
    (root / "slow" / "model.toml").write_text("[batching]\nmax_batch_size = 16")
    (root / "broken" / "1").mkdir(parents=True)
    (root / "broken" / "1" / GRAPH_NAME).write_bytes(b"no graph")
    return root


@pytest.fixture(scope="session")
def server(running: Callable[..., AbstractContextManager[Server]], repository: Path) -> Iterator[Server]:
    """Run the server over `repository` that most tests call."""
    with running(repository, AXON_MAX_BODY_SIZE=str(BODY_LIMIT)) as started:
        yield started


@pytest.fixture(scope="session")
def body_limit() -> int:
    """Largest request body that `server` takes, in bytes."""
    return BODY_LIMIT


@pytest.fixture(scope="session")
def good_request() -> dict[str, Any]:
    """Give a request that the model `affine` accepts."""
    return {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
