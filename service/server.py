"""Running the application: a socket, an event loop, signals, and an exit status."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import uvicorn
import uvloop

from service import __version__
from service.app import create_app
from service.errors import ConfigurationError
from service.grpc.address import Address, reserved
from service.http_protocol import HttpProtocol
from service.inference import providers
from service.offload import THREAD_PREFIX
from service.security import exposure
from service.security.tls import CertificateFiles, RenewingContext
from service.settings import Settings
from service.stopping import Stopping

logger = logging.getLogger("axon.server")
_BACKLOG = 2048


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests in flight and return. A second signal hurries.

    Raises ConfigurationError if the address cannot be listened on, the repository is no directory, or the provider is not there.
    """
    if not settings.repository.is_dir():
        raise ConfigurationError(f"The model repository {settings.repository} is not a directory. Name one: axon serve DIRECTORY.")
    providers.require_available(settings.provider)
    context = _tls_context(settings)
    stopping = Stopping()
    with _listening(settings.host, settings.port) as listener, _grpc_address(settings) as grpc_address:
        host, port = listener.getsockname()[:2]
        config = uvicorn.Config(
            create_app(settings, grpc_address=grpc_address, stopping=stopping),
            http=HttpProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=settings.shutdown_timeout,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
        scheme = "http" if context is None else "https"
        logger.info("Axon %s listens on %s://%s:%d", __version__, scheme, f"[{host}]" if ":" in host else host, port)
        _warn_of_exposure(settings)
        uvloop.run(_Server(config, stopping).serve(sockets=[listener]))
    logger.info("stopped")
    if any(thread.name.startswith(THREAD_PREFIX) for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(0)  # a load or a run goes on inside onnxruntime: ending Python around its thread would abort the process


def _tls_context(settings: Settings) -> RenewingContext | None:
    certificates = CertificateFiles.of(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    return None if certificates is None else RenewingContext.of(certificates)


def _warn_of_exposure(settings: Settings) -> None:
    for warning in exposure.warnings(
        settings.host,
        keys=settings.api_keys is not None,
        tls=settings.tls_certificate is not None,
        client_certificates=settings.tls_client_ca is not None,
    ):
        logger.warning("%s", warning)


class _Server(uvicorn.Server):
    """uvicorn raises the signals that stopped it once more at its end; here they have been dealt with by then.

    Tells `stopping` at once, and when it is hurried.
    """

    def __init__(self, config: uvicorn.Config, stopping: Stopping) -> None:
        super().__init__(config)
        self._stopping = stopping

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        """Finish what is in flight; told a second time, do not wait for it."""
        if self.should_exit:
            self.force_exit = True
            self._stopping.hurried.set()
        self.should_exit = True
        self._stopping.begun.set()


def _grpc_address(settings: Settings) -> AbstractContextManager[Address | None]:
    if not settings.grpc:
        return nullcontext()
    return reserved(settings.host, settings.grpc_port, http_port=settings.port)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {host} port {port}: {error.strerror}. Choose another with --host and --port."
        ) from error
    with listener:
        yield listener
