"""Listening sockets."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from service.errors import ConfigurationError

_BACKLOG: Final = 2048


@contextmanager
def listening(host: str, port: int, *, setting: str = "port") -> Iterator[socket.socket]:
    """Listen on an address within the block. Raises ConfigurationError, which names the option of `setting`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:  # the latter for what can be no name of a host
        reason = error.strerror if isinstance(error, OSError) else "that is no name of a host"
        raise ConfigurationError(
            f"Cannot listen on {host} port {port}: {reason}. Choose another with --host and --{setting.replace('_', '-')}."
        ) from error
    with listener:
        yield listener


def address_of(listener: socket.socket) -> str:
    """Return `host:port` as it stands in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
