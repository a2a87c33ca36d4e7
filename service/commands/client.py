"""A file to a running server over HTTP, and its answer into lines for a person."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from service.errors import AxonError
from service.protocols import arrow_tables, media_types, numpy_files

_TYPES: Final = {
    ".json": media_types.JSON,
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".npy": numpy_files.NPY_TYPE,
    ".npz": numpy_files.NPZ_TYPE,
    ".arrows": arrow_tables.STREAM_TYPE,
    ".parquet": arrow_tables.PARQUET_TYPE,
}
_TIMEOUT: Final = 60.0


class ClientError(AxonError):
    """The file cannot be sent, or the server refused it or is not there."""


class Label(msgspec.Struct, frozen=True):
    """A label of a row with its score."""

    label: str
    score: float | int | None


class Output(msgspec.Struct, frozen=True):
    """An output as values; a number that JSON has not is None."""

    name: str
    data: list[Any]


class Predictions(msgspec.Struct, frozen=True):
    """The answer of the server: what each row's outputs say, and the outputs; without rows these alone."""

    outputs: tuple[Output, ...]
    predictions: list[dict[str, Any]] = []


def predict(url: str, model: str, file: Path, *, top: int, key: str | None = None) -> Iterator[str]:
    """Send the file to the model and give a line for each row: its `top` labels with scores, or its values.

    `key` is the API key for a server that wants one. Raises ClientError.
    """
    kind = _TYPES.get(file.suffix.lower())
    if kind is None:
        raise ClientError(f"{file} is of no known type. Give a file of one of {', '.join(_TYPES)}.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ClientError(f"Cannot read {file}: {error.strerror}.") from error
    headers = {"content-type": kind} | ({} if key is None else {"authorization": f"Bearer {key}"})
    answer = _sent(url, f"/models/{quote(model, safe='')}/predict?top={top}", content, headers)
    for output in answer.outputs:
        if not answer.predictions:
            yield f"{output.name}: {_text(output.data)}"
        for index, row in enumerate(answer.predictions):
            yield f"{output.name}[{index}]: {_text(row[output.name])}"


def read_key(file: Path) -> str:
    """Return the API key that a file holds. Raises ClientError."""
    try:
        words = file.read_text(encoding="ascii").split()
    except OSError as error:
        raise ClientError(f"Cannot read {file}: {error.strerror}.") from error
    except UnicodeDecodeError:
        words = []
    if len(words) != 1:
        raise ClientError(f"{file} holds no API key. It must hold one, as axon keys create prints it, and nothing else.")
    return words[0]


def _sent(url: str, path: str, content: bytes, headers: dict[str, str]) -> Predictions:
    try:
        with httpx.Client(base_url=url, timeout=_TIMEOUT, headers=headers) as http:
            response = http.post(path, content=content)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ClientError(f"No answer from {url}: {error}. Is a server running? Start one with: axon serve") from error
    if response.is_error:
        raise ClientError(f"{url} answered {response.status_code}: {_message(response)}")
    try:
        return msgspec.json.decode(response.content, type=Predictions)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClientError(f"{url} gives no predictions: {error}. Is it the address of Axon?") from error


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return " ".join(response.text.split())[:200]


def _text(value: Any) -> str:  # noqa: ANN401 -- any JSON
    """Return labels with their scores, a value with its unit, or values in a line."""
    if isinstance(value, dict):
        return f"{_text(value['value'])} {value['unit']}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        labels = msgspec.convert(value, list[Label])
        return "  ".join(f"{found.label} {float('nan') if found.score is None else found.score:.4f}" for found in labels)
    if isinstance(value, list):
        return " ".join(_text(inner) for inner in value)
    return "nan" if value is None else str(value)
