"""Figures to sentences."""

from collections.abc import Sequence
from statistics import median

from shoal_bench.echo_ratio import Round


def verdict(rounds: Sequence[Round], target: float) -> str:
    """Return the medians over the rounds, the spread of the ratio, and whether its median meets the target."""
    ratios = [one.server.rate / one.echo.rate for one in rounds]
    lines = [
        f"{'':8}{'calls/s':>10}{'CPU us/call':>14}{'p50 ms':>10}{'p99 ms':>10}",
        *(
            f"{name:8}{median(s.rate for s in sides):10.0f}{median(s.cpu_us for s in sides):14.0f}"
            f"{median(s.p50_ms for s in sides):10.2f}{median(s.p99_ms for s in sides):10.2f}"
            for name, sides in (("server", [one.server for one in rounds]), ("echo", [one.echo for one in rounds]))
        ),
        f"mean batch {median(one.mean_batch for one in rounds):.1f} rows",
        (
            f"server over echo: median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} "
            f"rounds; target >= {target:.2f}: {'met' if median(ratios) >= target else 'MISSED'}"
        ),
    ]
    return "\n".join(lines)
