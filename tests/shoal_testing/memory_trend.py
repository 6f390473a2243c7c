"""Whether memory grows: a straight line through samples of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Trend:
    """Bytes per sample, the standard error of that, and the bytes of the first and the last point of the line."""

    slope: float
    error: float
    first: float
    last: float

    def __str__(self) -> str:
        return (
            f"{self.slope / 1024:+.1f} ± {self.error / 1024:.1f} KiB per sample, from {self.first / 2**20:.1f} to "
            f"{self.last / 2**20:.1f} MiB"
        )


def trend(samples: Sequence[int]) -> Trend:
    """Fit a line through at least three samples, in bytes, by least squares."""
    x = np.arange(len(samples), dtype=np.float64)
    slope, start = np.polyfit(x, np.array(samples, np.float64), 1)
    rest = np.array(samples) - (start + slope * x)
    error = np.sqrt((rest @ rest) / (len(x) - 2) / ((x - x.mean()) @ (x - x.mean())))
    return Trend(float(slope), float(error), float(start), float(start + slope * x[-1]))
