"""The search for the highest rate at which a target holds: pure; the shell measures what it asks for.

From a first guess the rate doubles (or halves) until one rate holds and a higher one does not; then the gap is halved,
on a logarithmic scale, until it is as narrow as asked. A rate counts as not held only when it fails twice, since one
interruption of a shared machine fails a p99. A trial in which the generator was the limit says nothing of the server:
the search goes no higher, and what it found is a lower bound.
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

_LOWEST_RATE: Final = 1.0
_FAILURES: Final = 2


class Outcome(Enum):
    """What a trial at some rate showed."""

    HELD = "held"
    FAILED = "failed"
    GENERATOR_LIMIT = "generator_limit"


@dataclass(frozen=True, slots=True)
class Try:
    """Measure at this rate, in calls per second."""

    rate: float


@dataclass(frozen=True, slots=True)
class Found:
    """The search is over. ``rate`` is the highest that held; None where none did.

    ``at_least``: the generator was the limit above it, or the search's own highest rate was reached.
    """

    rate: float | None
    at_least: bool


class Search:
    """One search. ``next`` says what to do; ``learn`` takes what the trial that it asked for showed."""

    def __init__(self, first_rate: float, highest_rate: float = math.inf, precision: float = 0.05) -> None:
        if not (_LOWEST_RATE <= first_rate <= highest_rate and 0 < precision < 1):
            raise ValueError(f"first_rate from {_LOWEST_RATE} to highest_rate, precision in (0, 1)")
        self._highest = highest_rate
        self._precision = precision
        self._rate = first_rate
        self._failures = 0
        self._held: float | None = None
        self._failed: float | None = None
        self._blocked: float | None = None

    def next(self) -> Try | Found:
        """Return the next trial, or the result."""
        ceiling = self._ceiling
        if ceiling is not None and ceiling <= _LOWEST_RATE:
            return Found(None, at_least=False)
        if self._held is not None:
            if self._held >= self._highest:
                return Found(self._held, at_least=True)
            if ceiling is not None and ceiling / self._held <= 1 + self._precision:
                return Found(self._held, at_least=ceiling == self._blocked)
        return Try(self._rate)

    def learn(self, outcome: Outcome) -> None:
        """Take the outcome of the trial at the rate that ``next`` gave."""
        match outcome:
            case Outcome.HELD:
                self._held = self._rate
            case Outcome.FAILED:
                self._failures += 1
                if self._failures < _FAILURES:
                    return
                self._failed = self._rate
            case Outcome.GENERATOR_LIMIT:
                self._blocked = self._rate
        self._failures = 0
        self._rate = self._choose()

    @property
    def _ceiling(self) -> float | None:
        return min((rate for rate in (self._failed, self._blocked) if rate is not None), default=None)

    def _choose(self) -> float:
        ceiling = self._ceiling
        if ceiling is None:
            return min(self._rate * 2, self._highest)
        if self._held is None:
            return max(ceiling / 2, _LOWEST_RATE)
        return math.sqrt(self._held * ceiling)
