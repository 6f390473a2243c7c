"""Figures to lines of text. What the generator limited is never given as the server's."""

from collections.abc import Sequence
from typing import Final

from shoal_bench.arrivals import mean_rate
from shoal_bench.compare import Change
from shoal_bench.conduct import Conducted
from shoal_bench.histogram import Durations
from shoal_bench.order import Closed, Load
from shoal_bench.result import Ended, Run, Window
from shoal_bench.stability import spread
from shoal_bench.tally import OK, Tally

_PERCENTILES: Final = (0.5, 0.9, 0.99, 0.999)
_MEBI: Final = 1 << 20
_NOT_THE_SERVER: Final = "THE LOAD GENERATOR WAS THE LIMIT, NOT THE SERVER"


def window_line(number: int, window: Window) -> str:
    """Return one line on a window; number 0 is the warm-up."""
    tally = window.tally
    name = f"window {number}" if number else "warm-up"
    memory = window.server_resident_bytes
    parts = [
        f"{name}: {tally.throughput:.0f}/s OK",
        f"p50 {_ms(tally, 0.5)} p99 {_ms(tally, 0.99)} ms",
        *_others(tally),
        *(
            []
            if window.server_cpu_us is None or not tally.ended
            else [f"server {window.server_cpu_us:.0f} us CPU/call"]
        ),
        *([] if memory is None else [f"{memory / _MEBI:.0f} MiB"]),
    ]
    return ", ".join(parts)


def run_lines(conducted: Conducted) -> list[str]:
    """Return what a run showed."""
    run, scenario = conducted.run, conducted.scenario
    measured, everything = run.measured(), run.everything()
    lines = [_end(run)]
    if limit := run.generator_limit:
        lines.append(f"{_NOT_THE_SERVER}: {limit}.")
        lines.append("The figures below are the generator's; the server can do at least as much.")
    at_least = ">= " if run.generator_limit else ""
    offered = "" if isinstance(scenario.load, Closed) else f", offered {mean_rate(scenario.load):.1f}/s"
    lines += [
        f"throughput  {at_least}{measured.throughput:.1f}/s OK{offered}",
        f"goodput     {at_least}{measured.goodput:.1f}/s OK within {scenario.measuring.in_time_ms:g} ms",
        "latency     " + _percentiles(everything.latencies) + _since(scenario.load),
        *(f"  {model:10}{_percentiles(latencies)}" for model, latencies in sorted(everything.by_model.items())),
        "statuses    " + ", ".join(f"{name} {times}" for name, times in everything.statuses.most_common()),
        *(f"  {status}: {text}" for status, text in everything.samples.items() if text),
    ]
    for name, durations in (("refusals", everything.refusals), ("failures", everything.failures)):
        if durations.count:
            p50_ms, p99_ms = (durations.percentile_s(share) * 1e3 for share in (0.5, 0.99))
            lines.append(f"{name}    p50 {p50_ms:.2f}, p99 {p99_ms:.2f} ms until a call was known to have failed")
    if run.server_cpu_us is not None:
        lines.append(f"server      {run.server_cpu_us:.0f} us CPU per call")
    if run.mean_batch is not None:
        known = [window for window in run.windows if window.batches is not None]
        where = "" if len(known) == len(run.windows) else f" in {len(known)} windows; a version took the others along"
        lines.append(f"batches     {run.mean_batch:.1f} rows on average, {run.batches.total()} batches{where}")
    if conducted.capacity_per_s:
        lines.append(f"capacity    {conducted.capacity_per_s:.0f}/s in a closed loop before")
        lines.append(f"            goodput over it {measured.goodput / conducted.capacity_per_s:.2f}")
    if conducted.swaps:
        took = sorted(swap.took_s for swap in conducted.swaps)
        lines.append(f"swaps       {len(took)}, {took[len(took) // 2] * 1e3:.0f} ms each (median)")
    late = everything.lateness
    lines.append(
        f"generator   {late.percentile_s(0.5) * 1e3:.2f} ms late at p50, {late.percentile_s(0.99) * 1e3:.2f} at p99"
    )
    if len(run.windows) > 1:
        throughputs = [window.tally.throughput for window in run.windows]
        lines.append(
            f"noise       from window to window throughput differs by {spread(throughputs):.0%}, "
            f"p99 by {run.p99_spread():.0%}"
        )
    return lines


def change_lines(changes: Sequence[Change]) -> list[str]:
    """Return a table of a comparison."""
    width = max([6, *(len(change.metric) for change in changes)])
    return [
        f"{'metric':{width}}{'before':>12}{'after':>12}{'change':>10}{'noise':>10}  verdict",
        *(
            f"{one.metric:{width}}{one.before:12.4g}{one.after:12.4g} {one.change:+9.1%} {one.noise:9.1%}"
            f"  {one.verdict.value}"
            for one in changes
        ),
    ]


def _end(run: Run) -> str:
    windows = f"{len(run.windows)} windows"
    match run.ended:
        case Ended.STABLE:
            return f"stable after {windows}"
        case Ended.LIMIT:
            return f"ended at its limit, after {windows}"
        case _:
            return f"PARTIAL, {run.reason}; {windows} were measured"


def _percentiles(latencies: Durations) -> str:
    if not latencies.count:
        return "no call succeeded"
    shares = ", ".join(f"p{share * 100:g} {latencies.percentile_s(share) * 1e3:.2f}" for share in _PERCENTILES)
    return f"{shares}, max {latencies.max_s * 1e3:.2f} ms"


def _since(load: Load) -> str:
    """Return from when on latencies count; a closed loop has no schedule."""
    return ", from when it was sent" if isinstance(load, Closed) else ", from the intended send time"


def _ms(tally: Tally, share: float) -> str:
    return f"{tally.latencies.percentile_s(share) * 1e3:.2f}" if tally.statuses[OK] else "-"


def _others(tally: Tally) -> list[str]:
    return [f"{times} {status}" for status, times in tally.statuses.most_common() if status != OK]
