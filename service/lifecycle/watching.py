"""Keep the registry in step with a repository that changes: file-system events, and a look now and then where none come."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from watchfiles import awatch

from service.lifecycle.lifecycle import Lifecycle
from service.repository.source import Source

logger = logging.getLogger("axon.watching")

# How long the files of a version without a manifest must have been at rest.
SETTLE_SECONDS: Final = 2.0


async def watch(lifecycle: Lifecycle, root: Path, *, interval: float) -> None:
    """Load the repository again whenever it changes, until cancelled. Looks at it every `interval` seconds in any case."""
    async for _ in _changes(root, interval):
        await lifecycle.load_all()


async def catch_up(lifecycle: Lifecycle, source: Source, *, interval: float) -> None:
    """Try every `interval` seconds to load a repository that was out of reach at the start."""
    while not source.reached:
        await asyncio.sleep(interval)
        await lifecycle.load_all()


async def _changes(root: Path, interval: float) -> AsyncIterator[None]:
    """Yield after changes, and every `interval` seconds: network file systems send no events, and files settle without one."""
    try:
        async for _ in awatch(root, rust_timeout=int(interval * 1000), yield_on_timeout=True, raise_interrupt=False):
            yield
    except OSError as error:
        logger.warning("no file-system events from %s (%s); looking every %g s", root, error, interval)
    while True:
        await asyncio.sleep(interval)
        yield
