"""`axon predict`: a file into a request, the answer into lines for a person."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import numpy as np
from PIL import Image, UnidentifiedImageError

from service.errors import AxonError
from service.protocols.open_inference import Metadata, TensorMetadata
from service.repository.datatypes import to_numpy

Array = np.ndarray[Any, Any]

_PICTURES: Final = {".png", ".jpg", ".jpeg"}
_TIMEOUT: Final = 60.0


class ClientError(AxonError):
    """The file cannot be turned into a request, or the server refused it or is not there."""


def predict(url: str, model: str, file: Path, *, top: int, key: str | None = None) -> Iterator[str]:
    """Send the file's rows to the model and give a line for each row: its `top` labels with probabilities, or its values.

    `key` is the API key for a server that wants one. Raises ClientError.
    """
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, timeout=_TIMEOUT, headers=headers) as http:
        metadata = _metadata(url, _call(http, "GET", f"/v2/models/{model}"))
        answer = json.loads(_call(http, "POST", f"/v2/models/{model}/infer", content=_request(file, metadata)))
    labels: dict[str, list[str]] = {spec.name: spec.parameters.get("labels", []) for spec in metadata.outputs}
    for output in answer["outputs"]:
        yield from _lines(output, labels.get(output["name"], []), top)


def _call(http: httpx.Client, method: str, path: str, *, content: bytes | None = None) -> bytes:
    try:
        response = http.request(method, path, content=content)
    except httpx.HTTPError as error:
        raise ClientError(f"No answer from {http.base_url}: {error}. Is a server running? Start one with: axon serve") from error
    if response.is_error:
        raise ClientError(f"{http.base_url} answered {response.status_code}: {_message(response)}")
    return response.content


def _metadata(url: str, content: bytes) -> Metadata:
    try:
        return msgspec.json.decode(content, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClientError(f"{url} does not speak the Open Inference Protocol: {error}. Is it the address of Axon?") from error


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


def _request(file: Path, metadata: Metadata) -> bytes:
    if file.suffix == ".json":
        content = _json(file)
        if isinstance(content, dict):
            return file.read_bytes()
        array = np.array(content) if _regular(content) else None
        if array is None:
            raise ClientError(f"{file} holds rows of different lengths; a tensor needs rows of the same shape.")
    elif file.suffix == ".npy":
        array = _npy(file)
    elif file.suffix.lower() in _PICTURES:
        array = _picture(file, _only_input(metadata))
    else:
        raise ClientError(f"{file} is of no known type. Give a .json, .npy, .png or .jpg file.")
    spec = _only_input(metadata)
    array = _fitted(array, spec, file)
    tensor = {"name": spec.name, "datatype": spec.datatype, "shape": list(array.shape), "data": array.tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


def _only_input(metadata: Metadata) -> TensorMetadata:
    if len(metadata.inputs) != 1:
        names = ", ".join(spec.name for spec in metadata.inputs)
        raise ClientError(f'The model has {len(metadata.inputs)} inputs ({names}). Give a JSON file with {{"inputs": [...]}}.')
    return metadata.inputs[0]


def _json(file: Path) -> Any:  # noqa: ANN401 -- any JSON
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ClientError(f"{file} is not valid JSON: {error}.") from error


def _regular(content: object) -> bool:
    try:
        np.array(content)
    except ValueError:
        return False
    return isinstance(content, list)


def _npy(file: Path) -> Array:
    try:
        array: Array = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ClientError(f"{file} is not a readable .npy file: {error}.") from error
    return array


def _picture(file: Path, spec: TensorMetadata) -> Array:
    """Fit a picture to the input: grey or colour, its size, and black to white onto the value range of the signature."""
    shape = spec.shape[1:]
    colour = len(shape) == 3 and shape[-1] == 3  # noqa: PLR2004 -- height, width, three channels
    if not (colour or len(shape) == 2 or (len(shape) == 3 and shape[-1] == 1)):  # noqa: PLR2004
        raise ClientError(f"Input '{spec.name}' has shape {list(spec.shape)}, which is no picture. Give a JSON or .npy file.")
    low, high = spec.parameters.get("value_range", (0.0, 255.0))
    try:
        with Image.open(file) as image:
            height, width = (wanted if wanted > 0 else actual for wanted, actual in zip(shape[:2], image.size[::-1], strict=True))
            pixels = np.asarray(image.convert("RGB" if colour else "L").resize((width, height), Image.Resampling.BOX))
    except (UnidentifiedImageError, OSError) as error:
        raise ClientError(f"{file} is not a readable picture: {error}.") from error
    scaled: Array = low + pixels.astype(np.float64) * (high - low) / 255.0
    return scaled.reshape(1, height, width, *([] if len(shape) == 2 else [shape[-1]]))  # noqa: PLR2004


def _fitted(array: Array, spec: TensorMetadata, file: Path) -> Array:
    """Add a missing batch axis and cast to the input's datatype."""
    if array.ndim == len(spec.shape) - 1:
        array = array[np.newaxis]
    dtype: np.dtype[Any] = to_numpy(spec.datatype)
    if array.dtype.kind not in "biuf" and dtype.kind != "O":
        raise ClientError(f"{file} does not hold numbers; input '{spec.name}' takes {spec.datatype}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ClientError(f"{file} holds NaN or infinity, which JSON has not.")
    if dtype.kind in "iu":
        return _integers(array, dtype, file)
    return array.astype(dtype)


def _integers(array: Array, dtype: np.dtype[Any], file: Path) -> Array:
    """Round and cast, refusing what the datatype cannot hold."""
    whole = np.rint(array) if array.dtype.kind == "f" else array
    limits = np.iinfo(dtype)
    if whole.size and (int(whole.min()) < limits.min or int(whole.max()) > limits.max):
        raise ClientError(f"{file} holds values outside {limits.min} to {limits.max}, the range of the input.")
    return whole.astype(dtype)


def _lines(output: dict[str, Any], labels: list[str], top: int) -> Iterator[str]:
    values = np.array([np.nan if value is None else value for value in output["data"]]).reshape(output["shape"])
    for index, row in enumerate(values if values.ndim else values[np.newaxis]):
        if labels and row.shape == (len(labels),):
            best = np.argsort(-row, kind="stable")[:top]
            text = "  ".join(f"{labels[position]} {row[position]:.4f}" for position in best)
        else:
            text = " ".join(str(value) for value in row.reshape(-1).tolist())
        yield f"{output['name']}[{index}]: {text}"
