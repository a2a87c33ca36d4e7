"""The demo against commands that stand in for `axon train` and `axon serve`; the real ones take part in one test."""

import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from service.repository.layout import publish, staged
from service.repository.samples import Samples
from service.repository.signature import Signature, TensorSpec

FAKE_AXON = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

if sys.argv[1] == "train":
    sys.exit(int({train_code}))
if {serve_code}:
    sys.exit({serve_code})


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({{}})

    def do_POST(self):
        image = json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"][0]
        assert image["shape"] == [1, 2, 2] and image["data"] == [0, 16, 0.5, 3], image
        self.answer({{"outputs": [{{"name": "probabilities", "data": [0.25, 0.75]}}]}})

    def answer(self, body):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_arguments):
        pass


HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Publish a digits package of two labels and one sample."""
    signature = Signature(
        inputs=(TensorSpec(name="image", datatype="FP32", shape=(-1, 2, 2)),),
        outputs=(TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 2), labels=("cat", "dog")),),
    )
    directory = tmp_path / "models" / "digits_cnn"
    with staged(directory) as staging:
        (staging / "model.onnx").write_bytes(b"")
        Samples(
            inputs={"image": np.array([[[0, 16], [0.5, 3]]], np.float32)},
            outputs={"probabilities": np.array([[0.2, 0.8]], np.float32)},
        ).write(staging)
        publish(staging, directory, signature=signature, dataset={"sample_targets": {signature.outputs[0].name: ["cat"]}})
    return tmp_path / "models"


@pytest.fixture
def port() -> int:
    """Find a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(fake: str, spec_file: Path, repository: Path, port: int) -> subprocess.Popen[str]:
    (repository / "fake.py").write_text(fake)
    script = (
        "import sys; from functools import partial; from training import cli, demo;"
        "demo.run = partial(demo.run, axon=(sys.executable, sys.argv.pop())); cli.demo()"
    )
    command = [sys.executable, "-c", script, spec_file, "--repository", repository, "--port", str(port), repository / "fake.py"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_serving(process: subprocess.Popen[str]) -> str:
    """Read the output up to the line that says that the demo goes on serving."""
    assert process.stdout is not None
    guard = threading.Timer(120, process.kill)
    guard.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Serving until"):
            break
    guard.cancel()
    return "".join(lines)


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_demo_predicts_serves_and_ends_with_its_server(
    number: signal.Signals, spec_file: Path, repository: Path, port: int
) -> None:
    with started(FAKE_AXON.format(train_code=0, serve_code=0), spec_file, repository, port) as process:
        text = until_serving(process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)

    assert "labelled cat. Predicted dog with probability 0.7500." in text
    assert f"http://127.0.0.1:{port}/v2/models/digits" in text
    assert (process.returncode, errors) == (0, "")
    assert refused(port)


def test_server_dies_with_a_killed_demo(spec_file: Path, repository: Path, port: int) -> None:
    with started(FAKE_AXON.format(train_code=0, serve_code=0), spec_file, repository, port) as process:
        until_serving(process)
        process.kill()
        process.wait()

    for _ in range(100):
        if refused(port):
            break
        threading.Event().wait(0.05)
    assert refused(port)


@pytest.mark.parametrize(
    ("train_code", "serve_code", "expected"),
    [
        (1, 0, "Training ended with exit code 1; there is no model to serve."),
        (0, 3, "The server ended by itself with exit code 3."),
    ],
    ids=["training fails", "the server fails"],
)
def test_failing_command_ends_the_demo_with_one_line(
    train_code: int, serve_code: int, expected: str, spec_file: Path, repository: Path, port: int
) -> None:
    fake = FAKE_AXON.format(train_code=train_code, serve_code=serve_code)
    with started(fake, spec_file, repository, port) as process:
        _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (1, f"axon: {expected}\n")


def test_taken_port_is_noticed_before_training(spec_file: Path, repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with started(FAKE_AXON.format(train_code=1, serve_code=0), spec_file, repository, taken) as process:
            _, errors = process.communicate(timeout=30)

    assert process.returncode == 1
    assert errors.startswith(f"axon: Cannot listen on 127.0.0.1 port {taken}: Address already in use. Choose another port")


@pytest.mark.training
def test_printed_curl_line_works_against_the_real_server(spec_file: Path, tmp_path: Path, port: int) -> None:
    command = [sys.executable, "-m", "service.cli", "demo", spec_file, "--repository", tmp_path / "models", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        text = until_serving(process)
        curl = next(line for line in text.splitlines() if line.startswith("curl "))
        answer = subprocess.run(shlex.split(curl), check=False, capture_output=True, text=True)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert re.search(r"labelled (\d)\. Predicted \1 with probability [01]\.\d+", text), text + errors
    assert '"name":"probabilities"' in answer.stdout
    assert process.returncode == 0
    assert "Traceback" not in errors
