"""Whether the load generator, and not the server, was the limit.

Open loop: how late each call was sent. Closed loop: how late the generator's own timer came, since an answer waits that
long to be seen. Where that is more than a tenth of what was measured (and more than the timers' own grain), or where
the processes had no CPU time to spare, the figures are the generator's, and are never given as the server's.
"""

from typing import Final

from shoal_bench.tally import NOT_SENT, Tally

_SHARE: Final = 0.10
_GRAIN_S: Final = ((0.5, 0.001), (0.99, 0.002))
_BUSY: Final = 0.90


STARVED: Final = 0.40
"""From which share on a server that had no CPU was not itself measured. Its own threads share the CPUs, too."""


def starved_line(share: float) -> str:
    """Return what is to be said where a server had no CPU for that share of the time in which it could run."""
    if share <= STARVED:
        return ""
    return (
        f"THE MACHINE WAS BUSY: a server had no CPU for {share:.0%} of the time in which it could run, so the figures "
        "are not its own"
    )


def generator_limit(tally: Tally, processes: int) -> str:
    """Return why the generator was the limit; an empty text where it was not."""
    if tally.statuses[NOT_SENT]:
        return f"it had too many calls under way to send {tally.statuses[NOT_SENT]} more"
    available_s = tally.duration_s * processes
    if available_s and tally.generator_cpu_s / available_s >= _BUSY:
        return f"its processes were busy {tally.generator_cpu_s / available_s:.0%} of the time; use more of them"
    for share, grain_s in _GRAIN_S:
        late_s, latency_s = tally.lateness.percentile_s(share), tally.latencies.percentile_s(share)
        if tally.latencies.count and late_s > max(grain_s, latency_s * _SHARE):
            return (
                f"it was itself {late_s * 1e3:.1f} ms late at p{share * 100:.0f}, of {latency_s * 1e3:.1f} ms measured"
            )
    return ""
