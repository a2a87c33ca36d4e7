"""Running the application: sockets, processes, an event loop, and an exit status."""

import gc
import logging
import math
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import NoReturn

import uvloop

from service import __version__
from service.app import build
from service.errors import ConfigurationError
from service.grpc.address import Address, reserved
from service.http.connections import Connections, Limits
from service.http.listening import address_of, listening
from service.http.server import run
from service.inference import providers
from service.inference.memory import keep_memory
from service.observability.calls import require_tracing
from service.offload import THREAD_PREFIX
from service.processes.process import Process
from service.processes.supervisor import Supervisor
from service.processes.worker import Worker
from service.routes.metrics import METRICS_PATH, MetricsPort
from service.security import exposure, key_file
from service.security.tls import CertificateFiles, RenewingContext
from service.settings import Settings
from service.storage.address import is_url
from service.storage.source import require_usable

logger = logging.getLogger("axon.server")


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests in flight and return. A second signal hurries.

    Raises ConfigurationError if the address cannot be listened on, the repository is no directory, or what is set cannot be used;
    NoWorkerStarts if there are to be several processes and none gets as far as to load.
    """
    if is_url(settings.repository):
        require_usable(settings.repository, settings.cache_directory)
    elif not Path(settings.repository).is_dir():
        raise ConfigurationError(f"The model repository {settings.repository} is not a directory. Name one: axon serve DIRECTORY.")
    if settings.shutdown_delay >= max(1, settings.shutdown_timeout):
        raise ConfigurationError("Setting 'shutdown_delay' is part of 'shutdown_timeout': it must be shorter.")
    providers.require_available(settings.provider)
    require_tracing(settings.tracing_endpoint)
    if settings.api_keys is not None:
        key_file.read(settings.api_keys)  # each worker reads them; a file that is wrong is better found once, before there are any
    keep_memory()
    context = _tls_context(settings)
    with _listeners(settings, scheme="http" if context is None else "https") as listeners, _grpc_address(settings) as grpc_address:
        if grpc_address is not None and grpc_address.shared:
            logger.info("gRPC listens on %s", grpc_address)
        _warn_of_exposure(settings)
        server = _Server(settings, context, grpc_address, listeners)
        if settings.workers == 1:
            server.run(Process(delay=settings.shutdown_delay, timeout=settings.shutdown_timeout), listeners)
        elif (worker := Supervisor(settings, listeners).run()) is not None:  # in a process that was forked
            _end_after(server, worker)
    logger.info("stopped")
    if any(thread.name.startswith(THREAD_PREFIX) for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(0)  # a load or a run goes on inside onnxruntime: ending Python around its thread would abort the process


class _Server:
    """What each process of a server runs."""

    def __init__(
        self, settings: Settings, context: RenewingContext | None, grpc_address: Address | None, listeners: Sequence[socket.socket]
    ) -> None:
        self._settings = settings
        self._context = context
        self._grpc_address = grpc_address
        self._metrics_port = listeners[1].getsockname()[1] if settings.metrics_port is not None else None

    def run(self, process: Process, listeners: Sequence[socket.socket]) -> None:
        """Serve until the process is told to stop, on its own sockets and what it is given."""
        settings = self._settings
        built = build(settings, process, grpc_address=self._grpc_address)
        gc.freeze()  # what is there now stays: to walk through it in each full collection would hold up requests
        limits = Limits(
            header_timeout=settings.header_timeout,
            body_timeout=settings.body_timeout,
            write_timeout=settings.write_timeout,
            keep_alive_timeout=settings.keep_alive_timeout,
            max_connections=math.ceil(settings.max_connections / process.count),
            max_arriving=built.arriving,
        )
        handler = built.handler if self._metrics_port is None else MetricsPort(built.handler, self._metrics_port)
        connections = Connections(limits, process, built.observer)
        uvloop.run(run(built.application, handler, process, connections, listeners, context=self._context))


def _end_after(server: _Server, worker: Worker) -> NoReturn:
    """Serve and end: what a forked process has of its parent, such as onnxruntime's threads, it cannot take down in order."""
    status = 1
    try:
        server.run(worker, ())
        status = 0
    except BaseException:
        logger.exception("a worker failed")
    finally:
        logging.shutdown()
        os._exit(status)


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


def _grpc_address(settings: Settings) -> AbstractContextManager[Address | None]:
    if not settings.grpc:
        return nullcontext()
    return reserved(settings.host, settings.grpc_port, http_port=settings.port, shared=settings.workers > 1)


@contextmanager
def _listeners(settings: Settings, *, scheme: str) -> Iterator[list[socket.socket]]:
    """Listen on the port of the service and, if it has one of its own, on that of the metrics."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(listening(settings.host, settings.port))]
        logger.info("Axon %s listens on %s://%s", __version__, scheme, address_of(listeners[0]))
        if settings.metrics_port is not None:
            listeners.append(stack.enter_context(listening(settings.host, settings.metrics_port, setting="metrics_port")))
            logger.info("metrics on %s://%s%s", scheme, address_of(listeners[1]), METRICS_PATH)
        yield listeners
