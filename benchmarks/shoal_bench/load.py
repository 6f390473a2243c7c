"""A closed loop of callers: each sends its next call when the last is answered."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """What a number of calls took: seconds in all, and each call's latency in seconds, in order of their ends."""

    took_s: float
    latencies_s: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Calls per second."""
        return len(self.latencies_s) / self.took_s

    def percentile_s(self, share: float) -> float:
        """Return the latency that the given share of the calls did not exceed, 0 < share <= 1."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


async def closed_loop(call: Callable[[], Awaitable[object]], calls: int, in_flight: int) -> Load:
    """Make ``calls`` calls with ``in_flight`` callers.

    Raises:
        Exception: what a call raised; the others are cancelled.
    """
    latencies_s: list[float] = []
    left = calls

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            sent_s = time.perf_counter()
            await call()
            latencies_s.append(time.perf_counter() - sent_s)

    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(caller())
    return Load(time.perf_counter() - began_s, tuple(latencies_s))
