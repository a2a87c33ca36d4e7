"""The HTTP server of Axon: uvicorn's start and end around connections of our own, which may come from elsewhere."""

import asyncio
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from litestar.types import ASGIApp

from service.http.connections import Connections
from service.http.exchange import Handler
from service.http.protocol import HttpProtocol
from service.processes.process import Process

_TICK = 0.1  # seconds, as uvicorn has it while it serves
_ARRIVING_SECONDS = 1.0  # that a connection may still take to come when the server ends: a TLS handshake of an honest client


class HttpServer(uvicorn.Server):
    """Serves until its process is told to stop: every request to a handler, the start and the end to an application."""

    def __init__(
        self, app: ASGIApp, handler: Handler, process: Process, connections: Connections, context: ssl.SSLContext | None
    ) -> None:
        self._process = process
        self._handler = handler
        self._connections = connections
        self._listens = asyncio.Event()
        self._arriving: set[asyncio.Task[Any]] = set()
        super().__init__(
            uvicorn.Config(
                app,
                http=self._protocol,  # type: ignore[arg-type]  # called like the class
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ssl_context_factory=None if context is None else lambda _config, _default: context,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let the process decide how this ends; uvicorn would raise the signals that stopped it once more."""
        self._process.control(self)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and listen."""
        self._connections.look_after(asyncio.get_running_loop().time())
        await super().startup(sockets)
        self._listens.set()

    async def on_tick(self, counter: int) -> bool:
        """Look after the connections, ten times a second."""
        self._look_after()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what was accepted in the time that is left."""
        if self._arriving:
            await asyncio.wait(self._arriving, timeout=_ARRIVING_SECONDS)
        for task in self._arriving:
            task.cancel()
        self.config.timeout_graceful_shutdown = self._process.time_left  # type: ignore[assignment]  # seconds need not be whole
        looking = asyncio.create_task(self._look_after_to_the_end())
        await super().shutdown(sockets)
        looking.cancel()

    def take(self, connection: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere."""
        connection.setblocking(False)
        task = asyncio.create_task(self._serve_connection(connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    def drain(self) -> None:
        """Accept no more connections, finish what has been accepted, and end."""
        self.should_exit = True

    def hurry(self) -> None:
        """End without waiting any longer."""
        self.should_exit = self.force_exit = True

    async def _serve_connection(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await self._listens.wait()
        context = self.config.ssl
        patience = None if context is None else self._connections.limits.header_timeout
        try:
            await loop.connect_accepted_socket(self._protocol, connection, ssl=context, ssl_handshake_timeout=patience)
        except OSError:  # the client has left already, or its TLS handshake failed
            connection.close()

    def _protocol(self, **_facts: object) -> HttpProtocol:
        """Make the protocol of a connection. uvicorn would tell it what it need not know."""
        return HttpProtocol(self._handler, self._connections, self.server_state, asyncio.get_running_loop())

    async def _look_after_to_the_end(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._look_after()

    def _look_after(self) -> None:
        self._connections.look_after(asyncio.get_running_loop().time())
        self._process.report(len(self._connections))


async def run(
    app: ASGIApp,
    handler: Handler,
    process: Process,
    connections: Connections,
    listeners: Sequence[socket.socket],
    *,
    context: ssl.SSLContext | None = None,
) -> None:
    """Serve on listening sockets, over TLS if there is a context, until the process is told to stop.

    The handler answers the requests; the application is started before the first, and ended after the last.
    """
    await HttpServer(app, handler, process, connections, context).serve(sockets=list(listeners))
