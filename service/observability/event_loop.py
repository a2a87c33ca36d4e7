"""How late the event loop is: what keeps it busy keeps every client waiting."""

import asyncio
from collections.abc import Callable
from typing import Final

_INTERVAL: Final = 0.25  # seconds


async def watch_event_loop(report: Callable[[float], None]) -> None:
    """Report, several times a second, by how many seconds a timer was late, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _INTERVAL
        await asyncio.sleep(_INTERVAL)
        report(max(0.0, loop.time() - due))
