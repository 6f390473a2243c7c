"""Run many simulations of the core: ``python -m shoal_testing.simulate --seeds 1000 --start 0`` in ``tests``.

The seeds are dealt out to processes, one for each processor unless told otherwise. Stops at the first seed that fails,
says which and why, and ends with 1.
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import NamedTuple

from shoal_testing.drawing import drawn
from shoal_testing.simulation import simulate

REPORT_EVERY_S = 5.0
SHARD = 50  # seeds that a process plays before it says how that went


class Played(NamedTuple):
    """Some seeds and their requests; ``failed`` is the one that failed, and ``problem`` why."""

    seeds: int
    requests: int
    failed: int | None = None
    problem: str = ""


def play(seeds: range) -> Played:
    """Play seeds until one fails."""
    requests = 0
    for played, seed in enumerate(seeds):
        try:
            requests += len(simulate(drawn(seed)).scenario.arrivals)
        except Exception:  # noqa: BLE001 - whatever it is, the seed is what matters
            return Played(played, requests, seed, traceback.format_exc())
    return Played(len(seeds), requests)


def play_all(seeds: range, processes: int) -> Iterator[Played]:
    """Play seeds in shards, on so many processes; yield what became of each shard when it is over."""
    shards = (seeds[start : start + SHARD] for start in range(0, len(seeds), SHARD))
    if processes == 1:
        yield from map(play, shards)
        return
    # Fresh processes: what this one has open and running is no business of theirs.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        under_way: set[Future[Played]] = set()
        try:
            for shard in shards:
                under_way.add(pool.submit(play, shard))
                if len(under_way) > processes:
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            for future in wait(under_way).done:
                yield future.result()
        finally:
            for future in under_way:
                future.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shoal_testing.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--start", type=int, default=0, help="the first (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    began = reported = time.monotonic()
    seeds = requests = 0
    for played in play_all(range(options.start, options.start + options.seeds), options.processes):
        seeds += played.seeds
        requests += played.requests
        if played.failed is not None:
            sys.stderr.write(played.problem)
            sys.stdout.write(f"seed {played.failed} failed; repeat with --start {played.failed} --seeds 1\n")
            return 1
        now = time.monotonic()
        if now - reported >= REPORT_EVERY_S:
            reported = now
            left_s = (now - began) / seeds * (options.seeds - seeds)
            sys.stdout.write(f"{seeds} of {options.seeds} seeds, {requests} requests, {left_s:.0f} s to go\n")
            sys.stdout.flush()
    sys.stdout.write(f"{seeds} seeds, {requests} requests, {time.monotonic() - began:.1f} s: all is well\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
