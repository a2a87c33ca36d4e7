"""Settings of the server: the only place that knows the names of environment variables and of `axon.toml`."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args, get_type_hints

import msgspec

from service.errors import ConfigurationError
from service.observability.logging import Format, Level

FILE_NAME: Final = "axon.toml"
PREFIX: Final = "AXON_"
ModelControl = Literal["static", "watch", "explicit"]
# Kubernetes describes Services in the environment: for one called `axon`, AXON_PORT=tcp://..., AXON_SERVICE_HOST and others.
_SERVICE_LINK = re.compile(r"AXON_(.*_)?(SERVICE_(HOST|PORT.*)=|PORT_\d+_(TCP|UDP|SCTP).*=|PORT=(tcp|udp|sctp)://).*")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set for a server: in axon.toml, as AXON_<NAME> in the environment, or on the command line.

    repository: directory of the models, or its URL in an object store.
    model_name: name of the model if the repository is a single one (a bare model.onnx).
    host: address to listen on; loopback unless set otherwise.
    port: TCP port; 0 takes a free one.
    grpc: whether to serve gRPC beside HTTP.
    grpc_port: TCP port of gRPC; 0 takes a free one. Unset: 8001, or a free one if `port` is 0; if it is taken, only HTTP is served.
    grpc_reflection: whether gRPC clients may ask which services and messages there are.
    workers: processes that serve, each with all models and its share of the CPUs; 1 is this process alone.
    worker_timeout: how long a worker may say nothing before it is taken to hang and is replaced, in seconds.
    metrics_port: TCP port that has the metrics and nothing else; by default they are at /metrics of `port`.
    provider: execution provider of onnxruntime, or `auto`.
    model_control: what changes models after the start: `static` nothing, `watch` the repository, `explicit` load and unload calls.
    watch_interval: how often a watched repository is looked at where file-system events do not come, in seconds.
    log_level: debug, info, warning or error.
    log_format: `text` for a terminal, or `json`: one object a line.
    access_log: whether every call has a line in the log.
    tracing_endpoint: OTLP/HTTP address that takes spans, http://collector:4318 for example; unset, nothing is traced.
    tracing_sample_ratio: part of the calls that is traced, from 0 to 1, of those whose client does not say.
    max_body_size: largest request body, in bytes, after decompression.
    max_pending_bytes: how much the bodies of all requests may take, for each process; a request that finds no room gets a 503.
        A quarter of it, up to 64 MiB, is for those that still come. Unset: a quarter of the memory that the processes may use, but
        twice the largest body.
    min_compress_size: smallest answer of a model that is compressed for a client that accepts it, in bytes.
    cache_directory: where optimised graphs and compiled engines are kept between starts; unset, they are made anew. Models of an
        object store are kept there as well; unset, in .cache/axon of the user's home directory.
    cache_limit: how many bytes of models from an object store are kept; those that are not served go first.
    api_keys: file of API keys, see `axon keys`; with it every call but a health check needs one.
    open_metrics: whether /metrics needs no key; it names models and shows how much they are used.
    tls_certificate, tls_key: PEM files; with them the server speaks TLS only.
    tls_client_ca: PEM file of an authority; with it a client needs a certificate of that authority.
    cors_origins: origins of web pages that may call from a browser, separated by commas, or *.
    allowed_hosts: host names that clients may call the server by, separated by commas; any if empty.
    shutdown_timeout: how long the end may take after SIGTERM, with what is in flight, in seconds.
    shutdown_delay: how long after SIGTERM the server, not ready any more, still accepts: until balancers know, in seconds.
    max_connections: connections at a time; then the one idle for longest makes room, and if none is idle a new one gets a 503.
    keep_alive_timeout: how long a connection may be idle between requests, in seconds; longer than a balancer keeps it.
    header_timeout: how long a request line and its headers may take to come, in seconds.
    body_timeout: how long a body may take to come, in seconds; longer as long as it comes at 16 KiB a second.
    write_timeout: how long a client may take for an answer, in seconds; longer as long as it takes 16 KiB a second.
    """

    repository: str = "models"
    model_name: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
    grpc: bool = True
    grpc_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    grpc_reflection: bool = False
    workers: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    worker_timeout: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    metrics_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    provider: str = "auto"
    model_control: ModelControl = "static"
    watch_interval: Annotated[float, msgspec.Meta(ge=0.01, le=86400)] = 5.0
    log_level: Level = "info"
    log_format: Format = "text"
    access_log: bool = False
    tracing_endpoint: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]+")] | None = None
    tracing_sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    max_body_size: Annotated[int, msgspec.Meta(ge=1)] = 64 * 1024 * 1024
    max_pending_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    min_compress_size: Annotated[int, msgspec.Meta(ge=0)] = 256 * 1024
    cache_directory: Path | None = None
    cache_limit: Annotated[int, msgspec.Meta(ge=0)] = 50 * 1000**3
    shutdown_timeout: Annotated[int, msgspec.Meta(ge=0)] = 30
    api_keys: Path | None = None
    open_metrics: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    cors_origins: str = ""
    allowed_hosts: str = ""
    shutdown_delay: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    keep_alive_timeout: Annotated[float, msgspec.Meta(gt=0)] = 75.0
    header_timeout: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    body_timeout: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    write_timeout: Annotated[float, msgspec.Meta(gt=0)] = 30.0

    @classmethod
    def load(cls, *, environ: Mapping[str, str], directory: Path, overrides: Mapping[str, Any]) -> Self:
        """Merge axon.toml of `directory`, the environment and `overrides`, the later ones first in rank.

        Raises ConfigurationError, which names the source, the key and what was expected.
        """
        values: dict[str, Any] = {}
        for source, entries in (
            (str(directory / FILE_NAME), _file(directory / FILE_NAME)),
            ("the environment", _environment(environ)),
            ("the command line", {key: value for key, value in overrides.items() if value is not None}),
        ):
            _check(source, entries, cls)
            values |= entries
        return msgspec.convert(values, cls, strict=False, dec_hook=_decode)


def listed(text: str) -> frozenset[str]:
    """Split a setting that is a list: words separated by commas."""
    return frozenset(filter(None, map(str.strip, text.split(","))))


def _file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"Cannot read {path}: {error}.") from error


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        key.removeprefix(PREFIX).lower(): value
        for key, value in environ.items()
        if key.startswith(PREFIX) and _SERVICE_LINK.match(f"{key}={value}") is None
    }


def _check(source: str, entries: Mapping[str, Any], kind: type[Settings]) -> None:
    known = kind.__struct_fields__
    for key, value in entries.items():
        if key not in known:
            raise ConfigurationError(f"Unknown setting '{key}' in {source}. Known: {', '.join(known)}.")
        try:
            msgspec.convert({key: value}, kind, strict=False, dec_hook=_decode)
        except msgspec.ValidationError as error:
            problem = _allowed(kind, key) or str(error).split(" - at ", maxsplit=1)[0]
            raise ConfigurationError(f"Setting '{key}' in {source} is {value!r}: {problem}.") from error


def _decode(kind: type[Any], value: object) -> Any:  # noqa: ANN401 -- the hook of msgspec for types that it does not know
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise ValueError(f"Expected `{'str' if kind is Path else kind.__name__}`, got `{type(value).__name__}`")


def _allowed(kind: type[Settings], key: str) -> str:
    """Return what a setting with a fixed choice of words may be."""
    choice = get_args(get_type_hints(kind)[key])
    return f"expected one of {', '.join(choice)}" if all(isinstance(word, str) for word in choice) and choice else ""
