"""The composition root: settings in, application out. Knows everyone; nobody knows it but the server."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from litestar import Litestar

from service import __version__
from service.errors import ConfigurationError
from service.grpc.address import Address
from service.grpc.server import GrpcServer
from service.http.connections import ConnectionObserver
from service.http.exchange import Handler
from service.inference.memory import usable_memory
from service.inference.threads import available_cpus
from service.lifecycle.lifecycle import Lifecycle
from service.lifecycle.watching import SETTLE_SECONDS, catch_up, watch
from service.management import Management
from service.observability.calls import Watching, watching
from service.observability.combined import Combined
from service.observability.event_loop import watch_event_loop
from service.observability.metrics import Metrics
from service.observability.statistics import Statistics
from service.observability.traced import Traced
from service.offload import Turns
from service.processes.process import Process
from service.registry import Registry
from service.repository.source import Source
from service.room import Capacity, Room
from service.routes import documentation, errors, health, metrics, models, openapi, prediction, repository, tensorflow_serving
from service.routes.answering import Answering
from service.routes.cross_origin import CrossOrigin
from service.routes.front import Framework, Front
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

logger = logging.getLogger("axon.app")
_PART_FOR_BODIES: Final = 4  # one part in so many of the memory is for requests; models and runs need the rest
_PART_THAT_ARRIVES: Final = 4  # of that room, one part in so many is for bodies that still come, of which nobody decided yet
_MOST_THAT_ARRIVES: Final = 1 << 26
_LEAST_TURNS: Final = 4  # large bodies and answers that are worked on at a time


@dataclass(frozen=True, slots=True)
class Built:
    """What answers HTTP: a handler for every request, and the application that is started before and ended after.

    Bodies may take `arriving` bytes before the handler has them. `observer` wants to know of connections.
    """

    application: Litestar
    handler: Handler
    arriving: int
    observer: ConnectionObserver


def create_app(settings: Settings, process: Process | None = None) -> Litestar:
    """Build an application for any ASGI server, for a process that is alone."""
    return build(settings, process or Process(delay=settings.shutdown_delay, timeout=settings.shutdown_timeout)).application


def build(settings: Settings, process: Process, *, grpc_address: Address | None = None) -> Built:
    """Build what serves in a process.

    Its life: load, warm up, ready; at the end finish what was accepted, unload. With `grpc_address` it serves gRPC there as well.
    It answers from the first moment on: live while models load, ready once the repository is loaded and a model serves. But one of
    several processes listens for gRPC only when the models are in: there the kernel hands out connections, to whoever listens.
    """
    parts = _built(settings, process)
    grpc_server = None if grpc_address is None else _grpc_server(parts, grpc_address)
    return _routed(parts, lambda _app: _life(parts, grpc_server))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What there is once in a process."""

    settings: Settings
    process: Process
    calls: Watching
    metrics: Metrics
    registry: Registry
    source: Source
    lifecycle: Lifecycle
    guard: Guard | None
    management: Management
    capacity: Capacity
    arriving: int


