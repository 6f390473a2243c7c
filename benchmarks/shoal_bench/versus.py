"""Rounds over several servers to ratios and a table: pure."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from shoal_bench.result import Run

OURS: Final = "shoal"
Rounds = Sequence[Mapping[str, Run]]
"""Each server's run of each round, by its name; Shoal's is the first."""


def series(rounds: Rounds) -> dict[str, list[float]]:
    """Return each metric of each server per round, and Shoal's ratios to the others."""
    found: dict[str, list[float]] = {}
    for name in rounds[0] if rounds else ():
        runs = [one[name] for one in rounds]
        found[f"{name}/throughput_per_s"] = [run.measured().throughput for run in runs]
        found[f"{name}/p50_ms"] = [run.everything().latencies.percentile_s(0.5) * 1e3 for run in runs]
        found[f"{name}/p99_ms"] = [run.everything().latencies.percentile_s(0.99) * 1e3 for run in runs]
        cpu_us = [run.server_cpu_us for run in runs]
        if known := [value for value in cpu_us if value is not None]:
            found[f"{name}/server_cpu_us_per_call"] = known
    for name in rounds[0] if rounds else ():
        for metric in ("throughput_per_s", "server_cpu_us_per_call") if name != OURS else ():
            ours, theirs = found.get(f"{OURS}/{metric}", []), found.get(f"{name}/{metric}", [])
            if len(ours) == len(theirs) == len(rounds) and all(theirs):
                kind = "ratio" if metric == "throughput_per_s" else "cpu_share"
                found[f"{kind} to {name}"] = [one / other for one, other in zip(ours, theirs, strict=True)]
    return found


def table(rounds: Rounds) -> list[str]:
    """Return the medians over the rounds as a Markdown table, and the ratios with their ranges."""
    if not rounds:
        return ["no round was measured"]
    values = series(rounds)
    limited = {name: [bool(one[name].generator_limit) for one in rounds] for name in rounds[0]}
    lines = [
        "| server | calls/s | p50 ms | p99 ms | server CPU us/call | memory MiB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in rounds[0]:
        cpu_us = values.get(f"{name}/server_cpu_us_per_call")
        memory = [window.server_resident_bytes for one in rounds for window in one[name].windows]
        known = [size for size in memory if size is not None]
        lines.append(
            f"| {name} | {'>= ' if any(limited[name]) else ''}{median(values[f'{name}/throughput_per_s']):.0f} "
            f"| {median(values[f'{name}/p50_ms']):.2f} | {median(values[f'{name}/p99_ms']):.2f} "
            f"| {f'{median(cpu_us):.0f}' if cpu_us else '-'} | {f'{max(known) / (1 << 20):.0f}' if known else '-'} |"
        )
    lines += [
        f"{OURS} over {name}: {_ratio(values[f'ratio to {name}'], limited[OURS], limited[name])}{_cpu(values, name)}"
        for name in rounds[0]
        if f"ratio to {name}" in values
    ]
    lines += [
        f"in {sum(times)} of {len(times)} rounds THE LOAD GENERATOR WAS THE LIMIT, NOT {name}: those calls/s and "
        "latencies are the generator's; the CPU per call stands"
        for name, times in limited.items()
        if any(times)
    ]
    return lines


def _ratio(ratios: Sequence[float], ours_limited: Sequence[bool], theirs_limited: Sequence[bool]) -> str:
    """Say the ratio in the rounds in which the generator did not limit the other; where it limited us, a bound."""
    rounds = zip(ratios, ours_limited, theirs_limited, strict=True)
    sound = [(ratio, ours) for ratio, ours, theirs in rounds if not theirs]
    if not sound:
        return "no ratio of calls/s, since the generator limited theirs in every round"
    known = [ratio for ratio, _ in sound]
    at_least = ">= " if any(ours for _, ours in sound) else ""
    return f"{at_least}{median(known):.2f} ({min(known):.2f} to {max(known):.2f} in {len(known)} rounds)"


def _cpu(values: Mapping[str, Sequence[float]], name: str) -> str:
    share = values.get(f"cpu_share to {name}")
    return "" if not share else f"; CPU per call {median(share):.2f} of its ({min(share):.2f} to {max(share):.2f})"
