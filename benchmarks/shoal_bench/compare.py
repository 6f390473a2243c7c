"""Two records, metric by metric, and whether what differs is more than the noise.

A metric has one value per window or round. The noise of a metric is the larger of the two records' spreads, each the
range of its values over their median. A change counts when it exceeds the noise and no value of one record lies within
the range of the other; below three values each there is nothing to tell it from chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import Final

_FEWEST: Final = 3
_HIGHER_IS_BETTER: Final = ("throughput", "goodput", "ratio", "capacity")
_STANDS_WHOEVER_LIMITS: Final = "server_cpu"  # what the server used for what it answered


class Verdict(Enum):
    """What became of a metric."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "within the noise"
    UNKNOWN = "too few values to tell"
    GENERATOR = "no verdict: the generator was the limit"


@dataclass(frozen=True, slots=True)
class Change:
    """One metric of two records: medians, the change and the noise as shares of the first median, the verdict."""

    metric: str
    before: float
    after: float
    change: float
    noise: float
    verdict: Verdict


Series = Mapping[str, Sequence[float]]


def compare(before: Series, after: Series, *, generator_limited: bool = False) -> list[Change]:
    """Compare the metrics that both have, in the order of the first.

    ``generator_limited``: in one of the two the generator was the limit, so nothing follows for the server.
    """
    return [
        _change(metric, values, after[metric], generator_limited=generator_limited)
        for metric, values in before.items()
        if values and after.get(metric)
    ]


def higher_is_better(metric: str) -> bool:
    """Return whether more of a metric is better; of times, less is."""
    return _name(metric).startswith(_HIGHER_IS_BETTER)


def _name(metric: str) -> str:
    """Return a metric's name without what it was measured of, as in ``shoal/throughput_per_s``."""
    return metric.rpartition("/")[2]


def _change(metric: str, before: Sequence[float], after: Sequence[float], *, generator_limited: bool) -> Change:
    first, second = median(before), median(after)
    change = (second - first) / first if first else (0.0 if second == first else float("inf"))
    noise = max(_noise(before), _noise(after))
    if generator_limited and not _name(metric).startswith(_STANDS_WHOEVER_LIMITS):
        verdict = Verdict.GENERATOR
    elif min(len(before), len(after)) < _FEWEST:
        verdict = Verdict.UNKNOWN
    elif abs(change) <= noise or (max(before) >= min(after) and max(after) >= min(before)):
        verdict = Verdict.SAME
    else:
        verdict = Verdict.BETTER if (change > 0) == higher_is_better(metric) else Verdict.WORSE
    return Change(metric, first, second, change, noise, verdict)


def _noise(values: Sequence[float]) -> float:
    middle = median(values)
    if max(values) == min(values):
        return 0.0
    return (max(values) - min(values)) / middle if middle else float("inf")
