"""Several observers as one: what happens is reported once, and each of them is told."""

from collections.abc import Callable, Sequence

from service.inference.execution import RunReport
from service.inference.served_model import Load, ModelFacts, ModelObserver
from service.lifecycle.transitions import LifecycleObserver
from service.registry import VersionStatus


class Combined:
    """Tells several lifecycle observers, in their order."""

    def __init__(self, *observers: LifecycleObserver) -> None:
        self._observers = observers

    def model(self, name: str, version: int) -> "CombinedModel":
        """Return the observers of a version that starts to serve."""
        return CombinedModel([observer.model(name, version) for observer in self._observers])

    def unloaded(self, name: str, version: int) -> None:
        """Report that a version has been taken down."""
        for observer in self._observers:
            observer.unloaded(name, version)

    def forgotten(self, name: str, version: str) -> None:
        """Report that nothing is known of a version any more, or of a model."""
        for observer in self._observers:
            observer.forgotten(name, version)

    def state_changed(self, status: VersionStatus) -> None:
        """Report the state that a version has now."""
        for observer in self._observers:
            observer.state_changed(status)

    def load_ended(self, name: str, *, seconds: float, failed: bool) -> None:
        """Report that the loading of a version has ended."""
        for observer in self._observers:
            observer.load_ended(name, seconds=seconds, failed=failed)


class CombinedModel:
    """Tells several observers of a model version."""

    def __init__(self, observers: Sequence[ModelObserver]) -> None:
        self._observers = observers
        self._answered = tuple(observer.answered for observer in observers)  # asked for once, as it is called for every request

    def ran(self, run: RunReport, *, reason: str) -> None:
        """Report one run."""
        for observer in self._observers:
            observer.ran(run, reason=reason)

    def looked_up(self, *, found: bool, seconds: float) -> None:
        """Report a look into the response cache."""
        for observer in self._observers:
            observer.looked_up(found=found, seconds=seconds)

    def serves(self, facts: ModelFacts, load: Callable[[], Load]) -> None:
        """Pass on what is known of the version and the function that says what it does."""
        for observer in self._observers:
            observer.serves(facts, load)

    def answered(self, *, outcome: str, reason: str, seconds: float) -> None:
        """Report a finished request."""
        for answered in self._answered:
            answered(outcome=outcome, reason=reason, seconds=seconds)
