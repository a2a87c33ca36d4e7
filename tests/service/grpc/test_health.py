"""grpc.health.v1, reflection, and the settings of the port."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

State = health_pb2.HealthCheckResponse
DEADLINE = 60.0


@pytest.fixture
def check(stub: Any) -> Callable[[str], int]:
    """Return a function that asks for the health of a service."""
    health = health_pb2_grpc.HealthStub(stub.channel)

    def ask(service: str) -> int:
        state: int = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE).status
        return state

    return ask


@pytest.mark.parametrize(
    ("service", "state"),
    [
        pytest.param("", State.SERVING, id="the server"),
        pytest.param("inference.GRPCInferenceService", State.SERVING, id="the service"),
        pytest.param("affine", State.SERVING, id="a model that serves"),
        pytest.param("broken", State.NOT_SERVING, id="a model that does not"),
    ],
)
def test_health_is_known_of_the_server_and_its_models(check: Callable[[str], int], service: str, state: int) -> None:
    assert check(service) == state


def test_health_of_an_unknown_name_is_not_found(check: Callable[[str], int]) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        check("unknown")

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_of_all_is_listed(stub: Any) -> None:
    """As far as the server's own reflection says, the service has this method."""
    health = health_pb2_grpc.HealthStub(stub.channel)

    found = health.List(health_pb2.HealthListRequest(), timeout=DEADLINE).statuses

    assert {found[name].status for name in ("", "inference.GRPCInferenceService", "affine")} == {State.SERVING}
    assert found["broken"].status == State.NOT_SERVING
    assert "unknown" not in found


@pytest.mark.parametrize("method", ["Check", "List"])
def test_malformed_health_request_is_refused(stub: Any, method: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.bytes(method, b"\xff", service="grpc.health.v1.Health")

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_watch_tells_changes(running: Any, stub_of: Any, save: Any, graphs: Any, tmp_path: Path) -> None:
    save(graphs.affine(), tmp_path / "affine" / "1")
    with running(tmp_path, "--model-control", "explicit") as server:
        stub = stub_of(server)
        health = health_pb2_grpc.HealthStub(stub.channel)
        watch = {
            name: health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE) for name in ("affine", "new", "")
        }
        first = {name: next(answers).status for name, answers in watch.items()}
        save(graphs.affine(), tmp_path / "new" / "1")
        stub.call("RepositoryModelLoad", model_name="new")
        loaded = next(watch["new"]).status, next(watch["new"]).status
        stub.call("RepositoryModelUnload", model_name="affine")
        unloaded = next(watch["affine"]).status

    assert first == {"affine": State.SERVING, "new": State.SERVICE_UNKNOWN, "": State.SERVING}
    assert loaded[-1] == State.SERVING
    assert unloaded == State.NOT_SERVING


def test_reflection_is_there_on_demand(running: Any, stub_of: Any, tmp_path: Path) -> None:
    with running(tmp_path, AXON_GRPC_REFLECTION="true") as server:
        database = ProtoReflectionDescriptorDatabase(stub_of(server).channel)
        services = set(database.get_services())
        pool = DescriptorPool(database)
        method = pool.FindServiceByName("inference.GRPCInferenceService").FindMethodByName("ModelInfer")
        health = pool.FindServiceByName("grpc.health.v1.Health")

    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services
    assert method.input_type.fields_by_name["raw_input_contents"].number == 7
    assert set(health.methods_by_name) >= {"Check", "Watch"}


def test_reflection_is_off_by_default(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        ProtoReflectionDescriptorDatabase(stub.channel).get_services()

    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_grpc_can_be_switched_off(running: Any, tmp_path: Path) -> None:
    with running(tmp_path, "--no-grpc") as server:
        assert "gRPC" not in server.log
        assert server.get("/v2/health/live").ok


def test_port_can_be_chosen(running: Any, address_of: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running(tmp_path, "--grpc-port", str(port)) as server:
        assert address_of(server) == f"127.0.0.1:{port}"


def test_chosen_port_that_is_taken_stops_the_start(launched: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with launched(tmp_path, "--grpc-port", str(port)) as server:
            status = server.ended()

    assert status == 1
    assert f"Cannot listen on 127.0.0.1 port {port} for gRPC" in server.log
