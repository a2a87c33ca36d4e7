"""From a version directory to a session that has proved itself. Blocking: it runs on a thread, off the request path."""

from pathlib import Path

from service.errors import PackageError
from service.inference import providers
from service.inference.served_model import LoadedModel
from service.inference.session import Session
from service.inference.threads import available_cpus
from service.inference.warmup import replay, rows_are_independent, warm_up
from service.repository.configuration import ModelConfiguration
from service.repository.layout import GRAPH_NAME, ModelDirectory
from service.repository.manifest import MANIFEST_NAME, Manifest
from service.repository.samples import Samples
from service.repository.signature import Signature


def load(
    model: ModelDirectory, version: int, configuration: ModelConfiguration, *, provider: str, processes: int = 1
) -> LoadedModel:
    """Verify the files of a version, load the graph, compare it with the manifest, replay the samples and warm up.

    `processes` is how many processes share the CPUs. Raises ConfigurationError or ModelLoadError with what is wrong and how to
    mend it.
    """
    directory = model.versions[version]
    manifest = _manifest(directory)
    wanted = providers.resolve(configuration.provider or provider)
    threads = configuration.intra_op_threads or available_cpus(processes=processes)
    session = Session(_graph(directory), threads=threads, providers=wanted)
    providers.checked(wanted, session.providers)
    signature = manifest.signature.checked_against(session.signature) if manifest else session.signature
    if manifest and (samples := Samples.read(directory)):
        replay(session, signature, samples, manifest)
    rows_count = signature.has_batch_axis and session.shares_batch_axis
    warm_up(session, signature, configuration.batching)
    return LoadedModel(
        name=model.name,
        version=version,
        signature=signature,
        configuration=configuration,
        session=session,
        rows_count=rows_count,
        batched=rows_count and _may_batch(session, signature, configuration),
        manifest=manifest,
    )


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
