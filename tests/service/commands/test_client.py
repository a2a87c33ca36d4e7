"""`axon predict` against a real server."""

import http.server
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from service.commands.client import ClientError, predict


@pytest.fixture
def predicted(server: Any) -> Callable[..., list[str]]:
    """Return a function that sends a file to a model of the server."""

    def send(model: str, file: Path, *, top: int = 3) -> list[str]:
        return list(predict(server.url, model, file, top=top))

    return send


def labelled(red: float, green: float, blue: float) -> str:
    return f"blue {blue:.4f}  green {green:.4f}  red {red:.4f}"


def written(directory: Path, content: Any, name: str = "rows.json") -> Path:
    path = directory / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        pytest.param([0, 0, 0, 10], ["y[0]: " + labelled(9, 10, 11)], id="row"),
        pytest.param(
            [[0, 0, 0, 10], [10, 0, 0, 0]], ["y[0]: " + labelled(9, 10, 11), "y[1]: " + labelled(0, 1, 2)], id="list of rows"
        ),
        pytest.param(
            {"a": 0, "b": 0, "c": 0, "d": 10},
            ["y[0]: " + labelled(9, 10, 11)],
            id="named values",
        ),
        pytest.param(
            {"instances": [[0, 0, 0, 10]]},
            ["y[0]: " + labelled(9, 10, 11)],
            id="whole request",
        ),
    ],
)
def test_json_file_is_sent(content: Any, lines: list[str], tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    assert predicted("affine", written(tmp_path, content)) == lines


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.array([0, 0, 0, 10], np.float32), id="row"),
        pytest.param(np.array([[0, 0, 0, 10]], np.float64), id="rows of another datatype"),
        pytest.param(np.array([[0, 0, 0, 10]], np.uint8), id="rows of integers"),
    ],
)
def test_npy_file_is_sent(array: Any, tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    np.save(tmp_path / "rows.npy", array)

    assert predicted("affine", tmp_path / "rows.npy") == ["y[0]: " + labelled(9, 10, 11)]


def test_only_the_best_labels_are_printed(tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    assert predicted("affine", written(tmp_path, [0, 0, 0, 10]), top=1) == ["y[0]: blue 11.0000"]


def test_output_without_labels_is_printed_as_values(tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    assert predicted("integers", written(tmp_path, [[1, 2], [3, 4]])) == ["y[0]: 1 2", "y[1]: 3 4"]


def test_text_is_sent_and_printed(tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    assert predicted("strings", written(tmp_path, [["ä", "b"]])) == ["y[0]: ä b"]


def test_archive_is_sent(tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    np.savez(tmp_path / "rows.npz", a=np.array([[1, 2]]), b=np.array([[1, 2]]))

    assert predicted("summed", tmp_path / "rows.npz") == ["sum[0]: 2.0 4.0", "difference[0]: 0.0 0.0"]


def test_table_is_sent(tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    parquet.write_table(pa.table({name: [0, 10] for name in "abcd"}), tmp_path / "rows.parquet")

    assert predicted("affine", tmp_path / "rows.parquet", top=1) == ["y[0]: red 0.0000", "y[1]: blue 26.0000"]


def test_model_of_several_inputs_takes_named_values(tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    assert predicted("summed", written(tmp_path, {"a": [1, 2], "b": [1, 2]})) == ["sum[0]: 2.0 4.0", "difference[0]: 0.0 0.0"]
    with pytest.raises(ClientError, match=r"model 'summed' takes 2 inputs\. Send objects with 'a', 'b'"):
        predicted("summed", written(tmp_path, [1, 2]))


def test_answer_that_is_not_a_number_is_printed_as_nan(tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    (line,) = predicted("logarithm", written(tmp_path, [1, -1]))

    assert line == "y[0]: left 0.0000  right nan"


@pytest.mark.parametrize(
    ("mode", "pixels"),
    [
        pytest.param("L", [[0, 255], [51, 102]], id="grey"),
        pytest.param("RGB", [[(0, 0, 0), (255, 255, 255)], [(51, 51, 51), (102, 102, 102)]], id="colour"),
    ],
)
def test_picture_is_scaled_to_the_value_range(mode: str, pixels: Any, tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    """Black and white become 0 and 16, as the signature of the model has it."""
    Image.fromarray(np.array(pixels, np.uint8)).convert(mode).save(tmp_path / "a.png")

    (line,) = predicted("picture", tmp_path / "a.png")

    values = [float(value) for value in line.removeprefix("y[0]: ").split()]
    np.testing.assert_allclose(values, [0, 16, 3.2, 6.4], rtol=1e-6)


def test_picture_is_resized_to_the_input(tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    pixels = np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((10, 10), np.uint8))
    Image.fromarray(pixels).save(tmp_path / "a.PNG")

    assert predicted("picture", tmp_path / "a.PNG") == ["y[0]: 0.0 16.0 16.0 0.0"]


@pytest.mark.parametrize(
    ("name", "content", "model", "message"),
    [
        pytest.param("a.json", b"{", "affine", "answered 400: The body is not valid JSON", id="broken JSON"),
        pytest.param("a.json", b"\xff", "affine", "answered 400: The body is not valid JSON", id="JSON that is no UTF-8"),
        pytest.param("a.json", b"[[1, 2], [3]]", "affine", r"answered 400: rows\[1\] has 1 entries", id="ragged rows"),
        pytest.param("a.json", b'["a", "b"]', "affine", r"rows\[0\] is \"a\"; FP32 takes numbers", id="text for numbers"),
        pytest.param("a.json", b"[1, 2]", "affine", r"answered 400: .*has shape \[1, 2\]; expected \[-1, 4\]", id="wrong shape"),
        pytest.param("a.json", b"[1, 2, 3, 4]", "unknown", "answered 404: Model 'unknown' is not known", id="unknown model"),
        pytest.param("a.json", b"[1, 2, 3, 4]", "broken", "answered 503: Model 'broken' is not ready", id="broken model"),
        pytest.param("a.json", b"[99]", "lookup", "answered 500: Model 'lookup' version 1 failed to run", id="failed run"),
        pytest.param("a.npy", b"rubbish", "affine", "is no readable .npy file", id="broken npy"),
        pytest.param("a.npy", b"", "affine", "is no readable .npy file", id="empty npy"),
        pytest.param("a.png", b"rubbish", "picture", "The body is no PNG and no JPEG", id="broken picture"),
        pytest.param("a.png", b"", "affine", "which is no picture", id="picture for a model of rows"),
        pytest.param("a.txt", b"1", "affine", "is of no known type", id="unknown type"),
    ],
)
def test_mistake_is_named(
    name: str, content: bytes, model: str, message: str, tmp_path: Path, predicted: Callable[..., list[str]]
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ClientError, match=message):
        predicted(model, tmp_path / name)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "nonsense://a", "a", "http://[", "http://a:999999"])
def test_server_that_is_not_there_is_named(url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(ClientError, match="Is a server running"):
        list(predict(url.format(port=port), "affine", written(tmp_path, [1]), top=1))


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers everything with a page."""

    def do_POST(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_arguments: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def stranger() -> Iterator[str]:
    """URL of a server that is not Axon."""
    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_file_that_cannot_be_read_is_named(tmp_path: Path, predicted: Callable[..., list[str]]) -> None:
    with pytest.raises(ClientError, match=r"Cannot read .*gone\.json"):
        predicted("affine", tmp_path / "gone.json")


def test_server_that_is_something_else_is_named(stranger: str, tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="gives no predictions"):
        list(predict(stranger, "affine", written(tmp_path, [1]), top=1))


def axon(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_command_prints_the_answer(server: Any, tmp_path: Path) -> None:
    done = axon("predict", "affine", written(tmp_path, [0, 0, 0, 10]), "--url", server.url, "--top", "2")

    assert (done.returncode, done.stdout, done.stderr) == (0, "y[0]: blue 11.0000  green 10.0000\n", "")


def test_command_names_a_mistake_in_one_line(server: Any, tmp_path: Path) -> None:
    done = axon("predict", "unknown", written(tmp_path, [1]), "--url", server.url)

    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"axon: {server.url} answered 404: Model 'unknown' is not known. Known models: affine, ")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\n", id="nothing"),
        pytest.param(b"axon_one\naxon_two\n", id="two keys"),
        pytest.param(b"axon_\xff", id="no text"),
        pytest.param("axon_é".encode(), id="what no header can have"),
    ],
)
def test_file_that_holds_no_key_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    command = [
        sys.executable,
        "-m",
        "service.cli",
        "predict",
        "m",
        str(written(tmp_path, [1])),
        "--key-file",
        str(tmp_path / "key"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"axon: {tmp_path / 'key'} holds no API key.")
    assert len(ended.stderr.splitlines()) == 1
