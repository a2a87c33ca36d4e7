from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.settings import Settings

NOWHERE = Path("/nonexistent")


def loaded(directory: Path = NOWHERE, environ: dict[str, str] | None = None, overrides: dict[str, Any] | None = None) -> Settings:
    return Settings.load(environ=environ or {}, directory=directory, overrides=overrides or {})


@pytest.fixture
def axon_toml(tmp_path: Path) -> Path:
    """Make a directory with an axon.toml."""
    content = 'repository = "/m"\nhost = "0.0.0.0"\nport = 1\nlog_level = "debug"\n'
    (tmp_path / "axon.toml").write_text(content, encoding="utf-8")
    return tmp_path


def test_without_sources_everything_has_its_default() -> None:
    assert loaded() == Settings()
    assert (Settings().host, Settings().port) == ("127.0.0.1", 8000)


def test_environment_outranks_the_file_and_the_command_line_outranks_both(axon_toml: Path) -> None:
    settings = loaded(axon_toml, {"AXON_PORT": "2", "AXON_LOG_LEVEL": "error"}, {"port": 3, "host": None})

    assert settings.repository == "/m"
    assert (settings.host, settings.log_level, settings.port) == ("0.0.0.0", "error", 3)  # noqa: S104 -- nothing listens


def test_text_of_the_environment_becomes_numbers_and_paths() -> None:
    settings = loaded(environ={"AXON_REPOSITORY": "/m", "AXON_MAX_BODY_SIZE": "1000"})

    assert (settings.repository, settings.max_body_size) == ("/m", 1000)


def test_other_variables_are_of_no_interest() -> None:
    assert loaded(environ={"PORT": "9", "AXONS_PORT": "9", "PATH": "/bin"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AXON_PORT", "tcp://10.96.0.12:8000"),
        ("AXON_SERVICE_HOST", "10.96.0.12"),
        ("AXON_SERVICE_PORT", "8000"),
        ("AXON_SERVICE_PORT_HTTP", "8000"),
        ("AXON_PORT_8000_TCP", "tcp://10.96.0.12:8000"),
        ("AXON_PORT_8000_TCP_ADDR", "10.96.0.12"),
        ("AXON_METRICS_SERVICE_HOST", "10.96.0.12"),
        ("AXON_METRICS_PORT", "udp://10.96.0.12:8000"),
        ("AXON_METRICS_PORT_9000_UDP", "udp://10.96.0.12:8000"),
    ],
)
def test_variables_that_kubernetes_sets_for_a_service_are_ignored(name: str, value: str) -> None:
    assert loaded(environ={name: value}) == Settings()


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        pytest.param({"AXON_PORT": "many"}, "Setting 'port' in the environment is 'many': Expected `int`", id="no number"),
        pytest.param(
            {"AXON_PORT": "65536"}, "Setting 'port' in the environment is '65536': Expected `int` <= 65535", id="too large"
        ),
        pytest.param({"AXON_WATCH_INTERVAL": "inf"}, "Setting 'watch_interval' .* `float` <= 86400", id="no time to wait for"),
        pytest.param({"AXON_WATCH_INTERVAL": "1e-5"}, "Setting 'watch_interval' .* `float` >= 0.01", id="too short to wait"),
        pytest.param({"AXON_LOG_LEVEL": "loud"}, "Setting 'log_level' in the environment is 'loud'", id="no such level"),
        pytest.param({"AXON_PROT": "1"}, "Unknown setting 'prot' in the environment. Known: .*port", id="typo"),
    ],
)
def test_mistake_in_the_environment_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        loaded(environ=environ)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        pytest.param("prot = 1", "Unknown setting 'prot' in .*axon.toml. Known: .*port", id="typo"),
        pytest.param("port = [1]", r"Setting 'port' in .*axon.toml is \[1\]: Expected `int`, got `array`", id="wrong type"),
        pytest.param(
            "repository = 1", "Setting 'repository' in .*axon.toml is 1: Expected `str`, got `int`", id="number for a path"
        ),
        pytest.param("max_body_size = 0", "Setting 'max_body_size' in .*axon.toml is 0: Expected `int` >= 1", id="too small"),
        pytest.param("port =", "Cannot read .*axon.toml", id="no TOML"),
    ],
)
def test_mistake_in_the_file_is_named(toml: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "axon.toml").write_text(toml, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=message):
        loaded(tmp_path)


def test_mistake_is_found_though_a_higher_source_overrides_it(axon_toml: Path) -> None:
    with pytest.raises(ConfigurationError, match="in the environment"):
        loaded(axon_toml, {"AXON_PORT": "many"}, {"port": 1})
