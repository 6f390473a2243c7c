"""Which of several targets takes the next call: a pure policy.

Calls go round. A target that could not be reached is left out for a while, each time twice as long, and then gets one
call to show itself. Where all are out, the one whose time ends first is asked all the same: a guess beats a refusal.
"""

from dataclasses import dataclass
from typing import Final

FIRST_OUT_S: Final = 0.5
LONGEST_OUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """What is known of one target. ``out_s`` is how long it is still left out, in seconds; 0: it takes calls."""

    target: str
    healthy: bool
    out_s: float
    failures_in_a_row: int
    calls: int


class _Target:
    def __init__(self, name: str) -> None:
        self.name = name
        self.failures = 0
        self.out_until_s = 0.0
        self.probing = False
        self.calls = 0


class Rotation:
    """The targets of a client, by their position. All times are monotonic, in seconds."""

    def __init__(self, names: tuple[str, ...]) -> None:
        assert names, "there is a target"
        self._targets = [_Target(name) for name in names]
        self._next = 0

    def pick(self, now_s: float, avoid: int | None = None) -> int:
        """Return who takes the next call: whose turn it is among the healthy, ``avoid`` only if nobody else is."""
        count = len(self._targets)
        for others_only in (True, False):
            for step in range(count):
                index = (self._next + step) % count
                if others_only and index == avoid:
                    continue
                if self._takes(self._targets[index], now_s):
                    return self._chosen(index)
        soonest = min(range(count), key=lambda index: (index == avoid, self._targets[index].out_until_s))
        return self._chosen(soonest)

    def has_other(self, index: int, now_s: float) -> bool:
        """Whether another target than this takes calls."""
        return any(self._takes(target, now_s) for other, target in enumerate(self._targets) if other != index)

    def succeeded(self, index: int) -> None:
        """The target answered, with whatever status: it can be reached."""
        target = self._targets[index]
        target.failures = 0
        target.out_until_s = 0.0
        target.probing = False

    def failed(self, index: int, now_s: float, jitter: float) -> None:
        """The target could not be reached, or said that it is not to be used; ``jitter`` is in [0, 1)."""
        target = self._targets[index]
        target.failures += 1
        target.probing = False
        out_s = min(LONGEST_OUT_S, FIRST_OUT_S * 2.0 ** min(target.failures - 1, 16))
        target.out_until_s = max(target.out_until_s, now_s + out_s * (0.75 + 0.5 * jitter))

    def left(self, index: int) -> None:
        """A call ended without an answer for reasons of its caller: nothing is known of the target."""
        self._targets[index].probing = False

    def health(self, now_s: float) -> tuple[TargetHealth, ...]:
        """Return what is known of each target, in their order."""
        return tuple(
            TargetHealth(
                target.name, target.failures == 0, max(0.0, target.out_until_s - now_s), target.failures, target.calls
            )
            for target in self._targets
        )

    @staticmethod
    def _takes(target: _Target, now_s: float) -> bool:
        if target.failures == 0:
            return True
        return now_s >= target.out_until_s and not target.probing

    def _chosen(self, index: int) -> int:
        target = self._targets[index]
        target.probing = target.failures > 0
        target.calls += 1
        self._next = (index + 1) % len(self._targets)
        return index
