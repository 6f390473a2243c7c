"""When a failed call is sent again: a pure policy, with a budget.

Four rules keep retries from making an overload worse. Only a failure that says "not here" (UNAVAILABLE) is tried again
of our own accord; one that says "too much" (RESOURCE_EXHAUSTED) only when the server itself says when, by the trailer
``grpc-retry-pushback-ms``, which is obeyed to the letter (gRPC proposal A6). And all calls of a client share a budget:
retries stop where more than about one call in ten needs one. What failed because there was no connection has been
no load to anybody, and takes nothing of it where another target can be asked.
"""

from dataclasses import dataclass
from typing import Final

from shoal_client.errors import ConfigurationError

PUSHBACK: Final = "grpc-retry-pushback-ms"
STATUS: Final = "grpc-status"
_MOST_DIGITS: Final = 10


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """How failed calls are sent again.

    Attributes:
        max_attempts: how often one request is sent at most, the first time included; 1 never sends again.
        first_delay_s: the wait before the second attempt, on average, in seconds; each further one is
            ``multiplier`` times longer, up to ``max_delay_s``. Each wait is drawn from 0.5 to 1.5 of that.
        multiplier: at least 1.
        max_delay_s: the longest wait between two attempts that the client chooses by itself, in seconds.
        budget: how many tokens the client's budget holds, at least 1. A failed attempt takes one, a success gives
            ``refill`` back, and nothing is sent again while no more than half of them are there. Where nobody was
            reached and another target is asked, neither holds.
        refill: tokens per success, in (0, 1].
    """

    max_attempts: int = 4
    first_delay_s: float = 0.05
    multiplier: float = 2.0
    max_delay_s: float = 2.0
    budget: float = 20.0
    refill: float = 0.1

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= 100:  # noqa: PLR2004 - more is no policy but a loop
            raise ConfigurationError(f"max_attempts is from 1 to 100, got {self.max_attempts}")
        if not 0 < self.first_delay_s <= self.max_delay_s:
            raise ConfigurationError(
                f"first_delay_s is above 0 and at most max_delay_s, got {self.first_delay_s} and {self.max_delay_s}"
            )
        if self.multiplier < 1:
            raise ConfigurationError(f"multiplier is at least 1, got {self.multiplier}")
        if self.budget < 1 or not 0 < self.refill <= 1:
            raise ConfigurationError(f"budget is at least 1 and refill in (0, 1], got {self.budget} and {self.refill}")


class RetryBudget:
    """Tokens that all calls of a client share, as in gRPC's retry throttling: pure, and bounded on both sides."""

    def __init__(self, options: RetryOptions) -> None:
        self._most = options.budget
        self._refill = options.refill
        self.tokens = options.budget

    def succeeded(self) -> None:
        """A call was answered."""
        self.tokens = min(self._most, self.tokens + self._refill)

    def failed(self) -> None:
        """An attempt failed in a way that a retry might mend."""
        self.tokens = max(0.0, self.tokens - 1.0)

    @property
    def allows(self) -> bool:
        """Whether one more attempt may be made."""
        return self.tokens > self._most / 2

    def __repr__(self) -> str:
        return f"RetryBudget({self.tokens:g} of {self._most:g} tokens)"


@dataclass(frozen=True, slots=True)
class Pushback:
    """What a server said about coming again: ``delay_s`` in seconds, None for never."""

    delay_s: float | None


def read_pushback(value: str | None) -> Pushback | None:
    """Read the trailer; None if there was none. What is negative or no number means never (proposal A6)."""
    if value is None:
        return None
    text = value.strip()
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        return Pushback(None)
    return Pushback(int(text) / 1000)


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that failed: the name of its status, and what the server said about coming again.

    ``elsewhere``: there was no connection to who was asked, and there is another target.
    """

    status: str
    pushback: Pushback | None = None
    elsewhere: bool = False


def may_mend(failed: Failed) -> bool:
    """Whether sending the same request again may help at all."""
    if failed.pushback is not None and failed.pushback.delay_s is None:
        return False
    return failed.status == "UNAVAILABLE" or (failed.status == "RESOURCE_EXHAUSTED" and failed.pushback is not None)


def retry_delay_s(  # noqa: PLR0913 - all that the decision rests on
    options: RetryOptions,
    budget: RetryBudget,
    failed: Failed,
    *,
    attempts: int,
    idempotent: bool,
    remaining_s: float,
    jitter: float,
) -> float | None:
    """Return how long to wait before the request is sent again, in seconds; None: give up.

    Args:
        options: the policy.
        budget: what is left; the caller has counted the failure already, unless it is asked elsewhere.
        failed: the attempt that failed.
        attempts: how often the request was sent so far.
        idempotent: whether sending it twice does no harm. If not, it is never sent again.
        remaining_s: the time that is left to the call. A wait that would not end before is not begun.
        jitter: a random number in [0, 1), so that the callers of a server that was away do not all come at once.
    """
    if not idempotent or attempts >= options.max_attempts or not may_mend(failed):
        return None
    if not failed.elsewhere and not budget.allows:
        return None
    if failed.elsewhere:
        delay_s = 0.0
    elif failed.pushback is not None and failed.pushback.delay_s is not None:
        delay_s = failed.pushback.delay_s
    else:
        longest = min(options.max_delay_s, options.first_delay_s * options.multiplier ** (attempts - 1))
        delay_s = longest * (0.5 + jitter)
    return delay_s if delay_s < remaining_s else None
