"""The commands against an S3-compatible server in a process of its own."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.repository.manifest import Manifest

Publish = Callable[..., Manifest]
Axon = Callable[..., Any]


def test_pushed_package_is_pulled_as_it_is(bucket: Any, axon: Axon, tmp_path: Path, publish_affine: Publish) -> None:
    for scale in (1, 2):
        publish_affine(tmp_path / "mine" / "m", scale=scale)
    (tmp_path / "mine" / "m" / "model.toml").write_text("required = true\n")

    for named in ("m/1", "m"):
        done = axon("push", tmp_path / "mine" / named, bucket.url, **bucket.environ)
        assert (done.returncode, done.stderr) == (0, "")
    assert bucket.keys() == [
        "m/1/manifest.json", "m/1/model.onnx", "m/2/manifest.json", "m/2/model.onnx", "m/model.toml",
    ]  # fmt: skip
    done = axon("pull", bucket.url, tmp_path / "local", "--version", "all", **bucket.environ)

    assert (done.returncode, done.stderr) == (0, "")
    for path in (tmp_path / "mine").rglob("*"):
        copy = tmp_path / "local" / path.relative_to(tmp_path / "mine")
        assert path.is_dir() or copy.read_bytes() == path.read_bytes()
    again = axon("pull", bucket.url, tmp_path / "local", "--version", "all", **bucket.environ)
    assert again.stdout == "m/1  is there already\nm/2  is there already\n"


def test_file_of_several_parts_comes_whole(bucket: Any, axon: Axon, tmp_path: Path, publish_affine: Publish) -> None:
    """It is larger than what is asked for at once, and is stored in parts."""
    publish_affine(tmp_path / "mine" / "m")
    weights = bytes(range(256)) * (40 * 4096)
    (tmp_path / "mine" / "m" / "7").mkdir()
    (tmp_path / "mine" / "m" / "7" / "weights.bin").write_bytes(weights)
    (tmp_path / "mine" / "m" / "1" / "model.onnx").rename(tmp_path / "mine" / "m" / "7" / "model.onnx")

    axon("push", tmp_path / "mine" / "m" / "7", bucket.url, **bucket.environ)
    done = axon("pull", bucket.url, tmp_path / "local", **bucket.environ)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "local" / "m" / "7" / "weights.bin").read_bytes() == weights


def test_of_publishers_at_the_same_time_one_wins(bucket: Any, tmp_path: Path, publish_affine: Publish) -> None:
    """The others are told, and the version in the store is whole: no file of another's is among its own."""
    publishers = range(4)
    for number in publishers:
        publish_affine(tmp_path / str(number) / "m", scale=number + 1)

    running = [
        subprocess.Popen(
            [sys.executable, "-m", "service.cli", "push", str(tmp_path / str(number) / "m"), bucket.url],
            env={"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": ""} | bucket.environ,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in publishers
    ]
    ended = [(process.communicate(timeout=60), process.returncode) for process in running]

    assert sorted(status for _, status in ended) == [0, 1, 1, 1]
    winner = next(number for number, (_, status) in enumerate(ended) if status == 0)
    for name in ("manifest.json", "model.onnx"):
        assert bucket.read(f"m/1/{name}") == (tmp_path / str(winner) / "m" / "1" / name).read_bytes()
    for (_, complaint), status in ended:
        assert status == 0 or re.fullmatch(r"axon: .*(There is another|Another) m/1 .*\n", complaint), complaint
    assert bucket.keys() == ["m/1/manifest.json", "m/1/model.onnx"]


def test_object_that_is_not_what_the_manifest_says_is_refused(
    bucket: Any, axon: Axon, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(tmp_path / "mine" / "m")
    bucket.copy_in(tmp_path / "mine")
    content = bucket.read("m/1/model.onnx")
    bucket.write("m/1/model.onnx", content[:-1] + bytes([content[-1] ^ 1]))

    done = axon("pull", bucket.url, tmp_path / "local", **bucket.environ)

    assert done.returncode == 1
    assert re.fullmatch(r"axon: .*model\.onnx has \d+ bytes and SHA-256 .*\n", done.stderr)
    assert list((tmp_path / "local" / "m").iterdir()) == []


@pytest.mark.parametrize("key", ["m/1/../../../outside", "../outside", "m//1/model.onnx"])
def test_key_that_leads_outside_is_refused(key: str, bucket: Any, axon: Axon, tmp_path: Path) -> None:
    bucket.write(key, b"outside")
    try:
        done = axon("pull", bucket.url, tmp_path / "local", **bucket.environ)
    finally:
        bucket.remove(key)

    assert done.returncode == 1
    assert re.fullmatch(r"axon: .*the key '.*' is no path\. Remove that object\.\n", done.stderr), done.stderr
    assert list(tmp_path.rglob("outside")) == []


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": "topsecret"}, r"credentials \(403 Forbidden: SignatureDoesNotMatch\)", id="secret"),
        pytest.param({"AWS_ACCESS_KEY_ID": "AKIATOPSECRET"}, r"credentials \(403 Forbidden: InvalidAccessKeyId\)", id="key"),
        pytest.param({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "cannot be reached: nothing listens there", id="nothing listens"),
        pytest.param({"AWS_ENDPOINT_URL": "http://nowhere.invalid"}, "its host name is not known", id="no such host"),
        pytest.param({"AWS_ALLOW_HTTP": "false"}, "plain http.*AWS_ALLOW_HTTP=true", id="plain http"),
    ],
)
def test_what_is_wrong_is_one_line_without_a_secret(
    changed: dict[str, str], complaint: str, bucket: Any, axon: Axon, tmp_path: Path, publish_affine: Publish
) -> None:
    publish_affine(tmp_path / "mine" / "m")
    environ = bucket.environ | changed

    for arguments in (("pull", bucket.url, tmp_path / "local"), ("push", tmp_path / "mine" / "m", bucket.url)):
        done = axon(*arguments, **environ)

        assert done.returncode == 1
        assert re.fullmatch(rf"axon: Cannot .*{complaint}.*\n", done.stderr), done.stderr
        for secret in (environ["AWS_SECRET_ACCESS_KEY"], environ["AWS_ACCESS_KEY_ID"]):
            assert secret not in done.stderr


def test_endpoint_that_speaks_no_tls_is_said(bucket: Any, axon: Axon, tmp_path: Path) -> None:
    endpoint = bucket.environ["AWS_ENDPOINT_URL"].replace("http:", "https:")

    done = axon("pull", bucket.url, tmp_path / "local", **bucket.environ | {"AWS_ENDPOINT_URL": endpoint})

    assert re.fullmatch(r"axon: .*cannot be reached: it does not speak TLS.*\n", done.stderr), done.stderr


def test_bucket_that_is_not_there_is_said(bucket: Any, axon: Axon, tmp_path: Path, publish_affine: Publish) -> None:
    publish_affine(tmp_path / "mine" / "m")

    for arguments in (("pull", "s3://nowhere/x", tmp_path / "local"), ("push", tmp_path / "mine" / "m", "s3://nowhere/x")):
        done = axon(*arguments, **bucket.environ)

        assert done.returncode == 1
        assert re.fullmatch(r"axon: .*there is no such bucket \(404 Not Found: NoSuchBucket\).*\n", done.stderr), done.stderr
