"""From a version directory to sessions that have proved themselves. Blocking: it runs on a thread, off the request path."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from service.errors import ConfigurationError, ModelLoadError, PackageError
from service.inference import providers
from service.inference.graph_cache import GraphCache
from service.inference.private_files import private_directory
from service.inference.provider_defaults import CACHEABLE, CPU, DEVICES, with_defaults
from service.inference.served_model import LoadedModel
from service.inference.session import ProviderOptions, Session
from service.inference.thread_plan import Grant, ThreadPlan
from service.inference.threads import available_cpus
from service.inference.warmup import measured_batch, replay, rows_are_independent, warm_up
from service.repository.configuration import ModelConfiguration
from service.repository.external_data import checked_external_files
from service.repository.layout import GRAPH_NAME, ModelDirectory
from service.repository.manifest import MANIFEST_NAME, FileDigest, Manifest
from service.repository.runtime_configuration import Provider, SessionTuning
from service.repository.samples import Samples
from service.repository.signature import Signature

logger = logging.getLogger("axon.loading")


class Loader:
    """Loads versions for one process.

    `provider` is the execution provider of models whose model.toml names none. `processes` is how many processes share the CPUs.
    In `cache_directory` optimised graphs and compiled engines are kept; without it they are made anew for each load.
    """

    def __init__(self, *, provider: str, processes: int = 1, cache_directory: Path | None = None) -> None:
        self.plan: Final = ThreadPlan(available_cpus(processes=processes))
        self._provider = provider
        self._cache_directory = cache_directory

    def load(self, model: ModelDirectory, version: int, configuration: ModelConfiguration) -> LoadedModel:
        """Verify the files of a version, load the graph, compare it with the manifest, replay the samples and warm up.

        Raises ConfigurationError or ModelLoadError with what is wrong and how to mend it.
        """
        directory = model.versions[version]
        manifest = _manifest(directory)
        source = _Source(f"{model.name}@{version}", _graph(directory), manifest)
        grant = partial(
            self.plan.grant,
            model.name,
            version,
            versions=min(configuration.versions.count, len(model.versions)),
            instances=configuration.instances,
        )
        sessions, granted, problems = self._sessions(source, configuration, grant)
        session = sessions[0]
        signature = manifest.signature.checked_against(session.signature) if manifest else session.signature
        if manifest and (samples := Samples.read(directory)):
            replay(session, signature, samples, manifest)
        rows_count = signature.has_batch_axis and session.shares_batch_axis
        batched = rows_count and _may_batch(session, signature, configuration)
        merged_rows = measured_batch(session, signature, configuration) if batched else 1
        for each in sessions:
            warm_up(each, signature, configuration, full_batch=merged_rows)
        return LoadedModel(
            name=model.name,
            version=version,
            signature=signature,
            configuration=configuration,
            sessions=sessions,
            grant=granted,
            problems=problems,
            rows_count=rows_count,
            batched=batched,
            merged_rows=merged_rows,
            manifest=manifest,
            nbytes=source.nbytes,
        )

    def _sessions(
        self, source: "_Source", configuration: ModelConfiguration, grant: Callable[..., Grant]
    ) -> tuple[tuple[Session, ...], Grant, tuple[str, ...]]:
        """Return a session for each instance, or one that takes all runs; the threads; why it is not as was wished."""
        wishes = configuration.wishes or (Provider(name=self._provider),)
        chosen, problems = providers.resolve(wishes, configuration.provider_policy)
        while True:
            names = [provider.name for provider in chosen]
            fed = 1 if names[0] in DEVICES else None  # a device computes; its session needs the CPU only to be fed
            granted = grant(intra_op=configuration.intra_op_threads or fed)
            try:
                session = self._session(source, chosen, configuration.session, granted)
                providers.checked(names, session.providers, session.nodes)
            except (ModelLoadError, ConfigurationError) as error:
                if configuration.provider_policy == "require" or names == [CPU]:
                    raise
                problems += (str(error),)
                chosen = chosen[1:]
                continue
            break
        for problem in problems:
            logger.warning("%s: doing without a provider, as provider_policy = 'prefer' allows: %s", source.owner, problem)
        more = 0 if session.concurrent else granted.instances - 1
        others = (self._session(source, chosen, configuration.session, granted) for _ in range(more))
        return (session, *others), granted, problems

    def _session(self, source: "_Source", chosen: tuple[Provider, ...], tuning: SessionTuning, grant: Grant) -> Session:
        directory = private_directory(self._cache_directory) if self._cache_directory else None
        asked: tuple[ProviderOptions, ...] = tuple(
            (each.name, with_defaults(each, cache_directory=directory, threads=grant.intra_op)) for each in chosen
        )

        def load(kept: Path | None, writing: Path | None) -> Session:
            used = msgspec.structs.replace(tuning, graph_optimization="none") if kept else tuning
            return Session(kept or source.graph, threads=grant.intra_op, providers=asked, tuning=used, optimized_path=writing)

        if directory is None or source.weights or not {each.name for each in chosen} <= CACHEABLE:
            return load(None, None)
        cache = GraphCache(directory, runtime=providers.runtime())
        return cache.session(source.owner, cache.path(source.owner, source.digest(), providers=asked, tuning=tuning), load)


class _Source:
    """The graph of a version and where its weights are, checked."""

    def __init__(self, owner: str, graph: Path, manifest: Manifest | None) -> None:
        self.owner = owner
        self.graph = graph
        self.weights = checked_external_files(graph)
        self._files: Mapping[str, FileDigest] = manifest.files if manifest else {}
        for path in self.weights if manifest else []:
            name = path.relative_to(graph.parent).as_posix()
            if name not in self._files:
                raise PackageError(f"The manifest of {graph.parent} has no checksum of {name}. Publish the model again.")

    @property
    def nbytes(self) -> int:
        """Size of the graph and of its weights, in bytes."""
        return sum(path.stat().st_size for path in (self.graph, *self.weights))

    def digest(self) -> str:
        """Return the SHA-256 of the graph, from the manifest that was verified if there is one."""
        known = self._files.get(GRAPH_NAME)
        return (known or FileDigest.of(self.graph)).sha256


def _manifest(directory: Path) -> Manifest | None:
    """Return the verified manifest, or None for a bare graph."""
    if not (directory / MANIFEST_NAME).is_file():
        return None
    manifest = Manifest.read(directory)
    manifest.verify(directory)
    if GRAPH_NAME not in manifest.files:
        raise PackageError(f"The manifest of {directory} has no checksum of {GRAPH_NAME}. Publish the model again.")
    return manifest


def _graph(directory: Path) -> Path:
    path = directory / GRAPH_NAME
    if not path.is_file():
        raise PackageError(f"{path} does not exist. A version holds its graph in {GRAPH_NAME}.")
    return path


def _may_batch(session: Session, signature: Signature, configuration: ModelConfiguration) -> bool:
    enabled = configuration.batching.enabled
    return rows_are_independent(session, signature) if enabled is None else enabled
