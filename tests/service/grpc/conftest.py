"""Shared by the tests of the gRPC front end: its address, and the stub that another project generated."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

Array = np.ndarray[Any, Any]

DEADLINE = 60.0


class Stub:
    """Triton's generated stub with a deadline on every call, and requests in a few words."""

    messages = service_pb2

    def __init__(self, address: str) -> None:
        options = (("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
        self.channel = grpc.insecure_channel(address, options=options)
        self.calls = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    def call(self, method: str, **fields: Any) -> Any:
        """Call a method with a request of these fields."""
        return getattr(self.calls, method)(getattr(service_pb2, f"{method}Request")(**fields), timeout=DEADLINE)

    def bytes(self, method: str, body: bytes, *, service: str = "inference.GRPCInferenceService") -> bytes:
        """Send any bytes as the request."""
        answer: bytes = self.channel.unary_unary(f"/{service}/{method}")(body, timeout=DEADLINE)
        return answer

    def infer(self, request: Any, **options: Any) -> Any:
        """Send an infer request."""
        return self.calls.ModelInfer(request, **{"timeout": DEADLINE} | options)

    def refusal(self, request: Any, **options: Any) -> grpc.Call:
        """Send an infer request that is refused; return the status."""
        with pytest.raises(grpc.RpcError) as raised:
            self.infer(request, **options)
        return raised.value


def raw_request(model: str = "affine", *tensors: tuple[str, str, Array], **fields: Any) -> Any:
    """Build a request in raw form; without tensors, the one row that `affine` takes."""
    request = service_pb2.ModelInferRequest(model_name=model, **fields)
    for name, datatype, array in tensors or (("x", "FP32", np.array([[1, 2, 3, 4]], np.float32)),):
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


@pytest.fixture(scope="session")
def address_of() -> Callable[[Any], str]:
    """Return a function that finds the gRPC address of a server process."""
    return lambda server: server.wait_for(r"gRPC listens on (\S+)").group(1)


@pytest.fixture(scope="session")
def address(server: Any, address_of: Callable[[Any], str]) -> str:
    """Give the gRPC address of the server that most tests call."""
    return address_of(server)


@pytest.fixture
def stub_of(address_of: Callable[[Any], str]) -> Iterator[Callable[[Any], Stub]]:
    """Return a function that connects to a server process."""
    stubs: list[Stub] = []

    def connect(server: Any) -> Stub:
        stubs.append(Stub(address_of(server)))
        return stubs[-1]

    yield connect
    for stub in stubs:
        stub.channel.close()


@pytest.fixture
def stub(server: Any, stub_of: Callable[[Any], Stub]) -> Stub:
    """Connect to the server that most tests call."""
    return stub_of(server)


@pytest.fixture(scope="session")
def request_of() -> Callable[..., Any]:
    """Return the builder of raw requests."""
    return raw_request


@pytest.fixture(scope="session")
def alive(server: Any) -> Callable[[], bool]:
    """Return a function that tells whether the server still answers, and has logged no mistake of its own."""
    return lambda: server.get("/v2/health/live").ok and not re.search(r"Traceback", server.log)
