"""What was counted of one model version, as exporters take it: a frozen copy."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from shoal_server.batching.decision import CloseReason
from shoal_server.batching.outcome import Outcome
from shoal_server.errors import Bound
from shoal_server.histogram import Buckets

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Measured:
    """Counts and histograms; durations in seconds.

    ``queue_s`` and ``request_s`` are of requests that were answered with results; ``batch_rows`` of all batches, and
    the stages of the calls of the model that answered somebody. ``lookups`` are requests whose content was looked at:
    hit, miss (of the cache), and shared (computed with another). ``cells`` and
    ``padded_cells`` are 0 where lengths do not vary.
    """

    outcomes: Mapping[Outcome, int]
    queue_refusals: Mapping[Bound, int]
    close_reasons: Mapping[CloseReason, int]
    queue_s: Buckets
    request_s: Buckets
    batch_rows: Buckets
    input_s: Buckets
    infer_s: Buckets
    output_s: Buckets
    lookups: Mapping[str, int]
    cells: int = 0
    padded_cells: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether no request has come yet."""
        return not any(self.outcomes.values()) and not self.batch_rows.size

    def plus(self, other: "Measured") -> "Measured":
        """Return the sum of both."""
        return Measured(
            _sum(self.outcomes, other.outcomes),
            _sum(self.queue_refusals, other.queue_refusals),
            _sum(self.close_reasons, other.close_reasons),
            self.queue_s.plus(other.queue_s),
            self.request_s.plus(other.request_s),
            self.batch_rows.plus(other.batch_rows),
            self.input_s.plus(other.input_s),
            self.infer_s.plus(other.infer_s),
            self.output_s.plus(other.output_s),
            _sum(self.lookups, other.lookups),
            self.cells + other.cells,
            self.padded_cells + other.padded_cells,
        )


def _sum(first: Mapping[K, int], second: Mapping[K, int]) -> dict[K, int]:
    return dict(Counter(first) + Counter(second))
