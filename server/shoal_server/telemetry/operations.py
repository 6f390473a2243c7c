"""Counts of what operators did, and of what became of versions. An Observer."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shoal_server.events import Event, OperationEnded, VersionChanged
from shoal_server.histogram import Buckets, Histogram

_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""A swap loads and warms up a model: slower than any call."""
_MOST_KINDS: Final = 64  # they are closed sets; this is for the one who forgets it


@dataclass(frozen=True, slots=True)
class OperationsMeasured:
    """Seconds by (kind, outcome) and by (kind, step), and moves of versions by the state that they came to."""

    operations: Mapping[tuple[str, str], Buckets]
    steps: Mapping[tuple[str, str], Buckets]
    moves: Mapping[str, int]


class OperationCounts:
    """Written and read on the loop."""

    def __init__(self) -> None:
        self._operations: dict[tuple[str, str], Histogram] = {}
        self._steps: dict[tuple[str, str], Histogram] = {}
        self._moves: Counter[str] = Counter()

    def observe(self, event: Event) -> None:
        """Count an event."""
        match event:
            case VersionChanged(_, _, state, _):
                self._moves[state] += 1
            case OperationEnded():
                _add(self._operations, (event.operation, event.outcome), event.seconds)
                for step in event.steps:
                    _add(self._steps, (event.operation, step.kind), step.seconds)
            case _:
                pass

    def read(self) -> OperationsMeasured:
        """Return a copy."""
        return OperationsMeasured(
            {key: histogram.read() for key, histogram in self._operations.items()},
            {key: histogram.read() for key, histogram in self._steps.items()},
            dict(self._moves),
        )


def _add(histograms: dict[tuple[str, str], Histogram], key: tuple[str, str], seconds: float) -> None:
    if key not in histograms and len(histograms) >= _MOST_KINDS:
        return
    histograms.setdefault(key, Histogram(_SECONDS)).add(seconds)
