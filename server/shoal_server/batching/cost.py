"""What a batch costs: its service time as a line over its size, learned from batches that ran. Pure."""

from collections.abc import Iterable
from typing import Final

_MEMORY: Final = 32  # batches: what was seen a hundred batches ago counts 4 %
_WARM_WEIGHT: Final = 1.0  # of all that the warm-up measured, in batches: real ones soon outweigh it
_KEEP_SLOPE: Final = 0.1  # how much the slope so far counts, in squared mean costs; matters where all batches are alike
_OUTLIER: Final = 4.0  # mean deviations above the line, beyond which a batch counts as no slower
_OUTLIER_SHARE: Final = 0.25  # of the prediction, the least that counts as an outlier
_DEVIATION_SHARE: Final = 1.0 / 32


class CostModel:
    """``base_s + cost_s * cost`` for a batch of that cost (rows), both never negative.

    Least squares that forget exponentially: constant work for each batch, and no memory that grows. A batch that is
    slower than the line by more than ``_OUTLIER`` mean deviations pulls it only as far, so one that met a busy machine
    changes little, while a model that has become slower is believed within some dozens of batches. None is faster by
    accident, so what is faster counts whole. ``deviation_s`` is the mean distance of batches from the line.
    """

    __slots__ = (
        "_forget",
        "_mean_cost",
        "_mean_s",
        "_spread",
        "_together",
        "_weight",
        "base_s",
        "batches",
        "cost_s",
        "deviation_s",
    )

    def __init__(
        self, timings: Iterable[tuple[int, float]] = (), *, memory: int = _MEMORY, warm_weight: float = _WARM_WEIGHT
    ) -> None:
        """Start from what a warm-up measured: cost and seconds of each run, which weigh as much as so many batches.

        A batch ``memory`` batches ago counts a third of the last.
        """
        self._forget = 1.0 - 1.0 / memory
        self.base_s = 0.0
        self.cost_s = 0.0
        self.deviation_s = 0.0
        self.batches = 0
        self._weight = 0.0
        self._mean_cost = 0.0
        self._mean_s = 0.0
        self._spread = 0.0
        self._together = 0.0
        for cost, took_s in timings:
            self.observe(cost, took_s)
        if self._weight > _WARM_WEIGHT:
            share = warm_weight / self._weight
            self._weight = warm_weight
            self._spread *= share
            self._together *= share

    def predict_s(self, cost: float) -> float:
        """Return how long a batch of that cost should take; 0 before the first was seen."""
        return self.base_s + self.cost_s * cost

    def observe(self, cost: float, took_s: float) -> None:
        """Learn from a batch."""
        if self.batches:
            predicted_s = self.base_s + self.cost_s * cost
            limit_s = max(_OUTLIER * self.deviation_s, _OUTLIER_SHARE * predicted_s)
            took_s = min(took_s, predicted_s + limit_s) if self._weight > 1.0 else took_s
            self.deviation_s += (abs(took_s - predicted_s) - self.deviation_s) * _DEVIATION_SHARE
        self.batches += 1
        forget = self._forget
        weight = self._weight = forget * self._weight + 1.0
        far = cost - self._mean_cost
        self._mean_cost += far / weight
        self._mean_s += (took_s - self._mean_s) / weight
        self._spread = forget * self._spread + far * (cost - self._mean_cost)
        self._together = forget * self._together + far * (took_s - self._mean_s)
        # The line goes through the mean, as steep as the data say; where all sizes are alike, as steep as before.
        keep = _KEEP_SLOPE * self._mean_cost * self._mean_cost
        spread = self._spread + keep
        slope_s = max((self._together + keep * self.cost_s) / spread, 0.0) if spread > 0.0 else 0.0
        base_s = self._mean_s - slope_s * self._mean_cost
        if base_s < 0.0:
            base_s, slope_s = 0.0, self._mean_s / self._mean_cost
        self.base_s, self.cost_s = base_s, slope_s

    def __repr__(self) -> str:
        return f"<CostModel {self.base_s * 1e6:.0f} us + {self.cost_s * 1e6:.2f} us a row, {self.batches} batches>"
