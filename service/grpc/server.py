"""The gRPC server's life: it listens, answers, and ends after what it has accepted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection

from service.errors import ConfigurationError
from service.grpc import messages
from service.grpc.address import Address
from service.grpc.entrance import Entrance
from service.grpc.health import NAME as HEALTH
from service.grpc.health import Health
from service.grpc.inferring import Inference
from service.grpc.management import ManagementCalls
from service.grpc.observed import Observed
from service.grpc.protection import Protection
from service.grpc.tls import server_credentials
from service.management import Management
from service.processes.stopping import Stopping
from service.registry import Registry
from service.request_context import CallObserver
from service.room import Capacity
from service.security.guard import Guard
from service.security.tls import CertificateFiles

logger = logging.getLogger("axon.grpc")

_KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 120_000),  # asks a silent client whether it is still there
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # clients may ask this often; by default once in five minutes
    ("grpc.http2.max_ping_strikes", 2),
)


class GrpcServer:
    """The server over a registry. Large requests wait for their turns to be decoded; sizes are in bytes.

    A `guard` asks every call for its key; with `certificates` it speaks TLS. Raises ConfigurationError if they are unusable.
    """

    def __init__(
        self,
        registry: Registry,
        management: Management,
        address: Address,
        capacity: Capacity,
        *,
        max_message_size: int,
        reflect: bool = False,
        guard: Guard | None = None,
        certificates: CertificateFiles | None = None,
    ) -> None:
        self._registry = registry
        self._management = management
        self._address = address
        self._capacity = capacity
        self._max_message_size = max_message_size
        self._reflect = reflect
        self._protection = None if guard is None else Protection(guard)
        self._credentials = None if certificates is None else server_credentials(certificates)

    @asynccontextmanager
    async def running(
        self, stopping: Stopping, *, patience: Callable[[], float], observer: CallObserver | None = None
    ) -> AsyncIterator[None]:
        """Serve until the block ends or nothing more is to be accepted; then finish what is in flight.

        That takes `patience()` seconds at most, and ends when hurried. The block is left when the last call is over. An `observer`
        is told of every call. Raises ConfigurationError if the address cannot be listened on.
        """
        health = Health(self._registry)
        ending = asyncio.Event()
        entrance, server = Entrance(*self._services(health, ending)), self._made(observer)
        server.add_generic_rpc_handlers((entrance,))
        await server.start()
        # one of several processes leaves it to their parent to say so once
        logger.log(logging.DEBUG if self._address.shared else logging.INFO, "gRPC listens on %s", self._address)

        async def stop() -> None:
            await stopping.begun.wait()
            health.stop()
            await stopping.refusing.wait()
            await entrance.empty(patience())
            ending.set()
            stopped = asyncio.create_task(server.stop(patience()))
            await asyncio.sleep(0)  # now clients are told to go elsewhere, before they get the answers that they wait for
            entrance.release()
            await stopped

        async def hurry() -> None:
            await stopping.hurried.wait()
            await server.stop(None)

        leaving, hurrying = asyncio.create_task(stop()), asyncio.create_task(hurry())
        try:
            yield
        finally:
            stopping.refuse()
            await leaving
            hurrying.cancel()

    def _services(self, health: Health, ending: asyncio.Event) -> tuple[grpc.GenericRpcHandler, ...]:
        admit = None if self._protection is None else self._protection.admit_message
        inference = Inference(self._registry, self._capacity, stopping=ending, admit=admit)
        methods = inference.handlers() | ManagementCalls(self._registry, self._management).handlers()
        return grpc.method_handlers_generic_handler(messages.SERVICE, methods), health.handler()

    def _made(self, observer: CallObserver | None) -> Any:  # noqa: ANN401 -- grpc has no types
        server = grpc.aio.server(
            interceptors=[each for each in (observer and Observed(observer), self._protection) if each is not None],
            options=(
                ("grpc.so_reuseport", int(self._address.shared)),
                ("grpc.max_receive_message_length", self._max_message_size),
                ("grpc.max_send_message_length", -1),
                *_KEEPALIVE,
            ),
        )
        if self._reflect:
            messages.POOL.AddSerializedFile(health_pb2.DESCRIPTOR.serialized_pb)
            reflection.enable_server_reflection((messages.SERVICE, HEALTH, reflection.SERVICE_NAME), server, pool=messages.POOL)
        try:
            if self._credentials is None:
                server.add_insecure_port(str(self._address))
            else:
                server.add_secure_port(str(self._address), self._credentials)
        except RuntimeError as error:
            raise ConfigurationError(f"Cannot listen on {self._address} for gRPC: {error}.") from error
        return server
