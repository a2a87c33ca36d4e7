"""A thread that runs batches one after another and reports each result to the event loop."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


class Worker(Generic[Job, Outcome]):
    """Executes jobs on its own thread; `done(worker, job, outcome, idle)` is called on the event loop.

    When it has done a job it asks `following` for the next one: a loop that is busy with other things does not keep it waiting.
    Without one it is idle until it is given one. `execute` must not raise: it gives an outcome for every job, so that nobody waits
    for ever; it is told whether it runs beside the event loop. While the worker has no job, `execute` may be called on any other
    thread, which then is the worker.
    """

    def __init__(
        self,
        execute: Callable[[Job, bool], Outcome],
        done: Callable[["Worker[Job, Outcome]", Job, Outcome, bool], None],
        following: Callable[[Job], Job | None],
        *,
        loop: asyncio.AbstractEventLoop,
        name: str,
    ) -> None:
        self.execute: Final = execute
        self._done = done
        self._following = following
        self._loop = loop
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand a job over to an idle worker."""
        self._jobs.put(job)

    def stop(self) -> None:
        """End the thread after the jobs that it has."""
        self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            while job is not None:
                outcome = self.execute(job, True)
                following = self._following(job)
                self._loop.call_soon_threadsafe(self._done, self, job, outcome, following is None)
                job = following
            del job, outcome, following  # an idle worker holds no tensors
