"""Graphs as onnxruntime has optimised them, kept on disk so that the next load need not do it again.

A kept graph runs in place of the verified one, so only files are trusted that nobody else can have written. A checksum would cost
more than the load saves.
"""

import hashlib
import logging
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from service.errors import ModelLoadError
from service.inference.private_files import check_private
from service.inference.session import ProviderOptions, Session
from service.repository.runtime_configuration import SessionTuning

logger = logging.getLogger("axon.cache")

# Takes the graph to read, None for the original one, and where to write the optimised one, if anywhere.
Load = Callable[[Path | None, Path | None], Session]
_CPU_FACTS: Final = ("model name", "flags", "Features", "CPU part")


class GraphCache:
    """Optimised graphs in a private directory, one for each version. What goes wrong is logged and never fails a load.

    `runtime` names the build of onnxruntime.
    """

    def __init__(self, directory: Path, *, runtime: str) -> None:
        self._directory = directory
        self._runtime = runtime

    def path(self, owner: str, digest: str, *, providers: tuple[ProviderOptions, ...], tuning: SessionTuning) -> Path:
        """Return where the graph with this SHA-256 is kept for `owner`, a version: a name of all that it depends on."""
        asked = [(name, sorted(options.items())) for name, options in providers]
        facts = msgspec.json.encode((self._runtime, _cpu(), digest, asked, tuning))
        return self._directory / f"{owner}@{hashlib.sha256(facts).hexdigest()[:32]}.onnx"

    def session(self, owner: str, path: Path, load: Load) -> Session:
        """Return a session of the graph kept at `path`; if there is none of use, one of the original, and keep its graph.

        Raises ModelLoadError if the original cannot be loaded.
        """
        try:
            check_private(path)
            return load(path, None)
        except FileNotFoundError:
            logger.debug("there is no optimised graph yet in %s", path)
        except (ModelLoadError, OSError) as error:
            logger.warning("the optimised graph %s is not used: %s", path, error)
        writing = path.with_suffix(f".{os.getpid()}.writing")
        try:
            return self._written(owner, path, writing, load)
        except (ModelLoadError, OSError) as error:
            session = load(None, None)  # raises if it was not the writing that failed
            logger.warning("cannot keep the optimised graph in %s: %s", path, error)
            return session
        finally:
            with suppress(OSError):
                writing.unlink(missing_ok=True)

    def _written(self, owner: str, path: Path, writing: Path, load: Load) -> Session:
        """Load the original, have the optimised graph written beside, and put it in the place of older ones."""
        os.close(os.open(writing, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        session = load(None, writing)
        for old in self._directory.glob(f"{owner}@*.onnx"):
            old.unlink()
        writing.replace(path)
        return session


def _cpu() -> list[str]:
    """Return what decides which form of a graph is the fastest here: the architecture, and the first CPU's model and features."""
    facts = [platform.machine(), platform.system()]
    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n", maxsplit=1)[0]
        facts += [line for line in first.splitlines() if line.startswith(_CPU_FACTS)]
    return facts
