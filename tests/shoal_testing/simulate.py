"""Run many simulations of the core: ``python -m shoal_testing.simulate --seeds 1000 --start 0`` in ``tests``.

Stops at the first seed that fails, says which and why, and ends with 1.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Sequence

from shoal_testing.scenario import drawn
from shoal_testing.simulation import simulate

REPORT_EVERY_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shoal_testing.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--start", type=int, default=0, help="the first (default: %(default)s)")
    options = parser.parse_args(arguments)
    began = reported = time.monotonic()
    requests = 0
    for played, seed in enumerate(range(options.start, options.start + options.seeds)):
        try:
            requests += len(simulate(drawn(seed)).requests)
        except Exception:  # noqa: BLE001 - whatever it is, the seed is what matters
            traceback.print_exc()
            sys.stdout.write(f"seed {seed} failed; repeat with --start {seed} --seeds 1\n")
            return 1
        if time.monotonic() - reported >= REPORT_EVERY_S:
            reported = time.monotonic()
            sys.stdout.write(f"{played + 1} of {options.seeds} seeds, {requests} requests\n")
            sys.stdout.flush()
    sys.stdout.write(f"{options.seeds} seeds, {requests} requests, {time.monotonic() - began:.1f} s: all is well\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
