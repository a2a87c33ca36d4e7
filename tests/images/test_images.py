"""The images, really built and run: `make images`. Needs root, buildah, debootstrap and unshare; minutes, and gigabytes of disk.

The registries of the real bases need not be within reach: a Debian with Python stands in for them under their names. What a build
takes from the package index is what it takes anywhere.
"""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

pytestmark = pytest.mark.images

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
OWNER = 65532
CPU_LIMIT_MB = 300
DEADLINE = 120.0
NINE = [0, 0, 0, 3, 12, 16, 15, 1, 0, 0, 3, 16, 9, 10, 16, 0, 0, 0, 14, 13, 7, 15, 10, 0, 0, 2, 16, 16, 16, 16, 2, 0]
NINE += [0, 2, 12, 9, 13, 8, 0, 0, 0, 0, 0, 0, 15, 5, 0, 0, 0, 0, 0, 3, 16, 1, 0, 0, 0, 0, 0, 3, 14, 1, 0, 0]
# Makes the root file system read-only but for what the arguments mount, and becomes the user of the image.
CONTAINER = """
set -e
owner=$0 root=$1; shift
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    case $1 in
        tmpfs) mount -t tmpfs tmpfs "$root$2";;
        ro:*) mount --bind "${1#ro:}" "$root$2"; mount -o remount,ro,bind "$root$2";;
        rw:*) mount --bind "${1#rw:}" "$root$2";;
    esac
    shift 2
done
shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -o remount,ro,bind "$root"
exec chroot --userspec="$owner:$owner" "$root" "$@"
"""


class Images:
    """buildah with a storage of its own."""

    def __init__(self, place: Path) -> None:
        self._options = ["--root", str(place / "store"), "--runroot", str(place / "run"), "--storage-driver", "vfs"]

    def __call__(self, *arguments: str) -> str:
        """Run buildah and return what it prints."""
        command = ["buildah", *self._options, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

    def build(self, dockerfile: Path, tag: str, *options: str) -> str:
        """Build an image of the project."""
        certificates = ["-v", "/etc/ssl/certs:/etc/ssl/certs:ro"]
        how = ["--isolation", "chroot", "--network", "host", "--pull-never", "--format", "docker", *certificates, *options]
        return self("build", *how, "-f", str(dockerfile), "-t", tag, str(ROOT))

    def config(self, image: str) -> dict[str, Any]:
        """Return how an image is to be run."""
        found = json.loads(self("inspect", "--type", "image", image))["Docker"]["config"]
        assert isinstance(found, dict)
        return found

    def files(self, image: str) -> Path:
        """Return the directory that holds the files of an image."""
        return Path(self("mount", self("from", "--pull-never", image)))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """Build the stand-ins of the bases."""
    missing = [tool for tool in ("buildah", "debootstrap", "unshare") if shutil.which(tool) is None]
    assert not missing, f"install {', '.join(missing)}"
    place = tmp_path_factory.mktemp("images")
    rootfs = place / "rootfs"
    packages = "python3,python3-venv,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(rootfs)], check=True)
    subprocess.run(["tar", "-C", str(rootfs), "-cf", str(place / "base.tar"), "."], check=True)
    (place / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
    built = Images(place)
    for dockerfile in DOCKER.glob("*.Dockerfile"):
        for base in re.findall(r"^ARG \w+_IMAGE=(\S+)$", dockerfile.read_text(), re.MULTILINE):
            built("build", "-f", str(place / "Dockerfile"), "-t", base, str(place))
    yield built
    built("rm", "--all")


@contextmanager
def container(root: Path, mounts: Sequence[tuple[str, str]], environ: dict[str, str], *command: str) -> Iterator[Any]:
    """Run a command of the image as its user, on a read-only root file system."""
    arguments = [word for mount in mounts for word in mount]
    variables = [f"{key}={value}" for key, value in environ.items()]
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", CONTAINER, str(OWNER), str(root), *arguments, "--", "env", "-i", *variables, *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def environment(config: dict[str, Any]) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in config["Env"])


def megabytes(directory: Path) -> float:
    return sum(path.lstat().st_size for path in directory.rglob("*")) / 1e6


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def wait_until_ready(url: str, process: Any) -> None:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(url + "/v2/health/ready", timeout=1).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    process.kill()
    pytest.fail(process.communicate()[0])


@pytest.fixture(scope="module")
def service(images: Images) -> tuple[Path, dict[str, Any]]:
    """Build the service's image; give its files and its configuration."""
    images.build(DOCKER / "service-cpu.Dockerfile", "axon:cpu", "--build-arg", "VERSION=1.2.3", "--build-arg", "REVISION=abc")
    return images.files("localhost/axon:cpu"), images.config("localhost/axon:cpu")


def test_service_image_says_what_it_is_and_how_it_runs(service: tuple[Path, dict[str, Any]]) -> None:
    _, config = service

    assert config["User"] == f"{OWNER}:{OWNER}"
    assert config["Entrypoint"] == ["axon"]
    assert config["StopSignal"] == "SIGTERM"
    assert {"8000/tcp", "8001/tcp"} <= config["ExposedPorts"].keys()
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Labels"]["org.opencontainers.image.version"] == "1.2.3"
    assert config["Labels"]["org.opencontainers.image.revision"] == "abc"


def test_service_image_is_small_and_holds_no_tools(service: tuple[Path, dict[str, Any]]) -> None:
    root, _ = service
    packages = {path.name.split("-")[0].lower() for path in root.glob("opt/axon/lib/python3*/site-packages/*.dist-info")}
    parts = {component["name"] for component in json.loads((root / "opt/axon/sbom.cdx.json").read_text())["components"]}

    assert megabytes(root / "opt/axon") < CPU_LIMIT_MB
    assert packages.isdisjoint({"tensorflow", "tensorflow_cpu", "keras", "onnx", "pip", "setuptools", "hatchling"})
    assert {"axon-serving", "onnxruntime", "litestar"} <= parts
    assert not any((root / "usr/bin" / tool).exists() for tool in ("gcc", "cc", "make"))
    assert not any(root.glob("opt/axon/**/tests"))


def test_service_image_serves_as_nobody_on_a_read_only_root(service: tuple[Path, dict[str, Any]]) -> None:
    root, config = service
    port = free_port()
    environ = environment(config) | {"AXON_HOST": "127.0.0.1", "AXON_PORT": str(port), "AXON_GRPC_PORT": str(free_port())}
    mounts = [(f"ro:{ROOT / 'models'}", "/models")]
    with container(root, mounts, environ, *config["Entrypoint"], *config["Cmd"]) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process)
        tensor = {"name": "image", "datatype": "FP32", "shape": [1, 8, 8], "data": NINE}
        answer = requests.post(f"{url}/v2/models/digits/infer", json={"inputs": [tensor]}, timeout=DEADLINE).json()
        owner = Path(f"/proc/{process.pid}").stat().st_uid
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=DEADLINE)

        assert answer["outputs"][0]["data"].index(max(answer["outputs"][0]["data"])) == 9
        assert owner == OWNER
        assert process.returncode == 0, log
        assert "Traceback" not in log


