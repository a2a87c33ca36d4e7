"""The address of the gRPC server: found free before the start, and held for it."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from service.errors import ConfigurationError

logger = logging.getLogger("axon.grpc")

DEFAULT_PORT: Final = 8001


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. With `shared`, several processes listen there and the kernel divides the connections among them."""

    host: str
    port: int
    shared: bool = False

    def __str__(self) -> str:
        """Return the address as gRPC and URLs write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@contextmanager
def reserved(host: str, port: int | None, *, http_port: int, shared: bool = False) -> Iterator[Address | None]:
    """Hold an address for the gRPC servers of this process and its children, as long as the block runs.

    `port` 0 takes a free one. None means 8001, or a free one if `http_port` is 0; if 8001 is taken, says so and gives None: then
    only HTTP is served. Raises ConfigurationError if a port that was asked for cannot be had.

    What is held is a bound socket that does not listen: gRPC makes its own, and the kernel lets it, but nobody else listens there.
    """
    wanted = port if port is not None else 0 if http_port == 0 else DEFAULT_PORT
    try:
        holder = _bound(host, wanted)
    except OSError as error:
        problem = f"Cannot listen on {host} port {wanted} for gRPC: {error.strerror}."
        if port is not None:
            raise ConfigurationError(f"{problem} Choose another with --grpc-port, or switch gRPC off with --no-grpc.") from error
        logger.warning("%s Only HTTP is served; set grpc_port to choose another.", problem)
        yield None
        return
    with holder:
        found_host, found_port = holder.getsockname()[:2]
        yield Address(found_host, found_port, shared)


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    holder = socket.socket(family, kind, protocol)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
    except OSError:
        holder.close()
        raise
    return holder
