"""What a run showed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from shoal_bench.lateness import generator_limit
from shoal_bench.stability import spread
from shoal_bench.tally import OK, Tally


class Ended(Enum):
    """Why a run ended. Of those after ``LIMIT`` only a part was measured."""

    STABLE = "stable"
    LIMIT = "limit"
    INTERRUPTED = "interrupted"
    SERVER_GONE = "server_gone"
    GENERATOR_FAILED = "generator_failed"

    @property
    def whole(self) -> bool:
        """Whether everything was measured that was to be."""
        return self in (Ended.STABLE, Ended.LIMIT)


@dataclass(slots=True)
class Window:
    """One window: the calls that ended in it, and what the server used.

    ``server_cpu_s`` and ``server_resident_bytes`` are None where the server's process is not known, ``batches`` (how
    many of which size) where the server does not tell.
    """

    tally: Tally
    server_cpu_s: float | None = None
    server_resident_bytes: int | None = None
    batches: Counter[int] | None = None

    @property
    def server_cpu_us(self) -> float | None:
        """The server's CPU microseconds for each call that ended; None where unknown."""
        return None if self.server_cpu_s is None else self.server_cpu_s / max(self.tally.ended, 1) * 1e6


@dataclass(slots=True)
class Run:
    """A run. ``windows``: all but the warm-up; ``tail``: what ended after the last; ``reason`` says more of its end."""

    processes: int
    windows: list[Window] = field(default_factory=list)
    tail: Tally = field(default_factory=Tally)
    ended: Ended = Ended.LIMIT
    reason: str = ""

    def measured(self) -> Tally:
        """Return the windows together: what rates are taken from."""
        whole = Tally()
        for window in self.windows:
            whole.then(window.tally)
        return whole

    def everything(self) -> Tally:
        """Return the windows and the tail: what latencies and counts are taken from, so that no call is lost."""
        whole = self.measured()
        whole.then(self.tail)
        return whole

    @property
    def generator_limit(self) -> str:
        """Why the generator and not the server was the limit; empty where it was not."""
        return generator_limit(self.measured(), self.processes)

    @property
    def server_cpu_us(self) -> float | None:
        """The server's CPU microseconds per call over all windows; None where unknown."""
        used = [window.server_cpu_s for window in self.windows if window.server_cpu_s is not None]
        ended = sum(window.tally.ended for window in self.windows)
        return sum(used) / ended * 1e6 if used and ended else None

    @property
    def batches(self) -> Counter[int]:
        """How many batches of each size the server ran in the windows."""
        return sum((window.batches for window in self.windows if window.batches), Counter())

    @property
    def mean_batch(self) -> float | None:
        """The mean size of the batches; None where the server does not tell."""
        batches = self.batches
        return sum(size * times for size, times in batches.items()) / batches.total() if batches else None

    def series(self) -> dict[str, list[float]]:
        """Return each metric's value per window, for comparing records."""
        tallies = [window.tally for window in self.windows]
        series = {
            "throughput_per_s": [tally.throughput for tally in tallies],
            "goodput_per_s": [tally.goodput for tally in tallies],
            "p50_ms": [tally.latencies.percentile_s(0.5) * 1e3 for tally in tallies],
            "p99_ms": [tally.latencies.percentile_s(0.99) * 1e3 for tally in tallies],
        }
        cpu_us = [window.server_cpu_us for window in self.windows]
        if known := [value for value in cpu_us if value is not None]:
            series["server_cpu_us_per_call"] = known
        return series

    def p99_spread(self) -> float:
        """Return how far the p99 of one window exceeds that of another, as a share."""
        values = [window.tally.latencies.percentile_s(0.99) for window in self.windows if window.tally.statuses[OK]]
        return spread(values) if values else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it as a record holds it."""
        return {
            "ended": self.ended.value,
            "partial": not self.ended.whole,
            "reason": self.reason,
            "generator_limit": self.generator_limit,
            "processes": self.processes,
            "series": self.series(),
            "windows": [
                {
                    **window.tally.to_json(),
                    "server_cpu_s": window.server_cpu_s,
                    "server_resident_bytes": window.server_resident_bytes,
                    "batches": None if window.batches is None else dict(sorted(window.batches.items())),
                }
                for window in self.windows
            ],
            "tail": self.tail.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what ``to_json`` wrote.

        Raises:
            KeyError: a field is missing.
            ValueError: a field is not what it must be.
        """
        windows = [
            Window(
                Tally.from_json(window),
                window["server_cpu_s"],
                window["server_resident_bytes"],
                None
                if window["batches"] is None
                else Counter({int(size): times for size, times in window["batches"].items()}),
            )
            for window in value["windows"]
        ]
        return cls(value["processes"], windows, Tally.from_json(value["tail"]), Ended(value["ended"]), value["reason"])