def _built(settings: Settings, process: Process) -> _Parts:
    """Make the parts and let them know of each other; nothing runs yet."""
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
    managed = settings.model_control == "explicit" and may_be_managed(settings.host, keys=guard is not None)
    management = Management(registry, statistics, process if managed else None)
    turns = Turns(max(_LEAST_TURNS, available_cpus(processes=process.count)))
    pending = settings.max_pending_bytes or _room_for_bodies(settings.max_body_size, process.count)
    arriving = min(_MOST_THAT_ARRIVES, pending // _PART_THAT_ARRIVES)
    capacity = Capacity(turns, Room(pending - arriving))
    return _Parts(settings, process, calls, measured, registry, source, lifecycle, guard, management, capacity, arriving)


def _room_for_bodies(largest: int, processes: int) -> int:
    return max(2 * largest, usable_memory() // _PART_FOR_BODIES // processes)


def _grpc_server(parts: _Parts, address: Address) -> GrpcServer:
    settings = parts.settings
    return GrpcServer(
        parts.registry,
        parts.management,
        address,
        parts.capacity,
        max_message_size=settings.max_body_size,
        reflect=settings.grpc_reflection,
        guard=parts.guard,
        certificates=CertificateFiles.of(settings.tls_certificate, settings.tls_key, settings.tls_client_ca),
    )


def _routed(parts: _Parts, life: Callable[[Litestar], AbstractAsyncContextManager[None]]) -> Built:
    """Lead every HTTP call to who answers it: the guards first, then the models, then the framework with the rest."""
    settings, registry = parts.settings, parts.registry
    complete = None if parts.guard is None else secured(open_paths(open_metrics=settings.open_metrics))
    application = Litestar(
        route_handlers=[
            *health.handlers(registry),
            *repository.handlers(parts.management),
            *metrics.handlers(parts.metrics),
            *documentation.handlers(),
            *openapi.handlers(registry, complete=complete),
        ],
        exception_handlers=errors.handlers(),
        after_request=errors.complete_allow,
        lifespan=[life],
        openapi_config=None,  # routes/openapi.py describes the loaded models, and routes that the framework does not see
        request_max_body_size=settings.max_body_size,
        logging_config=None,
    )
    answering = Answering(parts.capacity, max_body_size=settings.max_body_size, min_compress_size=settings.min_compress_size)
    mounts: dict[str, Mount] = {
        models.PATH: ModelRoutes(registry, parts.management, Inference(registry, answering)),
        tensorflow_serving.PATH: TensorflowServingRoutes(registry, answering),
        prediction.PATH: PredictionRoutes(registry, answering),
    }
    front = Front(
        _fronted(Mounts(Framework(application), mounts), parts.guard, settings),
        parts.calls.observer,
        untraced=open_paths(open_metrics=True),
    )
    application.asgi_handler = front.asgi
    return Built(application, front, parts.arriving, parts.metrics)


def _fronted(handler: Handler, guard: Guard | None, settings: Settings) -> Handler:
    """Put in front of a handler what is set, and nothing where nothing is."""
    if guard is not None:
        handler = Protection(handler, guard, open_paths(open_metrics=settings.open_metrics))
    if names := listed(settings.allowed_hosts):
        handler = Hosts(handler, names, metrics_apart=settings.metrics_port is not None)
    if origins := listed(settings.cors_origins):
        handler = CrossOrigin(handler, origins)
    return handler


@asynccontextmanager
async def _life(parts: _Parts, grpc_server: GrpcServer | None) -> AsyncIterator[None]:
    """Run what runs beside the HTTP server, which serves within the block; afterwards take the models down."""
    servers = AsyncExitStack()
    if parts.process.count == 1:
        await servers.enter_async_context(_grpc_running(parts, grpc_server))
    beside = [
        asyncio.create_task(_keep(parts, grpc_server, servers)),
        asyncio.create_task(watch_event_loop(parts.metrics.looked)),
    ]
    for task in beside:
        task.add_done_callback(_say_if_it_failed)
    try:
        yield
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await servers.aclose()
        await parts.lifecycle.close(patience=parts.process.time_left)
        await parts.calls.close(patience=parts.process.time_left)


def _say_if_it_failed(task: asyncio.Task[None]) -> None:
    """Log why a task has ended that nobody waits for while the server serves."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("what runs beside the servers has ended; the server goes on without it", exc_info=error)


async def _keep(parts: _Parts, grpc_server: GrpcServer | None, servers: AsyncExitStack) -> None:
    """Load the models of the start, let them be used, and keep up with the repository if that is wanted."""
    settings, process = parts.settings, parts.process
    await parts.lifecycle.load_all()
    await process.loaded()
    if process.count > 1:
        try:
            await servers.enter_async_context(_grpc_running(parts, grpc_server))
        except ConfigurationError as error:
            logger.error("%s Only HTTP is served.", error)  # noqa: TRY400 -- the message says it all
    parts.registry.hold(held=process.is_stopping)
    if settings.model_control == "watch":
        await watch(parts.lifecycle, parts.source.root, interval=settings.watch_interval)
    await catch_up(parts.lifecycle, parts.source, interval=settings.watch_interval)


def _grpc_running(parts: _Parts, grpc_server: GrpcServer | None) -> AbstractAsyncContextManager[None]:
    if grpc_server is None:
        return nullcontext()
    process = parts.process
    return grpc_server.running(process.stopping, patience=lambda: process.time_left, observer=parts.calls.observer)
