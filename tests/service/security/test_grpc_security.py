"""Over gRPC: the same keys, scopes, rates and certificates as over HTTP."""

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

DEADLINE = 60.0
SERVICE = "/inference.GRPCInferenceService/"
Code = grpc.StatusCode
ROW = np.array([[1, 2, 3, 4]], np.float32)


def request() -> Any:
    made = service_pb2.ModelInferRequest(model_name="affine", raw_input_contents=[ROW.tobytes()])
    made.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    return made


def address_of(server: Any) -> str:
    found: str = server.wait_for(r"gRPC listens on (\S+)").group(1)
    return found


class Guarded:
    """A server with keys, and calls to it with one of them."""

    def __init__(self, server: Any, keys: dict[str, str]) -> None:
        self.server = server
        self.keys = keys
        self.channel = grpc.insecure_channel(address_of(server), options=(("grpc.enable_http_proxy", 0),))

    def metadata(self, key: str | None, header: str = "x-api-key") -> tuple[tuple[str, str], ...]:
        """Give the metadata that shows a key."""
        shown = self.keys.get(key or "", key)
        return () if shown is None else ((header, f"Bearer {shown}" if header == "authorization" else shown),)

    def code(self, method: str, key: str | None, header: str = "x-api-key") -> Code:
        """Call a method; return its status."""
        body = (
            request().SerializeToString()
            if method == "ModelInfer"
            else service_pb2.ModelReadyRequest(name="affine").SerializeToString()
        )
        body = b"" if method.startswith(("Server", "RepositoryIndex", "/")) else body
        path = method if method.startswith("/") else SERVICE + method
        try:
            self.channel.unary_unary(path)(body, timeout=DEADLINE, metadata=self.metadata(key, header))
        except grpc.RpcError as error:
            found: Code = error.code()
            return found
        return Code.OK


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, running: Any, repository: Path, add_key: Callable[..., str]
) -> Iterator[Guarded]:
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys = {
        "app": add_key(path, "app", "infer"),
        "reader": add_key(path, "reader", "read"),
        "ops": add_key(path, "ops", "manage"),
        "old": add_key(path, "old", "infer", expires=timedelta(seconds=-1)),
        "slow": add_key(path, "slow", "infer", rate=0.01, burst=3),
    }
    with running(repository, "--model-control", "explicit", AXON_API_KEYS=str(path), AXON_GRPC_REFLECTION="true") as server:
        guarded = Guarded(server, keys)
        yield guarded
        guarded.channel.close()
        assert not any(key in server.log for key in keys.values())


@pytest.mark.parametrize(
    ("method", "scope"),
    [
        ("ModelInfer", "app"),
        ("ServerMetadata", "reader"),
        ("ModelReady", "reader"),
        ("ModelMetadata", "reader"),
        ("ModelConfig", "reader"),
        ("ModelStatistics", "reader"),
        ("RepositoryIndex", "reader"),
        ("/grpc.health.v1.Health/List", "reader"),
    ],
)
def test_call_needs_a_key_of_its_scope(guarded: Guarded, method: str, scope: str) -> None:
    others = {"app", "reader", "ops"} - {scope}

    assert guarded.code(method, None) is Code.UNAUTHENTICATED
    assert guarded.code(method, "nonsense") is Code.UNAUTHENTICATED
    assert {guarded.code(method, other) for other in others} == {Code.PERMISSION_DENIED}
    assert guarded.code(method, scope) is Code.OK
    assert guarded.code(method, scope, "authorization") is Code.OK


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload", "Unheard", "/other.Service/Method"])
def test_what_changes_models_or_is_not_known_needs_the_scope_manage(guarded: Guarded, method: str) -> None:
    assert {guarded.code(method, key) for key in ("app", "reader")} == {Code.PERMISSION_DENIED}
    assert guarded.code(method, None) is Code.UNAUTHENTICATED
    assert guarded.code(method, "ops") not in (Code.PERMISSION_DENIED, Code.UNAUTHENTICATED)


def test_expired_key_is_refused(guarded: Guarded) -> None:
    assert guarded.code("ModelInfer", "old") is Code.UNAUTHENTICATED


