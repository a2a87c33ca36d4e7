"""Shared by the training tests: the committed spec, and one real training run of it."""

import os
from pathlib import Path

import pytest

from service.repository.manifest import Manifest
from training.progress import QuietDisplay
from training.spec import TrainingSpec
from training.spec.reading import read_spec

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SPEC_FILE = Path(__file__).parents[2] / "training" / "specs" / "digits_cnn.toml"


@pytest.fixture(scope="session")
def spec_file() -> Path:
    """Path of the committed digits spec."""
    return SPEC_FILE


@pytest.fixture(scope="session")
def digits_spec() -> TrainingSpec:
    """Read the committed digits spec."""
    return read_spec(SPEC_FILE)


@pytest.fixture(scope="session")
def published(digits_spec: TrainingSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Train digits by the committed spec; return the directory and the manifest."""
    from training import pipeline  # noqa: PLC0415 -- TensorFlow is loaded only by the tests that need it

    repository = tmp_path_factory.mktemp("models")
    run = pipeline.Run(workdir=tmp_path_factory.mktemp("run"), command="axon train digits.toml")
    manifest = pipeline.train(digits_spec, repository, QuietDisplay(), run=run)
    return repository / manifest.name / str(manifest.version), manifest
