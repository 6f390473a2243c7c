"""When enough has been measured.

A run ends when its last three windows agree in throughput and in median latency: when the largest of the three exceeds
the smallest by at most the tolerance. The p99 does not decide: a hundredth of a window's calls make it, and of a few
hundred calls a second it jumps by a tenth and more for no other reason than chance, so that a run would end by luck.
Its spread is reported instead. Stability says when to stop, never what to leave out: all windows count.
"""

from collections.abc import Sequence
from typing import Final

NEEDED: Final = 3
TOLERANCE: Final = 0.10


def spread(values: Sequence[float]) -> float:
    """Return how far the largest value exceeds the smallest, as a share of it; 0 for equal ones, infinity over 0."""
    low, high = min(values), max(values)
    if low == high:
        return 0.0
    return (high - low) / low if low > 0 else float("inf")


def stable(
    throughputs: Sequence[float], medians_s: Sequence[float], tolerance: float = TOLERANCE, needed: int = NEEDED
) -> bool:
    """Return whether the last ``needed`` windows agree in both. A window in which nothing succeeded never agrees."""
    if len(throughputs) < needed or min(throughputs[-needed:]) <= 0:
        return False
    return spread(throughputs[-needed:]) <= tolerance and spread(medians_s[-needed:]) <= tolerance
