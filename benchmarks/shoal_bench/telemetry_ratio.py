"""The tiny model's inferences per second with telemetry on, over those with telemetry off.

On means a Prometheus page that is there, metrics pushed by OTLP every five seconds, and 1 % of all calls traced and
pushed to a collector (which answers and keeps nothing). Both servers run side by side, each in its own process; the
rounds alternate, and so does which side begins, so that a machine whose speed drifts drifts for both. After some rounds
both are started anew: two processes of one program differ by several percent for as long as they live.

`python -m shoal_bench.telemetry_ratio --record FILE`
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import grpc.aio
import numpy as np

from shoal.inference import grpc_service_pb2 as pb
from shoal_bench.load import Load, closed_loop
from shoal_bench.positive import count
from shoal_bench.process import SERVE, MeasuredProcess, running
from shoal_bench.record import machine
from shoal_bench.tiny import NAME, WIDTHS, write_tiny

_TARGET: Final = 0.95
_WARM_UP_CALLS: Final = 1000
_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True, slots=True)
class Options:
    """``in_flight`` calls at once, ``calls`` per round and side, ``rounds``; each >= 1. A ``ratio`` is traced.

    The rounds are divided among ``pairs`` of servers.
    """

    in_flight: int
    calls: int
    rounds: int
    pairs: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Side:
    """One side of one round: calls per second, and CPU microseconds of the server per call."""

    rate: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Round:
    """Both sides of one round, its pair of servers, and the machine's load average over the minute before."""

    pair: int
    on: Side
    off: Side
    load: float


async def measure(options: Options, progress: Callable[[str], None]) -> list[Round]:
    """Run the servers and a collector, and the rounds against them; ``progress`` is told of each round."""
    with tempfile.TemporaryDirectory() as scratch:
        write_tiny(Path(scratch))
        serve = (*SERVE, scratch, "--address", "127.0.0.1:0", "--log-level", "warning")
        async with running("-m", "shoal_bench.echo", "0") as collector:
            on = (
                *serve,
                *("--telemetry-prometheus", "127.0.0.1:0"),
                *("--telemetry-otlp-endpoint", f"http://{collector.address}"),
                *("--telemetry-metric-interval-s", "5"),
                *("--telemetry-trace-ratio", str(options.ratio)),
            )
            rounds = []
            for pair in range(options.pairs):
                async with running(*on) as with_telemetry, running(*serve) as without:
                    rounds += await _rounds(with_telemetry, without, pair, options, progress)
            return rounds


async def _rounds(
    on: MeasuredProcess, off: MeasuredProcess, pair: int, options: Options, progress: Callable[[str], None]
) -> list[Round]:
    row = np.random.default_rng(0).uniform(0, 16, (1, WIDTHS[0])).astype(np.float32)
    request = pb.ModelInferRequest(model_name=NAME, raw_input_contents=[row.tobytes()])
    request.inputs.add(name="input", datatype="FP32", shape=row.shape)
    question = request.SerializeToString()
    rounds = []
    async with grpc.aio.insecure_channel(on.address) as to_on, grpc.aio.insecure_channel(off.address) as to_off:
        for channel in (to_on, to_off):
            await _load(channel, question, _WARM_UP_CALLS, options.in_flight)
        for number in range(options.rounds // options.pairs):
            if number % 2:
                first = await _side(on, to_on, question, options)
                second = await _side(off, to_off, question, options)
            else:
                second = await _side(off, to_off, question, options)
                first = await _side(on, to_on, question, options)
            rounds.append(Round(pair, first, second, os.getloadavg()[0]))
            progress(
                f"pair {pair}, round {number}: on {first.rate:.0f}/s ({first.cpu_us:.0f} us CPU a call), off "
                f"{second.rate:.0f}/s ({second.cpu_us:.0f} us), ratio {first.rate / second.rate:.3f}"
            )
    return rounds


async def _side(process: MeasuredProcess, channel: grpc.aio.Channel, question: bytes, options: Options) -> Side:
    cpu_s = process.cpu_s()
    load = await _load(channel, question, options.calls, options.in_flight)
    return Side(load.rate, (process.cpu_s() - cpu_s) / options.calls * 1e6)


async def _load(channel: grpc.aio.Channel, question: bytes, calls: int, in_flight: int) -> Load:
    infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_INFER)
    return await closed_loop(lambda: infer(question), calls, in_flight)


def verdict(rounds: list[Round]) -> str:
    """Return the medians over the rounds, the spread of the ratio, and whether its median meets the target."""
    ratios = sorted(one.on.rate / one.off.rate for one in rounds)
    cpu = median(one.on.cpu_us / one.off.cpu_us for one in rounds)
    quarter = len(ratios) // 4
    met = "met" if median(ratios) >= _TARGET else "MISSED"
    return (
        f"on over off: median {median(ratios):.3f}, middle half {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f} of "
        f"{len(ratios)} rounds; CPU per call {cpu:.3f}; machine's load {median(one.load for one in rounds):.1f}; "
        f"target >= {_TARGET:.2f}: {met}"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line, measure, print, and write the record if one is asked for."""
    parser = argparse.ArgumentParser(prog="python -m shoal_bench.telemetry_ratio", description=__doc__)
    parser.add_argument("--in-flight", type=count, default=64, metavar="N", help="calls under way at once (default 64)")
    parser.add_argument("--calls", type=count, default=20000, metavar="N", help="per round and side (default 20000)")
    parser.add_argument("--rounds", type=count, default=36, metavar="N", help="rounds, the sides in turn (default 36)")
    parser.add_argument("--pairs", type=count, default=6, metavar="N", help="pairs of servers, one by one (default 6)")
    parser.add_argument(
        "--ratio", type=float, default=0.01, metavar="SHARE", help="share that is traced (default 0.01)"
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="write all figures, with the machine's, as JSON")
    given = parser.parse_args()
    options = Options(given.in_flight, given.calls, given.rounds, given.pairs, given.ratio)
    rounds = asyncio.run(measure(options, progress=_say))
    _say(verdict(rounds))
    if given.record:
        record = {"options": asdict(options), "machine": machine(), "rounds": [asdict(one) for one in rounds]}
        given.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