def test_service_image_fetches_from_a_store_as_nobody(service: tuple[Path, dict[str, Any]]) -> None:
    """The library of object stores is in it, and works on a read-only root."""
    root, config = service
    mounts = [(f"ro:{ROOT / 'models'}", "/models"), ("tmpfs", "/tmp")]
    command = [*config["Entrypoint"], "pull", "file:///models", "/tmp/local", "--model", "digits"]
    with container(root, mounts, environment(config), *command) as process:
        log, _ = process.communicate(timeout=DEADLINE)

        assert process.returncode == 0, log
        assert re.fullmatch(r"digits/\d+  fetched, \d+ files, checked\n", log), log


def test_health_check_of_the_image_tells_a_live_server_from_none(service: tuple[Path, dict[str, Any]]) -> None:
    root, config = service
    port = free_port()
    environ = environment(config) | {"AXON_HOST": "127.0.0.1", "AXON_PORT": str(port), "AXON_GRPC_PORT": str(free_port())}
    check = config["Healthcheck"]["Test"][1:]

    def healthy() -> bool:
        with container(root, [], environ, *check) as process:
            process.communicate(timeout=DEADLINE)
            return bool(process.returncode == 0)

    before = healthy()
    with container(root, [(f"ro:{ROOT / 'models'}", "/models")], environ, "axon", "serve") as process:
        wait_until_ready(f"http://127.0.0.1:{port}", process)

        assert (before, healthy()) == (False, True)


def test_gpu_image_holds_the_gpu_build_alone_and_serves_nothing_without_one(images: Images) -> None:
    """Without a device every model is refused, and says why: none runs on the CPU instead."""
    images.build(DOCKER / "service-gpu.Dockerfile", "axon:gpu")
    root, config = images.files("localhost/axon:gpu"), images.config("localhost/axon:gpu")
    packages = {path.name.split("-")[0] for path in root.glob("opt/axon/lib/python3*/site-packages/*.dist-info")}
    with container(root, [(f"ro:{ROOT / 'models'}", "/models")], environment(config), "axon", "serve") as process:
        log = "".join(iter_until(process.stdout, r"\d+ of \d+ models ready"))

        assert {package for package in packages if package.startswith("onnxruntime")} == {"onnxruntime_gpu"}
        assert re.search(r"\b0 of \d+ models ready", log), log
        assert "CUDAExecutionProvider" in log
        assert "Traceback" not in log


def iter_until(lines: Iterable[str], last: str) -> Iterator[str]:
    """Give lines up to the one that holds a pattern."""
    for line in lines:
        yield line
        if re.search(last, line):
            return


def test_training_image_trains_and_publishes_as_nobody(images: Images, tmp_path: Path, chown: Callable[[Path], Path]) -> None:
    images.build(DOCKER / "training.Dockerfile", "axon:training")
    root, config = images.files("localhost/axon:training"), images.config("localhost/axon:training")
    work, models = chown(tmp_path / "work"), chown(tmp_path / "models")
    mounts = [
        (f"rw:{work}", "/workspace"), (f"rw:{models}", "/models"), ("tmpfs", "/tmp"),
        (f"ro:{ROOT / 'training' / 'specs'}", "/specs"),
    ]  # fmt: skip
    command = ["sh", "-c", 'cd /workspace && exec "$@"', "sh", *config["Entrypoint"]]
    with container(root, mounts, environment(config), *command, "train", "/specs/wine.toml", "--repository", "/models") as process:
        log, _ = process.communicate(timeout=10 * DEADLINE)

        assert process.returncode == 0, log
        assert (models / "wine" / "1" / "manifest.json").is_file()
        assert config["User"] == f"{OWNER}:{OWNER}"


@pytest.fixture
def chown() -> Callable[[Path], Path]:
    """Return a function that makes a directory of the image's user."""

    def make(directory: Path) -> Path:
        directory.mkdir()
        shutil.chown(directory, OWNER, OWNER)
        return directory

    return make
