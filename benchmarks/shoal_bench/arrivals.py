"""When calls are sent: pure, seeded, and decided before anything is known of how the server does.

``offsets`` gives the intended times of an open loop, in seconds from its start, ascending. The same arrivals and seed
give the same times on every machine, so several processes can share one schedule by each taking every n-th of it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, takewhile
from typing import Final

import numpy as np

_CHUNK: Final = 4096  # drawn at once, so that numpy's cost per call is spread


@dataclass(frozen=True, slots=True)
class Constant:
    """One call each ``1 / rate`` seconds; ``rate`` > 0 per second."""

    rate: float

    def __post_init__(self) -> None:
        _positive(rate=self.rate)


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent callers: exponential gaps of ``1 / rate`` seconds on average; ``rate`` > 0 per second."""

    rate: float

    def __post_init__(self) -> None:
        _positive(rate=self.rate)


@dataclass(frozen=True, slots=True)
class Burst:
    """Independent callers of whom more come at times: ``burst_rate`` for the first ``burst_s`` of each ``period_s``.

    Rates are per second; ``rate``, which holds for the rest of the period, may be 0.
    """

    rate: float
    burst_rate: float
    period_s: float
    burst_s: float

    def __post_init__(self) -> None:
        _positive(burst_rate=self.burst_rate, period_s=self.period_s, burst_s=self.burst_s)
        if not 0 <= self.rate < math.inf:
            raise ValueError(f"rate is not negative, got {self.rate}")
        if self.burst_s > self.period_s:
            raise ValueError(f"burst_s is at most period_s, got {self.burst_s} and {self.period_s}")


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals as they were recorded: ``offsets_s`` ascending from 0 on, played ``speed`` times as fast."""

    offsets_s: tuple[float, ...]
    speed: float = 1.0

    def __post_init__(self) -> None:
        _positive(speed=self.speed)
        if not self.offsets_s:
            raise ValueError("a trace has at least one arrival")
        if self.offsets_s[0] < 0 or not all(map(math.isfinite, self.offsets_s)):
            raise ValueError("the offsets of a trace are finite and not negative")
        if any(later < earlier for earlier, later in zip(self.offsets_s, self.offsets_s[1:], strict=False)):
            raise ValueError("the offsets of a trace ascend")


Arrivals = Constant | Poisson | Burst | Trace


def offsets(arrivals: Arrivals, seed: int) -> Iterator[float]:
    """Return the intended times in seconds from the start, ascending; endless but for a trace."""
    match arrivals:
        case Constant(rate):
            return (number / rate for number in count())
        case Poisson(rate):
            return (unit / rate for unit in _unit_poisson(seed))
        case Burst():
            return (_time_of(arrivals, unit) for unit in _unit_poisson(seed))
        case Trace(offsets_s, speed):
            return (offset_s / speed for offset_s in offsets_s)


def mean_rate(arrivals: Arrivals) -> float:
    """Return the calls per second over a long time."""
    match arrivals:
        case Constant(rate) | Poisson(rate):
            return rate
        case Burst(rate, burst_rate, period_s, burst_s):
            return (burst_rate * burst_s + rate * (period_s - burst_s)) / period_s
        case Trace(offsets_s, speed):
            return len(offsets_s) * speed / offsets_s[-1] if offsets_s[-1] else math.inf


def at_rate(arrivals: Arrivals, rate: float) -> Arrivals:
    """Return arrivals of the same kind whose mean rate is ``rate`` per second: the pattern stays, the pace changes.

    Raises:
        ValueError: the rate is not positive, or it is a trace whose arrivals all come at once.
    """
    _positive(rate=rate)
    factor = rate / mean_rate(arrivals)
    if not factor:
        raise ValueError("a trace whose arrivals all come at once has no rate")
    match arrivals:
        case Constant() | Poisson():
            return replace(arrivals, rate=rate)
        case Burst():
            return replace(arrivals, rate=arrivals.rate * factor, burst_rate=arrivals.burst_rate * factor)
        case Trace():
            return replace(arrivals, speed=arrivals.speed * factor)


def count_between(arrivals: Arrivals, seed: int, from_s: float, until_s: float) -> int:
    """Return how many calls are due from ``from_s`` on and before ``until_s``."""
    due_s = takewhile(lambda at_s: at_s < until_s, offsets(arrivals, seed))
    return sum(1 for at_s in due_s if at_s >= from_s)


def end_s(arrivals: Arrivals) -> float:
    """Return when the last call is sent; infinity where there is no last."""
    return arrivals.offsets_s[-1] / arrivals.speed if isinstance(arrivals, Trace) else math.inf


def _unit_poisson(seed: int) -> Iterator[float]:
    """Arrivals of one per second on average; others are these on another time scale."""
    random = np.random.default_rng(seed)
    last = 0.0
    while True:
        for arrival in (last + np.cumsum(random.exponential(size=_CHUNK))).tolist():
            last = arrival
            yield arrival


def _time_of(burst: Burst, unit: float) -> float:
    """Return when the expected number of arrivals reaches ``unit``."""
    in_burst = burst.burst_rate * burst.burst_s
    in_period = in_burst + burst.rate * (burst.period_s - burst.burst_s)
    periods, rest = divmod(unit, in_period)
    within_s = rest / burst.burst_rate if rest <= in_burst else burst.burst_s + (rest - in_burst) / burst.rate
    return periods * burst.period_s + within_s


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is positive, got {value}")
