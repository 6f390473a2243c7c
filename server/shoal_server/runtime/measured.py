"""What measuring showed of a model, for the versions of it that differ in their weights alone."""

import threading
from dataclasses import dataclass, replace
from typing import Final

from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.ports import Tuning
from shoal_server.options import BatchInvariance

_MOST_MODELS: Final = 256


@dataclass(frozen=True, slots=True)
class Measured:
    """How a graph (``graph_print`` names it), batched or not, is best run, and rows and seconds of its runs."""

    graph: str
    batched: bool
    tuning: Tuning
    timings: tuple[tuple[int, float], ...]

    @property
    def inherited(self) -> Tuning:
        """Return the tuning for another version of the graph."""
        return replace(self.tuning, reason=f"as an earlier version of the same graph: {self.tuning.reason}")


class LastMeasured:
    """The last that was measured of each model, for as long as its owner wants it served in the same way.

    From any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[ModelDefinition, Measured]] = {}

    def find(self, definition: ModelDefinition) -> Measured | None:
        """Return what was measured of a model that was described like this."""
        with self._lock:
            wanted, measured = self._known.get(definition.name, (None, None))
        return measured if wanted == _served(definition) else None

    def remember(self, definition: ModelDefinition, measured: Measured) -> None:
        """Take note of it."""
        with self._lock:
            self._known.pop(definition.name, None)
            self._known[definition.name] = (_served(definition), measured)
            if len(self._known) > _MOST_MODELS:
                del self._known[next(iter(self._known))]


def inheritable(definition: ModelDefinition) -> bool:
    """Whether what is measured is that of plain batches, which all versions of a graph take alike."""
    return definition.batching.lengths is None and definition.answers.batch_invariant is BatchInvariance.NEVER


def _served(definition: ModelDefinition) -> ModelDefinition:
    """Return what a model's owner wants, whichever versions there are."""
    return replace(definition, versions={}, policy=type(definition.policy)(), warnings=(), refused={})
