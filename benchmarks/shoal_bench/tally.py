"""What was seen of the calls that ended within some time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from shoal_bench.histogram import Durations

OK: Final = "OK"
REFUSED: Final = "RESOURCE_EXHAUSTED"
NOT_SENT: Final = "NOT_SENT"
"""Counted in place of a status where the generator had too many calls under way to send another: its limit."""
ABANDONED: Final = "ABANDONED"
"""Counted in place of a status where the run ended before the call did."""

SAMPLE_CHARACTERS: Final = 300


@dataclass(slots=True)
class Tally:
    """Counts and histograms over ``duration_s`` seconds, of one process or of all of them together.

    ``statuses``: calls by the name of their gRPC status; ``in_time``: those that were OK within the scenario's limit;
    ``latencies``: of the OK ones, from the intended send time; ``failures``: of the others, and ``refusals`` of those
    that were RESOURCE_EXHAUSTED; ``lateness``: how late the generator sent, or (closed loop) how late its own
    timer came; ``generator_cpu_s``: its CPU time over all processes; ``samples``: one text per status; ``by_model``:
    latencies of each model where there are several.
    """

    duration_s: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    in_time: int = 0
    latencies: Durations = field(default_factory=Durations)
    failures: Durations = field(default_factory=Durations)
    refusals: Durations = field(default_factory=Durations)
    lateness: Durations = field(default_factory=Durations)
    generator_cpu_s: float = 0.0
    samples: dict[str, str] = field(default_factory=dict)
    by_model: dict[str, Durations] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """How many calls ended, whatever became of them."""
        return self.statuses.total() - self.statuses[NOT_SENT]

    @property
    def throughput(self) -> float:
        """Calls per second that were OK."""
        return self.statuses[OK] / self.duration_s if self.duration_s else 0.0

    @property
    def goodput(self) -> float:
        """Calls per second that were OK in time."""
        return self.in_time / self.duration_s if self.duration_s else 0.0

    def succeeded(self, latency_s: float, in_time_s: float, model: str | None) -> None:
        """Count a call that was OK, and the model that it called where models are told apart."""
        self.statuses[OK] += 1
        self.in_time += latency_s <= in_time_s
        self.latencies.record(latency_s)
        if model is not None:
            self.by_model.setdefault(model, Durations()).record(latency_s)

    def failed(self, status: str, latency_s: float, details: str) -> None:
        """Count a call that ended otherwise."""
        self.statuses[status] += 1
        self.failures.record(latency_s)
        if status == REFUSED:
            self.refusals.record(latency_s)
        self.samples.setdefault(status, details[:SAMPLE_CHARACTERS])

    def beside(self, other: "Tally") -> None:
        """Add what another process saw within the same time."""
        self.duration_s = max(self.duration_s, other.duration_s)
        self._add(other)

    def then(self, other: "Tally") -> None:
        """Add what was seen in another time."""
        self.duration_s += other.duration_s
        self._add(other)

    def _add(self, other: "Tally") -> None:
        self.statuses.update(other.statuses)
        self.in_time += other.in_time
        self.latencies.add(other.latencies)
        self.failures.add(other.failures)
        self.refusals.add(other.refusals)
        self.lateness.add(other.lateness)
        self.generator_cpu_s += other.generator_cpu_s
        for status, text in other.samples.items():
            self.samples.setdefault(status, text)
        for model, latencies in other.by_model.items():
            self.by_model.setdefault(model, Durations()).add(latencies)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "duration_s": self.duration_s,
            "statuses": dict(self.statuses),
            "in_time": self.in_time,
            "latencies": self.latencies.to_text(),
            "failures": self.failures.to_text(),
            "refusals": self.refusals.to_text(),
            "lateness": self.lateness.to_text(),
            "generator_cpu_s": self.generator_cpu_s,
            "samples": self.samples,
            "by_model": {model: latencies.to_text() for model, latencies in self.by_model.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what ``to_json`` wrote.

        Raises:
            ValueError: a histogram is none.
            KeyError: a field is missing.
        """
        return cls(
            duration_s=float(value["duration_s"]),
            statuses=Counter(value["statuses"]),
            in_time=int(value["in_time"]),
            latencies=Durations.from_text(value["latencies"]),
            failures=Durations.from_text(value["failures"]),
            refusals=Durations.from_text(value["refusals"]) if "refusals" in value else Durations(),
            lateness=Durations.from_text(value["lateness"]),
            generator_cpu_s=float(value["generator_cpu_s"]),
            samples=dict(value["samples"]),
            by_model={model: Durations.from_text(text) for model, text in value["by_model"].items()},
        )