def test_probes_need_no_key(guarded: Guarded) -> None:
    health = health_pb2_grpc.HealthStub(guarded.channel)

    assert health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE).status == health_pb2.HealthCheckResponse.SERVING
    assert {guarded.code(method, None) for method in ("ServerLive", "ServerReady")} == {Code.OK}


def test_refusal_says_how_to_authenticate(guarded: Guarded) -> None:
    with pytest.raises(grpc.RpcError, match="needs an API key") as raised:
        guarded.channel.unary_unary(SERVICE + "ModelInfer")(b"", timeout=DEADLINE)

    trailers = dict(raised.value.trailing_metadata())
    assert trailers["error-code"] == "unauthenticated"
    assert trailers["www-authenticate"] == 'Bearer realm="axon"'
    assert trailers["x-request-id"]


def test_stream_without_a_key_is_refused_before_it_sends(guarded: Guarded) -> None:
    call = guarded.channel.stream_stream(SERVICE + "ModelStreamInfer")(iter([]), timeout=DEADLINE)

    with pytest.raises(grpc.RpcError) as raised:
        list(call)
    assert raised.value.code() is Code.UNAUTHENTICATED


def test_rate_holds_for_each_message_of_a_stream(guarded: Guarded) -> None:
    """A key of three at once: three messages of a stream are answered, the others told to wait."""
    stream = guarded.channel.stream_stream(SERVICE + "ModelStreamInfer")

    answers = list(stream(iter([request().SerializeToString()] * 6), timeout=DEADLINE, metadata=guarded.metadata("slow")))
    errors = [service_pb2.ModelStreamInferResponse.FromString(answer).error_message for answer in answers]

    assert errors[:3] == ["", "", ""]
    assert all("Try again in" in error for error in errors[3:])
    with pytest.raises(grpc.RpcError) as raised:
        guarded.channel.unary_unary(SERVICE + "ModelInfer")(b"", timeout=DEADLINE, metadata=guarded.metadata("slow"))
    assert raised.value.code() is Code.RESOURCE_EXHAUSTED
    assert int(dict(raised.value.trailing_metadata())["grpc-retry-pushback-ms"]) > 1000


def connected(server: Any, authority: Any, client: Any = None) -> bool:
    """Say whether a client of the authority, with a certificate of its own or without, is served."""
    pair = {} if client is None else {"private_key": str(client.key), "certificate_chain": str(client.certificate)}
    with triton.InferenceServerClient(
        address_of(server), ssl=True, root_certificates=str(authority.own.certificate), **pair
    ) as found:
        try:
            return bool(found.is_server_live(client_timeout=5))
        except InferenceServerException as error:
            assert error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")  # noqa: PT017 -- either
            return False


def test_tls_is_spoken_with_clients_that_trust_it(
    running: Any, repository: Path, server_certificate: Any, authority: Any, other_authority: Any
) -> None:
    environ = {"AXON_TLS_CERTIFICATE": str(server_certificate.certificate), "AXON_TLS_KEY": str(server_certificate.key)}
    with running(repository, **environ) as server:
        assert connected(server, authority)
        assert not connected(server, other_authority)


def test_clients_need_a_certificate_where_an_authority_is_set(
    running: Any, repository: Path, server_certificate: Any, authority: Any, other_authority: Any
) -> None:
    environ = {
        "AXON_TLS_CERTIFICATE": str(server_certificate.certificate),
        "AXON_TLS_KEY": str(server_certificate.key),
        "AXON_TLS_CLIENT_CA": str(authority.own.certificate),
    }
    with running(repository, **environ) as server:
        assert connected(server, authority, authority.issue("grpc-client"))
        assert not connected(server, authority)
        assert not connected(server, authority, other_authority.issue("grpc-stranger"))


def test_renewed_certificate_is_used_without_a_restart(
    running: Any, repository: Path, server_certificate: Any, authority: Any, other_authority: Any, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    shutil.copy(server_certificate.certificate, certificate)
    shutil.copy(server_certificate.key, key)
    renewed = other_authority.issue("grpc-renewed")
    with running(repository, AXON_TLS_CERTIFICATE=str(certificate), AXON_TLS_KEY=str(key)) as server:
        before = connected(server, authority)
        shutil.copy(renewed.certificate, certificate)
        between = connected(server, authority)
        shutil.copy(renewed.key, key)
        after = connected(server, other_authority), connected(server, authority)

    assert (before, between, after) == (True, True, (True, False))
