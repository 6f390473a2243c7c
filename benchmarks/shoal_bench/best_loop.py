"""A server held against loops without one, round by round. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

TARGET: Final = 0.97


@dataclass(frozen=True, slots=True)
class Side:
    """Pictures per second, and CPU milliseconds for each: of the loop, or of the server without its callers."""

    rows_per_s: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Round:
    """The server, and each of the best loops without one; and the machine's load average meanwhile."""

    served: Side
    offline: tuple[Side, ...]
    load: float

    def ratio(self, loop: int) -> float:
        """Return the server's throughput over that of a loop."""
        return self.served.rows_per_s / self.offline[loop].rows_per_s

    def cpu_ratio(self, loop: int) -> float:
        """Return a loop's CPU time for a picture over the server's: what others do on the machine moves it less."""
        return self.offline[loop].cpu_ms / self.served.cpu_ms


def better_loop(rounds: Sequence[Round]) -> int:
    """Return which of the loops was the better over all rounds."""
    loops = range(len(rounds[0].offline))
    return max(loops, key=lambda loop: median(one.offline[loop].rows_per_s for one in rounds))


def verdict(rounds: Sequence[Round]) -> str:
    """Return the median of the ratio and its spread, and whether it meets the target."""
    loop = better_loop(rounds)
    ratios = [one.ratio(loop) for one in rounds]
    met = "met" if median(ratios) >= TARGET else "MISSED"
    return (
        f"served over the best loop: median {median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f} in "
        f"{len(ratios)} rounds, by CPU time {median(one.cpu_ratio(loop) for one in rounds):.3f}; machine's load "
        f"{median(one.load for one in rounds):.1f}; target >= {TARGET:.2f}: {met}"
    )
