"""An S3-compatible server in a process of its own, which checks credentials; and the commands, as a person runs them."""

import importlib.util
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from service.cli import main
from service.repository.manifest import Manifest
from service.repository.signature import Signature, TensorSpec
from service.storage.address import Address

PATIENCE = 60.0
_UNCHECKED_CALLS = 4  # that make the user, its key and the bucket; from then on the server checks


@dataclass
class Bucket:
    """A part of the bucket that is a test's own, and what a client needs to reach it."""

    url: str
    prefix: str
    environ: dict[str, str]
    client: Any

    def keys(self) -> list[str]:
        """List the keys below the URL."""
        found = self.client.list_objects_v2(Bucket="models", Prefix=f"{self.prefix}/").get("Contents", [])
        return sorted(entry["Key"].removeprefix(f"{self.prefix}/") for entry in found)

    def write(self, key: str, content: bytes) -> None:
        """Put an object, in place of what is there."""
        self.client.put_object(Bucket="models", Key=f"{self.prefix}/{key}", Body=content)

    def read(self, key: str) -> bytes:
        """Return the content of an object."""
        content: bytes = self.client.get_object(Bucket="models", Key=f"{self.prefix}/{key}")["Body"].read()
        return content

    def remove(self, *keys: str) -> None:
        """Remove objects."""
        for key in keys:
            self.client.delete_object(Bucket="models", Key=f"{self.prefix}/{key}")

    def copy_in(self, directory: Path) -> None:
        """Put all files below a directory, as any tool would."""
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                self.write(path.relative_to(directory).as_posix(), path.read_bytes())


class S3Server:
    """The server: it can be stopped and started again, empty."""

    def __init__(self) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("s3_server.py")), str(self.port)],
            env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(_UNCHECKED_CALLS)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self.process.poll() is None, "the S3 server has ended"
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the S3 server does not answer")

    def client(self, service: str, key: str, secret: str) -> Any:
        """Connect to one of its services."""
        boto3 = importlib.import_module("boto3")
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret
        )

    def prepared(self) -> dict[str, str]:
        """Make a user who may use the bucket, and return what the environment of a client must hold."""
        iam = self.client("iam", "nobody", "nothing")
        iam.create_user(UserName="publisher")
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam.put_user_policy(UserName="publisher", PolicyName="all", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName="publisher")["AccessKey"]
        self.client("s3", "nobody", "nothing").create_bucket(Bucket="models")
        return {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[tuple[S3Server, dict[str, str]]]:
    """Start the server once for all tests."""
    for package in ("moto", "flask", "flask_cors"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(
                f"the package {package} is not installed: the S3 server of these tests is moto[s3] with flask and flask-cors"
            )
    server = S3Server()
    try:
        server.wait()
        yield server, server.prepared()
    finally:
        server.close()


@pytest.fixture
def bucket(s3_server: tuple[S3Server, dict[str, str]]) -> Bucket:
    """Give an empty prefix of the bucket."""
    server, environ = s3_server
    prefix = secrets.token_hex(4)
    client = server.client("s3", environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"])
    return Bucket(f"s3://models/{prefix}", prefix, dict(environ), client)


@dataclass
class Done:
    """How a command has ended, and what it has written."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def axon(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Return a function that runs a command to its end, with nothing of a store in its environment but what it is given."""

    def run(*arguments: object, **environ: str) -> Done:
        with monkeypatch.context() as patch:
            for name in list(os.environ):
                if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "AXON_")):
                    patch.delenv(name)
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["axon", *map(str, arguments)])
            capfd.readouterr()
            try:
                main()
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 0
        return Done(status, *capfd.readouterr())

    return run


@pytest.fixture
def publish_affine(publish_graph: Callable[..., Manifest], graphs: Any) -> Callable[..., Manifest]:
    """Return a function that publishes y = x @ w as the next version of a model; `scale` makes versions differ."""

    def write(model_directory: Path, *, scale: float = 1.0) -> Manifest:
        nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
        weights = graphs.weights * np.float32(scale)
        graph = graphs.build(nodes, {"x": ("FP32", ["n", 4])}, {"y": ("FP32", ["n", 3])}, w=weights)
        signature = Signature(
            inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),),
            outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 3)),),
        )
        return publish_graph(graph, model_directory, signature)

    return write


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Give a directory that is a store, by its file:// URL."""
    directory = tmp_path / "shelf"
    directory.mkdir()
    return directory


@pytest.fixture
def address(shelf: Path) -> Address:
    """Give the URL of that store."""
    return Address.parse(shelf.as_uri())
