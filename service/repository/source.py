"""Where a server's repository comes from: a directory, or what is fetched into one."""

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Protocol

Key = tuple[str, int]  # a model's name and a version's number


class Source(Protocol):
    """Gives the repository as a directory, and keeps it up to date where that takes more than to look."""

    @property
    def root(self) -> Path:
        """The directory of the repository."""

    @property
    def reached(self) -> bool:
        """Whether what is in `root` is what there is; if not, a later refresh may bring it."""

    def refresh(self, *, serving: AbstractSet[Key], failed: AbstractSet[Key]) -> bool:
        """Bring `root` up to date and return whether that has changed it. Blocking; never raises.

        Versions that are `serving` stay while they are wanted, and others are brought in place of those that have `failed` to load.
        """


class Directory:
    """A repository that is a directory already."""

    reached = True

    def __init__(self, root: Path) -> None:
        self.root = root

    def refresh(self, *, serving: AbstractSet[Key], failed: AbstractSet[Key]) -> bool:  # noqa: ARG002 -- there is nothing to do
        """Return False: what changes, others change."""
        return False
