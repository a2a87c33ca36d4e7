"""How the CPUs of the process are shared out among the models that it has loaded.

onnxruntime gives every session a pool of its own, as large as the host has cores unless it is told otherwise, and its threads spin
when idle. Its pool for all sessions is no way out: from Python it cannot be kept from spinning, and burns its CPUs between runs as
well (on two cores, runs of 3 ms with pauses of 30 ms: 35 ms of CPU time for each, 4 ms with threads that sleep). So each model gets
a share of the CPUs when it is loaded, and threads that sleep when there is nothing to do: tests/benchmarks/runtime/shared_cpus.py.
"""

import logging
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

logger = logging.getLogger("axon.threads")


@dataclass(frozen=True, eq=False, weakref_slot=True, slots=True)
class Grant:
    """The threads of one loaded version: `instances` runs at once, on a pool that lets one run use up to `intra_op` threads.

    `versions` of the model serve side by side with as many threads each. Counts as long as somebody holds it.
    """

    model: str
    version: int
    instances: int
    intra_op: int
    versions: int = 1

    def __str__(self) -> str:
        instances = "" if self.instances == 1 else f"{self.instances} instances, "
        return f"{instances}{self.intra_op} thread{'' if self.intra_op == 1 else 's'} a run"

    @property
    def threads(self) -> int:
        """How many threads can compute at once: those that call, and what the pool adds to them."""
        return self.instances + self.intra_op - 1


class ThreadPlan:
    """Shares `cpus` out. Safe to use from any thread.

    A model that is loaded gets an even share of the CPUs among the models that are there or expected, and no more than is left. A
    version that replaces another of its model takes the same share: the old one drains. What was granted is not changed later, as
    a session's threads are fixed: what comes in addition has to do with one thread at the least.
    """

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self._lock = threading.Lock()
        self._expected = 1
        self._grants: weakref.WeakSet[Grant] = weakref.WeakSet()

    def expect(self, models: int) -> None:
        """Say how many models are going to be loaded."""
        with self._lock:
            self._expected = max(1, models)

    def grant(self, model: str, version: int, *, versions: int = 1, instances: int = 1, intra_op: int | None = None) -> Grant:
        """Return the threads of a version. `versions` of the model serve side by side; `intra_op` fixes the threads of one run."""
        with self._lock:
            granted = Grant(model, version, instances, intra_op or self._share(model, versions, instances), versions)
            self._grants.add(granted)
            busy = self._busy()
        if busy > self.cpus and (intra_op or instances > 1):  # more models than CPUs are no mistake
            logger.warning(
                "with model %s, %d at once on %d threads, the models can keep %d threads busy; the process has %d CPUs",
                *(model, instances, granted.intra_op, busy, self.cpus),
            )
        return granted

    @property
    def grants(self) -> list[Grant]:
        """What is granted now."""
        with self._lock:
            return sorted(self._grants, key=lambda grant: (grant.model, grant.version))

    @property
    def busy(self) -> int:
        """How many threads compute if all models run at once."""
        with self._lock:
            return self._busy()

    def _share(self, model: str, versions: int, instances: int) -> int:
        others = {grant.model for grant in self._grants if grant.model != model}
        even = self.cpus // max(self._expected, len(others) + 1)
        share = min(even, self.cpus - self._busy(besides=model)) // versions
        return max(1, share - instances + 1)

    def _busy(self, besides: str | None = None) -> int:
        return sum(self._by_model(besides))

    def _by_model(self, besides: str | None) -> Iterator[int]:
        """Yield the threads of each model; of versions that have replaced each other the larger number counts."""
        for model in {grant.model for grant in self._grants} - {besides}:
            yield max(grant.threads * grant.versions for grant in self._grants if grant.model == model)
