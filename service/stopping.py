"""How those who serve learn that the end has come."""

import asyncio


class Stopping:
    """Two events: the end has begun, what was accepted is finished; the end is to be hurried, nothing is waited for any more."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.hurried = asyncio.Event()
