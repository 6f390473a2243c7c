"""A rate with some slack: the token bucket. Pure."""

from math import inf
from typing import Final

_ROUNDING: Final = 1e-9  # of the burst: a bucket that is full to the last digit is full


class TokenBucket:
    """Lets ``rate`` through a second on average, > 0, and up to ``burst`` at once, > 0. Times are monotonic seconds."""

    __slots__ = ("_filled_s", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """Start full."""
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._filled_s = now

    def wait_s(self, now: float, amount: float) -> float:
        """Return in what time that much can be taken; 0 for now, infinity for never."""
        if amount > self.burst:
            return inf
        self._tokens = min(self.burst, self._tokens + (now - self._filled_s) * self.rate)
        self._filled_s = now
        missing = amount - self._tokens
        return missing / self.rate if missing > _ROUNDING * self.burst else 0.0

    def take(self, amount: float) -> None:
        """Take what ``wait_s`` has just found to be there."""
        self._tokens -= amount

    def full(self, now: float) -> bool:
        """Whether nothing was taken that has not come back."""
        return self.wait_s(now, self.burst) == 0.0
