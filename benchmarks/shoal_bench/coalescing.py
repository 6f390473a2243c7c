"""`python -m shoal_bench.coalescing`: what the client's coalescing of single rows gains.

One client process calls the tiny model with single rows from many tasks at once, in turn with coalescing and without.
What counts are the ratios within a round: of rows per second, and of the CPU time that client and server take per row.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from shoal_bench.load import closed_loop
from shoal_bench.models import write_models
from shoal_bench.positive import count
from shoal_bench.record import RecordError, load_average, machine, write
from shoal_bench.tiny import NAME, WIDTHS
from shoal_bench.watched import ServerFailed, WatchedProcess, own_server
from shoal_client import AsyncClient, ClientError, Coalescing


@dataclass(frozen=True, slots=True)
class Side:
    """Rows per second, CPU microseconds per row of the client and of the server, and latencies in milliseconds."""

    rows_per_s: float
    client_us: float
    server_us: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Round:
    """Both sides of one round."""

    coalesced: Side
    apart: Side

    @property
    def gain(self) -> float:
        """The rate with coalescing over that without."""
        return self.coalesced.rows_per_s / self.apart.rows_per_s


RATIOS: Final[dict[str, Callable[[Round], float]]] = {
    "rows/s with coalescing over without": lambda one: one.gain,
    "client's CPU per row": lambda one: one.coalesced.client_us / one.apart.client_us,
    "server's CPU per row": lambda one: one.coalesced.server_us / max(one.apart.server_us, 1e-9),
}


async def measure(
    callers: int, rows: int, rounds: int, options: Coalescing, progress: Callable[[str], None]
) -> list[Round]:
    """Run the server, and the rounds against it.

    Raises:
        ServerFailed: the server does not start.
        ClientError: a call failed.
    """
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as scratch:
        write_models(Path(scratch), [NAME])
        with own_server(Path(scratch)) as (process, address):
            async with AsyncClient(address, coalescing=options) as joined, AsyncClient(address) as single:
                for client in (joined, single):
                    await _side(client, process, callers, rows // 4)
                found = []
                for number in range(1, rounds + 1):
                    found.append(
                        Round(await _side(joined, process, callers, rows), await _side(single, process, callers, rows))
                    )
                    progress(
                        f"round {number} of {rounds}: {found[-1].coalesced.rows_per_s:.0f} rows/s with, "
                        f"{found[-1].apart.rows_per_s:.0f} without"
                    )
                return found


async def _side(client: AsyncClient, server: WatchedProcess, callers: int, rows: int) -> Side:
    row = {"input": np.random.default_rng(0).uniform(0, 16, (1, WIDTHS[0])).astype(np.float32)}
    server_s, client_s = server.cpu_s(), _own_cpu_s()
    load = await closed_loop(lambda: client.infer(NAME, row), rows, callers)
    return Side(
        load.rate,
        (_own_cpu_s() - client_s) / rows * 1e6,
        (server.cpu_s() - server_s) / rows * 1e6,
        load.percentile_s(0.5) * 1e3,
        load.percentile_s(0.99) * 1e3,
    )


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def lines(rounds: Sequence[Round]) -> list[str]:
    """Return the medians over the rounds."""
    found = [f"{'':20}{'rows/s':>9}{'client us/row':>15}{'server us/row':>15}{'p50 ms':>9}{'p99 ms':>9}"]
    sides: dict[str, list[Side]] = {
        "coalesced": [one.coalesced for one in rounds],
        "each by itself": [one.apart for one in rounds],
    }
    for name, measured in sides.items():
        found.append(
            f"{name:20}{median(one.rows_per_s for one in measured):9.0f}"
            f"{median(one.client_us for one in measured):15.1f}{median(one.server_us for one in measured):15.1f}"
            f"{median(one.p50_ms for one in measured):9.2f}{median(one.p99_ms for one in measured):9.2f}"
        )
    for what, read in RATIOS.items():
        values = [read(one) for one in rounds]
        found.append(f"{what}: median {median(values):.2f}, {min(values):.2f} to {max(values):.2f}")
    return found


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Parse the command line, measure, print, and write the record if one is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shoal_bench.coalescing", description=__doc__)
    parser.add_argument("--callers", type=count, default=256, metavar="N", help="tasks that call at once (default 256)")
    parser.add_argument("--rows", type=count, default=10000, metavar="N", help="per round and side (default 10000)")
    parser.add_argument("--rounds", type=count, default=5, metavar="N", help="rounds, both in turn (default 5)")
    parser.add_argument("--max-rows", type=count, default=64, metavar="N", help="rows per request (default 64)")
    parser.add_argument("--delay-ms", type=float, default=2.0, metavar="MS", help="how long a row may wait (default 2)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep all figures as JSON")
    given = parser.parse_args()
    if given.rows < given.callers:
        parser.error("--rows is at least --callers")
    about = machine()
    try:
        options = Coalescing(given.max_rows, given.delay_ms / 1e3)
        rounds = asyncio.run(measure(given.callers, given.rows, given.rounds, options, _say))
        for line in lines(rounds):
            _say(line)
        if given.record:
            content = {
                "machine": about,
                "load_average_after": load_average(),
                "options": {"callers": given.callers, "rows": given.rows, **asdict(options)},
                "series": {what: [read(one) for one in rounds] for what, read in RATIOS.items()},
                "rounds": [asdict(one) for one in rounds],
            }
            write(given.record, "coalescing", content)
    except (ServerFailed, ClientError, RecordError, ValueError) as error:
        sys.stderr.write(f"shoal_bench.coalescing: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
