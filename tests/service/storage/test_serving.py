"""`axon serve s3://...` against an S3-compatible server in a process of its own."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from service.repository.manifest import Manifest

Publish = Callable[..., Manifest]
Running = Callable[..., AbstractContextManager[Any]]
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}


@pytest.fixture
def environ(bucket: Any, tmp_path: Path) -> dict[str, str]:
    """Give the environment of a server of the bucket."""
    return {**bucket.environ, "AXON_CACHE_DIRECTORY": str(tmp_path / "cache"), "AXON_WATCH_INTERVAL": "0.3"}


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def version(server: Any) -> str:
    answer = server.infer("m", REQUEST)
    return str(answer.json().get("model_version", answer.status_code))


def test_models_of_the_bucket_are_served(
    bucket: Any, environ: dict[str, str], running: Running, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(tmp_path / "mine" / "m", scale=1)
    publish_affine(tmp_path / "mine" / "m", scale=2)
    bucket.copy_in(tmp_path / "mine")

    with running(bucket.url, **environ) as server:
        assert version(server) == "2"
        assert server.stop() == 0

    assert [path.parent.name for path in (tmp_path / "cache").rglob("model.onnx")] == ["2"]
    assert not any(secret in server.log for secret in (environ["AWS_SECRET_ACCESS_KEY"], environ["AWS_ACCESS_KEY_ID"]))


def test_watching_server_follows_the_bucket(
    bucket: Any, environ: dict[str, str], running: Running, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(tmp_path / "mine" / "m", scale=1)
    bucket.copy_in(tmp_path / "mine")

    with running(bucket.url, "--model-control", "watch", **environ) as server:
        assert version(server) == "1"

        publish_affine(tmp_path / "mine" / "m", scale=2)
        bucket.copy_in(tmp_path / "mine")
        eventually(lambda: version(server) == "2")

        publish_affine(tmp_path / "mine" / "m", scale=3)
        damaged = tmp_path / "mine" / "m" / "3" / "model.onnx"
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
        bucket.copy_in(tmp_path / "mine")
        server.wait_for("version 3 of model m is not taken: .*SHA-256")
        assert version(server) == "2"
        assert server.metric("axon_repository_failures_total") >= 1  # at each look

        bucket.remove("m/2/manifest.json", "m/2/model.onnx", "m/3/manifest.json", "m/3/model.onnx")
        eventually(lambda: version(server) == "1")


def test_wrong_credentials_are_one_line_and_the_server_serves_on_what_it_has(
    bucket: Any, environ: dict[str, str], running: Running, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(tmp_path / "mine" / "m")
    bucket.copy_in(tmp_path / "mine")
    with running(bucket.url, **environ) as server:
        assert version(server) == "1"
    wrong = environ | {"AWS_SECRET_ACCESS_KEY": "topsecret"}

    with running(bucket.url, "--model-control", "watch", **wrong) as server:
        assert version(server) == "1"
        eventually(lambda: server.metric("axon_repository_failures_total") >= 3)

    assert server.log.count("refuses the credentials (403 Forbidden: SignatureDoesNotMatch)") == 1
    assert "topsecret" not in server.log
    assert "Traceback" not in server.log


def test_server_without_anything_to_serve_tries_again(
    bucket: Any, environ: dict[str, str], running: Running, tmp_path: Path, publish_affine: Publish
) -> None:
    """Its models are those of the start, but the start is not over before the store has been seen."""
    bucket.write("../outside", b"a key that is no path: the listing fails")

    with running(bucket.url, **environ) as server:
        server.wait_for("there is nothing here to serve yet")
        assert server.get("/v2/health/live").status_code == 200
        assert server.get("/v2/health/ready").status_code == 503
        publish_affine(tmp_path / "mine" / "m")
        bucket.copy_in(tmp_path / "mine")
        bucket.remove("../outside")
        eventually(lambda: server.get("/v2/health/ready").status_code == 200)
        assert version(server) == "1"


def test_workers_fetch_a_version_once(
    bucket: Any, environ: dict[str, str], running: Running, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(tmp_path / "mine" / "m")
    bucket.copy_in(tmp_path / "mine")

    with running(bucket.url, "--workers", "2", **environ) as server:
        server.wait_for("2 of 2 workers ready")
        assert version(server) == "1"
        assert server.log.count("version 1 of model m fetched") == 1


def test_load_call_fetches_what_is_new(
    bucket: Any, environ: dict[str, str], running: Running, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(tmp_path / "mine" / "m")
    bucket.copy_in(tmp_path / "mine")

    with running(bucket.url, "--model-control", "explicit", **environ) as server:
        publish_affine(tmp_path / "mine" / "m", scale=2)
        bucket.copy_in(tmp_path / "mine")
        assert version(server) == "1"
        assert server.http.post(f"{server.url}/v2/repository/models/m/load").status_code == 200
        assert version(server) == "2"


def test_older_version_is_fetched_in_place_of_one_that_does_not_load(
    bucket: Any, environ: dict[str, str], running: Running, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(tmp_path / "mine" / "m")
    bucket.copy_in(tmp_path / "mine")
    bucket.write("m/2/model.onnx", b"a bare graph that is none")

    with running(bucket.url, **environ) as server:
        assert version(server) == "1"


def test_url_that_is_none_ends_the_start(launched: Running) -> None:
    with launched("s3://AKIA:topsecret@bucket/models") as server:
        assert server.ended() == 1
        assert server.log.count("\n") == 1
        assert "from the environment" in server.log
        assert "topsecret" not in server.log
