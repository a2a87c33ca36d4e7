"""Plain web servers, TLS that is not trusted, and the credentials of other stores than S3."""

import functools
import json
import re
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from service.repository.manifest import Manifest

Publish = Callable[..., Manifest]
SELF_SIGNED = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=store"]
Axon = Callable[..., Any]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, lists nothing that a store could read, and knows neither ranges nor tags."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name of the overridden method
        """Say nothing."""


@pytest.fixture
def web(shelf: Path) -> Iterator[ThreadingHTTPServer]:
    """Serve the directory of the store."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(shelf)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def url(web: ThreadingHTTPServer) -> str:
    """Give its URL."""
    return f"http://127.0.0.1:{web.server_port}"


def test_named_package_comes_from_a_server_that_cannot_list(
    url: str, shelf: Path, axon: Axon, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(shelf / "m")

    unnamed = axon("pull", url, tmp_path / "local")
    named = axon("pull", url, tmp_path / "local", "--model", "m", "--version", "1")
    again = axon("pull", url, tmp_path / "local", "--model", "m", "--version", "1")

    assert unnamed.returncode == 1
    assert re.fullmatch(r"axon: .*cannot be listed.*Name one package: --model NAME --version N\.\n", unnamed.stderr)
    assert (named.stdout, named.stderr) == ("m/1  fetched, 2 files, checked\n", "")
    assert (tmp_path / "local" / "m" / "1" / "model.onnx").read_bytes() == (shelf / "m" / "1" / "model.onnx").read_bytes()
    assert again.stdout == "m/1  is there already\n"


def test_package_that_a_server_has_not_is_said(url: str, axon: Axon, tmp_path: Path) -> None:
    done = axon("pull", url, tmp_path / "local", "--model", "m", "--version", "1")

    assert re.fullmatch(r"axon: Cannot read m/1/manifest\.json in http://\S+: there is no such object\.\n", done.stderr)


def test_web_server_takes_no_package(url: str, axon: Axon, tmp_path: Path, publish_affine: Publish) -> None:
    publish_affine(tmp_path / "mine" / "m")

    done = axon("push", tmp_path / "mine" / "m", url)

    assert done.returncode == 1
    assert re.fullmatch(r"axon: Cannot .*the store cannot do that.*\n", done.stderr)


def test_certificate_that_nobody_trusts_is_said(
    web: ThreadingHTTPServer, shelf: Path, axon: Axon, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(shelf / "m")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [*SELF_SIGNED, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    web.socket = context.wrap_socket(web.socket, server_side=True)
    address = f"https://127.0.0.1:{web.server_port}"

    done = axon("pull", address, tmp_path / "local", "--model", "m", "--version", "1")

    assert done.returncode == 1
    assert re.fullmatch(r"axon: Cannot .*its certificate is not trusted \(\w+\)\..*\n", done.stderr), done.stderr


SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIA",
    "AWS_SECRET_ACCESS_KEY": "topsecret",
    "AZURE_STORAGE_ACCOUNT_NAME": "account",
    "AZURE_ALLOW_HTTP": "true",
}
# Of an account that signs nothing, for an emulator.
EMULATOR = json.dumps(
    {"gcs_base_url": "http://127.0.0.1:1", "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
)


@pytest.mark.parametrize(
    ("url", "environ", "complaint"),
    [
        pytest.param(
            "az://container/x",
            {"AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1", "AZURE_STORAGE_SAS_TOKEN": "sv=2020&sig=topsecret"},
            "nothing listens there",
            id="Azure with a signed token",
        ),
        pytest.param("az://container/x", {"AZURE_STORAGE_ACCOUNT_KEY": "topsecret!"}, "Invalid Access Key", id="Azure, no key"),
        pytest.param("az://container/x", {"AZURE_STORAGE_ACCOUNT_NAME": ""}, "Account|credentials|account", id="Azure, no account"),
        pytest.param("gs://bucket/x", {"GOOGLE_SERVICE_ACCOUNT_KEY": '"topsecret"'}, "service account", id="Google, no key"),
        pytest.param("gs://bucket/x", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere"}, "service account", id="Google, no file"),
        pytest.param(
            "az://container/x",
            {"AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5", "AZURE_ALLOW_HTTP": "false"},
            r"plain http, .* set AZURE_ALLOW_HTTP=true\.",
            id="Azure, plain http",
        ),
        pytest.param(
            "gs://bucket/x",
            {"GOOGLE_SERVICE_ACCOUNT_KEY": EMULATOR, "GOOGLE_ALLOW_HTTP": "false"},
            r"plain http, .* set GOOGLE_ALLOW_HTTP=true\.",
            id="Google, plain http",
        ),
        pytest.param(
            "gs://bucket/x",
            {"GOOGLE_SERVICE_ACCOUNT_KEY": EMULATOR, "GOOGLE_ALLOW_HTTP": "true"},
            "nothing listens there",
            id="Google, nothing listens",
        ),
        pytest.param("s3://bucket/x", {"AWS_ENDPOINT_URL": "topsecret"}, "gives up. Check the endpoint", id="S3, no endpoint"),
    ],
)
def test_other_stores_say_what_is_wrong_without_a_secret(
    url: str, environ: dict[str, str], complaint: str, axon: Axon, tmp_path: Path
) -> None:
    done = axon("pull", url, tmp_path / "local", **SECRETS | environ)

    assert done.returncode == 1
    assert re.search(rf"^axon: Cannot .*({complaint}).*\n\Z", done.stderr, re.MULTILINE), done.stderr
    assert "topsecret" not in done.stderr
    assert "Traceback" not in done.stderr
