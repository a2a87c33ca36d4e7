"""When the series of a version that no longer serves may go: a scraper must have had the time to read their last values."""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final

Version = tuple[str, str]  # of a model; an empty version means the model as a whole
KEPT_SECONDS: Final = 300.0  # Prometheus scrapes once a minute unless told otherwise, and looks back for five
MOST_KEPT: Final = 20  # of a model: one that swaps versions all the time must not fill the exposition in that time


class Retirement:
    """Versions in the order in which they retired. Each is due after `seconds`, or when `most` later ones of its model retired."""

    def __init__(
        self, *, seconds: float = KEPT_SECONDS, most: int | None = MOST_KEPT, clock: Callable[[], float] = monotonic
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._since: dict[Version, float] = {}

    def retire(self, version: Version) -> None:
        """Note that a version has retired."""
        self._since.pop(version, None)
        self._since[version] = self._clock()

    def returned(self, version: Version) -> None:
        """Note that a version is back."""
        self._since.pop(version, None)

    def due(self) -> list[Version]:
        """Return the versions whose time is over, each once."""
        due = list(self._late())
        for version in due:
            del self._since[version]
        return due

    def _late(self) -> Iterator[Version]:
        if not self._since:
            return
        oldest = self._clock() - self._seconds
        later: dict[str, int] = {}
        for version, since in reversed(self._since.items()):
            later[version[0]] = later.get(version[0], 0) + 1
            if since <= oldest or (self._most is not None and later[version[0]] > self._most):
                yield version
