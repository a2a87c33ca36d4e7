"""`axon demo`: train and publish a spec, serve it, classify a held-out row over HTTP, and keep serving until told to stop.

Training and serving are the same commands that a person would type, each in a process of its own; this one stays light.
"""

import json
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import httpx
import numpy as np
from msgspec import Struct

from service.repository.layout import find_versions
from service.repository.manifest import Manifest
from service.repository.samples import Samples
from service.repository.signature import TensorSpec
from training.children import child
from training.errors import DemoFailed
from training.spec.reading import read_spec
from training.stopping import Stopped
from training.terminal import own_terminal

_START_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_SHADES: Final = " .:-=+*#%@"
_SHOWN: Final = 8  # values of a row
AXON: Final = (sys.executable, "-m", "service.cli")


class Address(Struct, frozen=True):
    """Where the server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """URL for a client on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 -- recognised, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def run(spec: Path, repository: Path, address: Address, *, axon: Sequence[str] = AXON) -> None:
    """Run the whole demo; returns when it is told to stop while serving.

    `axon` is the command that has the subcommands train and serve. Raises DemoFailed if training or the server ends early,
    and exits with 128 + the signal's number when stopped before the model is published.
    """
    name = read_spec(spec).name
    _require_free(address)
    with own_terminal():
        try:
            _train([*axon, "train", str(spec), "--repository", str(repository)])
        except Stopped as stopped:
            click.echo("Stopped before the model was published.", err=True)
            sys.exit(stopped.exit_code)
        _require_free(address)  # again: another server there would answer in the place of ours
        try:
            where = ["--host", address.host, "--port", str(address.port)]
            with child([*axon, "serve", str(repository), *where]) as server:
                _wait_until_ready(server, address.url)
                _show_prediction(repository / name, address.url)
                raise _ended(server.wait())
        except Stopped:
            click.echo("Stopped.")


def _train(command: Sequence[str]) -> None:
    """Raise DemoFailed if training fails; it has said why itself."""
    with child(command) as process:
        if code := process.wait():
            raise DemoFailed(f"Training ended with exit code {code}; there is no model to serve.")


def _require_free(address: Address) -> None:
    """Raise DemoFailed before minutes are spent if the server could not listen afterwards."""
    try:
        family, kind, _, _, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except OSError as error:
        raise DemoFailed(
            f"Cannot listen on {address.host} port {address.port}: {error.strerror}. "
            "Choose another port with --port, or with PORT= for make run."
        ) from error


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    """Wait for the server's readiness. Raises DemoFailed if it ends, or is not ready in a minute."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/v2/health/ready", timeout=2, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass  # not listening yet
        try:
            raise _ended(server.wait(_POLL_SECONDS))
        except subprocess.TimeoutExpired:
            continue
    raise DemoFailed(f"The server at {url} was not ready after {_START_SECONDS:.0f} seconds.")


def _ended(code: int) -> DemoFailed:
    return DemoFailed(f"The server ended by itself with exit code {code}.")


def _show_prediction(model_directory: Path, url: str) -> None:
    """Send a sample of the newest version, a row of the test split, and print what came back and how to do the same."""
    directory = list(find_versions(model_directory).values())[-1]
    manifest, samples = Manifest.read(directory), Samples.read(directory)
    if samples is None:
        raise DemoFailed(f"{directory} has no samples to send.")
    row = _whole_row(samples.inputs)
    inputs = {name: rows[row : row + 1] for name, rows in samples.inputs.items()}
    request = json.dumps(_request(manifest, inputs), separators=(",", ":"))
    infer = f"{url}/v2/models/{manifest.name}/infer"
    response = httpx.post(infer, content=request, headers={"content-type": "application/json"}, trust_env=False)
    if response.status_code != httpx.codes.OK:
        raise DemoFailed(f"POST {infer} gave {response.status_code}: {response.text[:500]}")
    answers = {output["name"]: np.asarray(output["data"], dtype=np.float64).ravel() for output in response.json()["outputs"]}
    click.echo(f"\n{_pictured(inputs)}\n")
    for output in manifest.signature.outputs:
        click.echo(_told(output, manifest.dataset.get("sample_targets", {}).get(output.name), answers[output.name], row))
    click.echo()
    click.echo(_addresses(manifest, url))
    click.echo(f"\nTry it:\n\ncurl {infer} -H 'content-type: application/json' -d {shlex.quote(request)}\n")
    click.echo("Serving until Ctrl-C.")


def _whole_row(inputs: Mapping[str, np.ndarray[Any, Any]]) -> int:
    """Return the first sample without a missing number, which JSON cannot hold; 0 if there is none."""
    numbers = [rows.reshape(len(rows), -1) for rows in inputs.values() if rows.dtype.kind == "f"]
    whole = [~np.isnan(rows).any(axis=1) for rows in numbers]
    return int(np.argmax(np.all(whole, axis=0))) if whole else 0


def _told(output: TensorSpec, truths: Sequence[Any] | None, answer: np.ndarray[Any, Any], row: int) -> str:
    """Say what the model predicts for a sample, and what it should; `truths` are those of all samples, where they are known."""
    truth = None if truths is None else truths[row]
    if isinstance(truth, str):
        best = int(answer.argmax())
        return f"A held-out row, labelled {truth}. Predicted {output.labels[best]} with probability {answer[best]:.4f}."
    predicted = ", ".join(f"{value:.6g}" for value in answer[:_SHOWN])
    if truth is not None:
        told = ", ".join(f"{value:.6g}" for value in truth[:_SHOWN])
        return f"A held-out row, whose {output.name} is {told} {output.unit}".rstrip() + f". Predicted {predicted}."
    return f"A held-out row. {output.name}: {predicted}{' ...' if len(answer) > _SHOWN else ''}."


def _request(manifest: Manifest, inputs: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Return the Open Inference Protocol request for one row; whole numbers are written as such, to be short."""
    return {
        "inputs": [
            {
                "name": spec.name,
                "shape": list(inputs[spec.name].shape),
                "datatype": spec.datatype,
                "data": [_plain(value) for value in inputs[spec.name].ravel().tolist()],
            }
            for spec in manifest.signature.inputs
        ]
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 -- a number, a string or a bool
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _pictured(inputs: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """Show one row: a picture, or its columns."""
    if len(inputs) == 1:
        return _picture(next(iter(inputs.values()))[0])
    return "\n".join(f"    {name}  {rows[0]}" for name, rows in inputs.items())


def _picture(row: np.ndarray[Any, Any]) -> str:
    """Draw a grey picture with characters, two a pixel; anything else is written as numbers."""
    row = row[..., 0] if row.shape[-1:] == (1,) else row
    if row.ndim != 2:  # noqa: PLR2004 -- rows and columns
        return str(row)
    shades = np.round(row / max(float(row.max()), 1e-9) * (len(_SHADES) - 1)).astype(int)
    return "\n".join("    " + "".join(_SHADES[shade] * 2 for shade in line) for line in shades)


def _addresses(manifest: Manifest, url: str) -> str:
    return "\n".join(
        (
            f"  health    {url}/v2/health/ready",
            f"  metadata  {url}/v2/models/{manifest.name}",
            f"  metrics   {url}/metrics",
            f"  API       {url}/openapi.json",
        )
    )
