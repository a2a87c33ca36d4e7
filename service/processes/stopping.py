"""How those who serve learn that the end has come."""

import asyncio


class Stopping:
    """Three events: the end has begun, nobody should come; who comes is refused, what was accepted is finished; all is hurried."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.refusing = asyncio.Event()
        self.hurried = asyncio.Event()

    def refuse(self) -> None:
        """Accept nothing from now on."""
        self.begun.set()
        self.refusing.set()
