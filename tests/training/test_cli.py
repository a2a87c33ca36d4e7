import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from training.cli import schema, train

AXON = (sys.executable, "-m", "service.cli")


def test_spec_error_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    result = CliRunner().invoke(train, [str(tmp_path / "absent.toml")])

    assert result.exit_code == 1
    assert result.stderr == f"axon: {tmp_path}/absent.toml: cannot be read: No such file or directory. Expected a TOML file.\n"


def test_missing_train_extra_is_named_with_the_command_to_get_it(spec_file: Path, tmp_path: Path) -> None:
    script = "import sys; sys.modules['keras'] = None; sys.modules['tensorflow'] = None;from training.cli import train; train()"
    done = subprocess.run(
        [sys.executable, "-c", script, spec_file, "--repository", tmp_path, "--quiet"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.endswith("which is not installed. Run: pip install 'axon-serving[train]'\n")
    assert "Traceback" not in done.stderr


def test_commands_load_without_the_heavy_packages() -> None:
    script = (
        "import sys, training.cli;"
        "print({'tensorflow', 'keras', 'sklearn', 'onnx', 'onnxruntime', 'pandas', 'pyarrow', 'matplotlib'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert done.stdout == "set()\n"


def test_schema_of_a_spec_is_printed() -> None:
    result = CliRunner().invoke(schema)

    assert json.loads(result.stdout)["$defs"]["TrainingSpec"]["required"][:2] == ["epochs", "batch_size"]


@pytest.mark.training
def test_training_prints_its_steps_and_no_start_up_notices(spec_file: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.toml"
    short.write_text(spec_file.read_text().replace("epochs = ", "epochs = 2 #").replace("accuracy = 0.98", "accuracy = 0.1"))

    command = [*AXON, "train", short, "--repository", tmp_path / "models", "--workdir", tmp_path / "run"]

    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Published digits_cnn version 1: {tmp_path}/models/digits_cnn/1 (")
    first_words = [line.split()[0] for line in done.stderr.splitlines()]
    assert first_words == ["Training", "Dataset", "Fitting", "epoch", "epoch", "Ran", "ONNX"]


@pytest.mark.training
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_stopped_training_ends_cleanly_and_publishes_nothing(
    spec_file: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    endless = tmp_path / "endless.toml"
    endless.write_text(spec_file.read_text().replace("epochs = ", "epochs = 20000 #").replace("patience = ", "patience = 20000 #"))
    command = [*AXON, "train", str(endless), "--repository", str(tmp_path / "models"), "--workdir", str(tmp_path / "run")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "epoch 1/" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(0.5)  # anywhere inside the fit
        os.kill(process.pid, number)
        guard = threading.Timer(60, process.kill)
        guard.start()
        _, errors = process.communicate()
        guard.cancel()

    assert process.returncode == code
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == (
        f"axon: Stopped. Nothing was published. The fit is kept in {tmp_path}/run; run the same command again to go on from there."
    )
    assert not (tmp_path / "models").exists()
