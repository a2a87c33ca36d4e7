"""The composition root: settings in, application out. Knows everyone; nobody knows it but the server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Final

from litestar import Litestar
from litestar.types import ASGIApp

from service import __version__
from service.errors import ConfigurationError
from service.grpc.address import Address
from service.grpc.management import Management
from service.grpc.server import GrpcServer
from service.inference.threads import available_cpus
from service.lifecycle import Lifecycle
from service.observability.calls import watching
from service.observability.combined import Combined
from service.observability.event_loop import watch_event_loop
from service.observability.metrics import Metrics
from service.observability.statistics import Statistics
from service.observability.traced import Traced
from service.offload import Turns
from service.process import Process
from service.registry import Registry
from service.routes import documentation, errors, health, metrics, models, openapi, prediction, repository, tensorflow_serving
from service.routes.answering import Answering
from service.routes.asgi import WithRequestContext
from service.routes.cross_origin import CrossOrigin
from service.routes.hosts import Hosts
from service.routes.inference import Inference
from service.routes.models import ModelRoutes
from service.routes.mounts import Mount, Mounts
from service.routes.openapi_security import secured
from service.routes.prediction import PredictionRoutes
from service.routes.protection import Protection, open_paths
from service.routes.tensorflow_serving import TensorflowServingRoutes
from service.security.exposure import may_be_managed
from service.security.guard import Guard
from service.security.tls import CertificateFiles
from service.settings import Settings, listed
from service.storage.source import source_of
from service.watching import SETTLE_SECONDS, catch_up, watch

logger = logging.getLogger("axon.app")
_LEAST_TURNS: Final = 4  # large bodies and answers that are worked on at a time


def create_app(settings: Settings, process: Process | None = None, *, grpc_address: Address | None = None) -> Litestar:
    """Build the application for a process, by default one that is alone.

    Its life: load, warm up, ready; at the end finish what was accepted, unload. With `grpc_address` it serves gRPC there as well.
    It answers from the first moment on: live while models load, ready once the repository is loaded and a model serves. But one of
    several processes listens for gRPC only when the models are in: there the kernel hands out connections, to whoever listens.
    """
    process = process or Process(delay=settings.shutdown_delay, timeout=settings.shutdown_timeout)
    calls = watching(
        access_log=settings.access_log,
        endpoint=settings.tracing_endpoint,
        ratio=settings.tracing_sample_ratio,
        server_version=__version__,
    )
    measured = Metrics(
        server_version=__version__,
        segments=process.segments,
        own=process.segment,
        exemplars=settings.tracing_endpoint is not None,
    )
    statistics = Statistics()
    registry = Registry()
    registry.hold(held=True)
    process.when_stopping(lambda: registry.hold(held=True))
    source = source_of(
        settings.repository,
        model_name=settings.model_name,
        cache_directory=settings.cache_directory,
        cache_limit=settings.cache_limit,
        on_failure=measured.repository_failed,
    )
    lifecycle = Lifecycle(
        registry,
        source,
        model_name=settings.model_name,
        provider=settings.provider,
        settle_seconds=SETTLE_SECONDS if settings.model_control == "watch" else 0.0,
        observer=Combined(measured, statistics, *([Traced()] if settings.tracing_endpoint else [])),
        processes=process.count,
        cache_directory=settings.cache_directory,
    )
    measured.planned(lifecycle.threads.cpus)
    process.change_with(lifecycle)

    guard = None if settings.api_keys is None else Guard(settings.api_keys, observer=measured, share=1 / process.count)
    opened = open_paths(open_metrics=settings.open_metrics)
    managed = settings.model_control == "explicit" and may_be_managed(settings.host, keys=guard is not None)
    allowed = process if managed else None
    turns = Turns(max(_LEAST_TURNS, available_cpus(processes=process.count)))
    grpc_server = grpc_address and GrpcServer(
        registry,
        Management(registry, statistics, allowed),
        grpc_address,
        turns,
        max_message_size=settings.max_body_size,
        reflect=settings.grpc_reflection,
        guard=guard,
        certificates=CertificateFiles.of(settings.tls_certificate, settings.tls_key, settings.tls_client_ca),
    )

    def grpc_running() -> AbstractAsyncContextManager[None]:
        return (
            grpc_server.running(process.stopping, patience=lambda: process.time_left, observer=calls.observer)
            if grpc_server
            else nullcontext()
        )

    async def keep(servers: AsyncExitStack) -> None:
        """Load the models of the start, let them be used, and keep up with the repository if that is wanted."""
        await lifecycle.load_all()
        await process.loaded()
        if process.count > 1:
            try:
                await servers.enter_async_context(grpc_running())
            except ConfigurationError as error:
                logger.error("%s Only HTTP is served.", error)  # noqa: TRY400 -- the message says it all
        registry.hold(held=process.is_stopping)
        if settings.model_control == "watch":
            await watch(lifecycle, source.root, interval=settings.watch_interval)
        await catch_up(lifecycle, source, interval=settings.watch_interval)

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        servers = AsyncExitStack()
        if process.count == 1:
            await servers.enter_async_context(grpc_running())
        keeping = asyncio.gather(keep(servers), watch_event_loop(measured.looked))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await servers.aclose()
            await lifecycle.close(patience=process.time_left)
            await calls.close(patience=process.time_left)

    answering = Answering(turns, max_body_size=settings.max_body_size, min_compress_size=settings.min_compress_size)
    application = Litestar(
        route_handlers=[
            *health.handlers(registry),
            *repository.handlers(registry, allowed),
            *metrics.handlers(measured),
            *documentation.handlers(),
            *openapi.handlers(registry, complete=None if guard is None else secured(opened)),
        ],
        exception_handlers=errors.handlers(),
        lifespan=[lifespan],
        openapi_config=None,  # routes/openapi.py describes the loaded models, and routes that the framework does not see
        request_max_body_size=settings.max_body_size,
        logging_config=None,
    )
    mounts: dict[str, Mount] = {
        models.PATH: ModelRoutes(registry, statistics, Inference(registry, answering)),
        tensorflow_serving.PATH: TensorflowServingRoutes(registry, answering),
        prediction.PATH: PredictionRoutes(registry, answering),
    }
    application.asgi_handler = WithRequestContext(
        _fronted(Mounts(application.asgi_handler, mounts), guard, settings),
        calls.observer,
        untraced=open_paths(open_metrics=True),
    )
    return application


def _fronted(app: ASGIApp, guard: Guard | None, settings: Settings) -> ASGIApp:
    """Put in front of the application what is set, and nothing where nothing is."""
    if guard is not None:
        app = Protection(app, guard, open_paths(open_metrics=settings.open_metrics))
    if names := listed(settings.allowed_hosts):
        app = Hosts(app, names)
    if origins := listed(settings.cors_origins):
        app = CrossOrigin(app, origins)
    return app
