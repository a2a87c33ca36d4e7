"""Shared by the inference tests: a model that is a plain function, and a batcher around it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from service.inference.batcher import Batcher
from service.inference.execution import RunReport
from service.repository.configuration import Batching

Array = np.ndarray[Any, Any]
DEADLINE = 30.0


class Model:
    """`y = 10 x`, run by a function: it notes the rows of every run, can be held, and fails on chosen values."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        self.poison: set[float] = set()
        self._going = threading.Event()
        self._going.set()
        self._begun = threading.Semaphore(0)

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Run."""
        self.runs.append(inputs[0][:, 0].tolist())
        self._begun.release()
        assert self._going.wait(DEADLINE)
        if self.poison & set(self.runs[-1]):
            raise ValueError("poison")
        return [inputs[0] * 10]

    def hold(self) -> None:
        """Let every run from now on wait."""
        self._going.clear()

    def go_on(self) -> None:
        """Let the held runs end."""
        self._going.set()

    async def begun(self) -> None:
        """Wait until one more run has begun."""
        assert await asyncio.to_thread(self._begun.acquire, timeout=DEADLINE)


class Recorder:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.runs: list[RunReport] = []

    def ran(self, run: RunReport, *, reason: str) -> None:
        """Keep a run and its reason."""
        self.runs.append(run)
        self.reasons.append(reason)


class Bench:
    """A batcher around a model, and callers that send it single values."""

    def __init__(self, **options: Any) -> None:
        self.model = Model()
        self.observer = Recorder()
        batching = {key: value for key, value in options.items() if key in Batching.__struct_fields__}
        others = {key: value for key, value in options.items() if key not in batching}
        runs = [others.pop("run", self.model)] * others.pop("workers", 1)
        self.batcher = Batcher(runs, name="m", version=1, batching=Batching(**batching), observer=self.observer, **others)
        self.callers: list[asyncio.Task[list[float]]] = []

    async def call(self, *values: float, **options: Any) -> "asyncio.Task[list[float]]":
        """Start a caller with one row for each value, and return it once the batcher has looked at its rows."""
        caller = self.start(*values, **options)
        await asyncio.sleep(0)  # the caller submits
        await asyncio.sleep(0)  # the batcher dispatches
        return caller

    def start(self, *values: float, **options: Any) -> "asyncio.Task[list[float]]":
        """Start a caller with one row for each value."""
        self.callers.append(asyncio.create_task(self._submit(values, {"key": None, **options})))
        return self.callers[-1]

    async def occupied(self) -> "asyncio.Task[list[float]]":
        """Keep the session busy with the value 0 until `model.go_on()`."""
        self.model.hold()
        caller = await self.call(0)
        await self.model.begun()
        return caller

    async def close(self) -> None:
        """End everything that a test has left."""
        self.model.go_on()
        for caller in self.callers:
            caller.cancel()
        await asyncio.gather(*self.callers, return_exceptions=True)
        await self.batcher.close()

    async def _submit(self, values: Sequence[float], options: dict[str, Any]) -> list[float]:
        inputs = [np.array(values, dtype=np.float32)[:, np.newaxis]]
        outputs, _timing = await self.batcher.submit(inputs, rows=len(values), **options)
        return outputs[0][:, 0].tolist()


@pytest.fixture
async def bench() -> AsyncIterator[Callable[..., Bench]]:
    """Return a function that makes a bench; its options are the fields of Batching and the arguments of Batcher."""
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    yield make
    for each in made:
        await each.close()
