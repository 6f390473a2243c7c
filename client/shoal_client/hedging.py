"""When a second copy of a request is sent while the first is still under way: a pure policy, with a budget.

One slow server out of several makes one call in some slow. A hedge sends the request once more, to another target, when
the first has taken longer than nearly all calls before it; the first answer wins and the other is cancelled. The budget
keeps that from becoming a second load: hedges are at most ``ratio`` of all calls.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from shoal_client.errors import ConfigurationError

_WINDOW: Final = 512
_RENEWED_EVERY: Final = 16  # sorting 512 numbers takes 30 us


@dataclass(frozen=True, slots=True)
class Hedging:
    """When a request is sent a second time. Only inferences are hedged; a model that is not a function should not be.

    Attributes:
        percentile: of the latencies seen; a call that takes longer is hedged. In (0, 100).
        ratio: hedges per call at most, in the long run. In (0, 1].
        burst: hedges in a row at most; at least 1.
        min_samples: calls seen before the first hedge; at least 1.
        min_delay_s: no hedge earlier than this after the request, in seconds.
    """

    percentile: float = 95.0
    ratio: float = 0.05
    burst: float = 5.0
    min_samples: int = 50
    min_delay_s: float = 0.001

    def __post_init__(self) -> None:
        if not 0 < self.percentile < 100:  # noqa: PLR2004 - per cent
            raise ConfigurationError(f"percentile is between 0 and 100, got {self.percentile}")
        if not 0 < self.ratio <= 1 or self.burst < 1:
            raise ConfigurationError(f"ratio is in (0, 1] and burst at least 1, got {self.ratio} and {self.burst}")
        if self.min_samples < 1 or self.min_delay_s < 0:
            raise ConfigurationError(
                f"min_samples is at least 1 and min_delay_s not negative, got {self.min_samples} and {self.min_delay_s}"
            )


class HedgeBudget:
    """Tokens that all hedges of a client share: each call earns ``ratio``, each hedge takes one."""

    def __init__(self, options: Hedging) -> None:
        self._options = options
        self.tokens = options.burst

    def called(self) -> None:
        """A call was made."""
        self.tokens = min(self._options.burst, self.tokens + self._options.ratio)

    def take(self) -> bool:
        """Take a token for a hedge; False if there is none."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Latencies:
    """The latest latencies of one model, and the percentile above which a call is slow."""

    def __init__(self, options: Hedging) -> None:
        self._options = options
        self._latest: deque[float] = deque(maxlen=_WINDOW)
        self._since = 0
        self._slow_s: float | None = None

    def observe(self, latency_s: float) -> None:
        """An attempt was answered after so many seconds."""
        self._latest.append(latency_s)
        self._since += 1

    def hedge_after_s(self) -> float | None:
        """Return how long after its request a call is slow, in seconds; None while too few are known."""
        if len(self._latest) < self._options.min_samples:
            return None
        if self._slow_s is None or self._since >= _RENEWED_EVERY:
            ranked = sorted(self._latest)
            rank = math.ceil(len(ranked) * self._options.percentile / 100) - 1
            self._slow_s = max(self._options.min_delay_s, ranked[rank])
            self._since = 0
        return self._slow_s
