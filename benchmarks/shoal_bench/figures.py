"""Records to the data of plots: pure, so that what is drawn can be tested without drawing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from shoal_bench.histogram import Durations
from shoal_bench.result import Run

_SHARES: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)


@dataclass(frozen=True, slots=True)
class Line:
    """One curve, with a point for each x; the lists have the same length."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class Figure:
    """One diagram. ``bars`` draws bars in place of lines; ``log_x`` and ``log_y`` choose the scales."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    bars: bool = False


@dataclass(frozen=True, slots=True)
class _Measured:
    """A run of a record, under the name that its curve gets; ``rate`` is what was offered, 0 for closed loops."""

    name: str
    run: Run
    rate: float


def figures(records: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    """Return the diagrams of records of `run`, `capacity` and `peers`, by their names; those without data are left out.

    Raises:
        KeyError: a record lacks a field.
        ValueError: a field is not what it must be.
    """
    measured = [one for name, record in records.items() for one in _runs(name, record)]
    ends = [one for one in measured if one.run.everything().latencies.count]
    found = [
        Figure(
            "Latency percentiles, from the intended send time",
            "1 / (1 - percentile)",
            "ms",
            [_percentiles(one.name, one.run.everything().latencies) for one in ends],
            log_x=True,
            log_y=True,
        ),
        _latency_against_rate(measured),
        Figure("Throughput over time", "seconds after the warm-up", "calls/s OK", [_over_time(one) for one in ends]),
        Figure(
            "Batch sizes",
            "rows",
            "share of batches",
            [_batch_sizes(one) for one in measured if one.run.batches],
            bars=True,
        ),
    ]
    return [figure for figure in found if any(line.x for line in figure.lines)]


def _runs(name: str, record: Mapping[str, Any]) -> list[_Measured]:
    match record["kind"]:
        case "run":
            rate = record["run"]["scenario"]["load"].get("rate", 0.0)
            return [_measured(name, record["run"], rate)]
        case "capacity":
            return [_measured(f"{name} at {trial['rate']:.0f}/s", trial, trial["rate"]) for trial in record["trials"]]
        case "peers":
            sides = record["rounds"][-1] if record["rounds"] else {}
            return [_measured(f"{name}: {side}", run, 0.0) for side, run in sides.items()]
        case kind:
            raise ValueError(f"a record of `{kind}` has nothing to plot")


def _measured(name: str, value: Mapping[str, Any], rate: float) -> _Measured:
    run = Run.from_json(value)
    return _Measured(f"{name} (generator's limit)" if run.generator_limit else name, run, rate)


def _percentiles(name: str, latencies: Durations) -> Line:
    shares = [share for share in _SHARES if 1 - share >= 1 / latencies.count]
    return Line(name, [1 / (1 - share) for share in shares], [latencies.percentile_s(share) * 1e3 for share in shares])


def _latency_against_rate(measured: Sequence[_Measured]) -> Figure:
    """Of open loops only: a closed loop has no rate of its own. What the generator limited is left out."""
    points: dict[float, list[Durations]] = {}
    for one in measured:
        latencies = one.run.everything().latencies
        if one.rate and latencies.count and not one.run.generator_limit:
            points.setdefault(one.rate, []).append(latencies)
    rates = sorted(points)
    lines = [
        Line(
            f"p{share * 100:g}",
            rates,
            [median(one.percentile_s(share) for one in points[rate]) * 1e3 for rate in rates],
        )
        for share in (0.5, 0.9, 0.99)
    ]
    return Figure("Latency against offered rate", "calls/s offered", "ms", lines if len(rates) > 1 else [], log_y=True)


def _over_time(one: _Measured) -> Line:
    at_s, ends, values = 0.0, [], []
    for window in one.run.windows:
        at_s += window.tally.duration_s
        ends.append(at_s)
        values.append(window.tally.throughput)
    return Line(one.name, ends, values)


def _batch_sizes(one: _Measured) -> Line:
    batches = one.run.batches
    sizes = sorted(batches)
    return Line(one.name, sizes, [batches[size] / batches.total() for size in sizes])
