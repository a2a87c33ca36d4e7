"""The address is found before the start: taken ports are noticed, and nobody else gets a reserved one."""

import logging
import socket
from collections.abc import Iterator

import grpc
import pytest

from service.errors import ConfigurationError
from service.grpc import address
from service.grpc.address import Address, reserved


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_port_that_was_asked_for_and_is_taken_is_an_error(taken: int) -> None:
    with (
        pytest.raises(ConfigurationError, match=rf"port {taken} for gRPC.*--grpc-port.*--no-grpc"),
        reserved("127.0.0.1", taken, http_port=8000),
    ):
        pass


def test_default_port_that_is_taken_leaves_http_alone(
    taken: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(address, "DEFAULT_PORT", taken)
    monkeypatch.setattr(logging.getLogger("axon"), "propagate", True)

    with reserved("127.0.0.1", None, http_port=8000) as found:
        assert found is None

    assert f"Cannot listen on 127.0.0.1 port {taken} for gRPC" in caplog.text
    assert "Only HTTP is served" in caplog.text


def test_free_http_port_means_a_free_grpc_port() -> None:
    with reserved("127.0.0.1", None, http_port=0) as first, reserved("127.0.0.1", None, http_port=0) as second:
        assert first is not None
        assert second is not None
        assert 0 not in (first.port, second.port)
        assert first.port != second.port


@pytest.mark.anyio
async def test_one_server_listens_on_a_reserved_address_and_no_other() -> None:
    with reserved("127.0.0.1", 0, http_port=8000) as found:
        first, second = (grpc.aio.server(options=(("grpc.so_reuseport", 0),)) for _ in range(2))
        first.add_insecure_port(str(found))
        await first.start()
        with pytest.raises(RuntimeError, match="Failed to bind"):
            second.add_insecure_port(str(found))
        await first.stop(None)


@pytest.mark.anyio
async def test_servers_that_share_an_address_all_listen() -> None:
    with reserved("127.0.0.1", 0, http_port=8000, shared=True) as found:
        servers = [grpc.aio.server(options=(("grpc.so_reuseport", 1),)) for _ in range(2)]
        for server in servers:
            server.add_insecure_port(str(found))
            await server.start()
        for server in servers:
            await server.stop(None)


def test_address_is_written_as_in_a_url() -> None:
    assert str(Address("127.0.0.1", 8001)) == "127.0.0.1:8001"
    assert str(Address("::1", 8001)) == "[::1]:8001"
