"""`python -m shoal_bench.compute_bound`: a model that computes for long, served with no configuration.

A convolutional network of ResNet-18's size (random weights, pictures of 3 x 224 x 224) is run by ONNX Runtime alone in
a loop, with several numbers of threads and pictures in a batch, to find the best of them. That and the next best then
take turns with the server, which found its own settings when it loaded. The figure is the server's pictures per second
over those of the better loop in the same round, the median over the rounds; the better loop is the one whose median is.
The better of each round would be the luckier one: of two that are as good, each 2 % up and down from round to round,
it is 1.1 % above either. There are as many calls under way as the largest loop has pictures, two batches of 16. The
load generator runs on the same processors and counts against the server.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import grpc.aio
import numpy as np
import onnxruntime as ort
import shoal_native

from shoal.inference import grpc_service_pb2 as pb
from shoal_bench.best_loop import Round, Side, better_loop, verdict
from shoal_bench.convolutional import CHANNELS, NAME, PIXELS, save_network
from shoal_bench.native_echo import METHOD
from shoal_bench.positive import count, quantity
from shoal_bench.process import SERVE, MeasuredProcess, running
from shoal_bench.record import machine

_SERVICE: Final = "/inference.GRPCInferenceService"
_FINALISTS: Final = 2
_PASSES: Final = 2
_REQUESTS: Final = 8  # pictures that differ


@dataclass(frozen=True, slots=True)
class Setting:
    """A loop without a server: so many runs at once, each with its threads and pictures."""

    loops: int
    threads: int
    rows: int

    def __str__(self) -> str:
        return f"{self.loops} x {self.threads} threads, {self.rows} rows"


class Offline:
    """ONNX Runtime in a loop. All sessions stay open."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._sessions: dict[int, ort.InferenceSession] = {}

    def measure(self, setting: Setting, seconds: float) -> Side:
        """Run for so many seconds."""
        session = self._session(setting.threads)
        pictures = _pictures(setting.rows)
        session.run(None, {"pictures": pictures})

        def loop(_number: int) -> int:
            runs = 0
            while time.perf_counter() < ends_s:
                session.run(None, {"pictures": pictures})
                runs += 1
            return runs

        with ThreadPoolExecutor(setting.loops) as loops:
            cpu_s, began_s = time.process_time(), time.perf_counter()
            ends_s = began_s + seconds
            rows = sum(loops.map(loop, range(setting.loops))) * setting.rows
            took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        return Side(rows / took_s, cpu_s / rows * 1e3)

    def _session(self, threads: int) -> ort.InferenceSession:
        if threads not in self._sessions:
            options = ort.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            self._sessions[threads] = ort.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        return self._sessions[threads]


def _pictures(rows: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((rows, CHANNELS, PIXELS, PIXELS), np.float32)


def settings(cpus: int, most_rows: int) -> list[Setting]:
    """Return what is tried without a server: every way to use all processors, with 1, 2, 4 ... pictures."""
    threads = [count for count in range(1, cpus + 1) if not cpus % count]
    rows = [1 << doubled for doubled in range(most_rows.bit_length())]
    return [Setting(cpus // count, count, size) for count in threads for size in rows]


def measure(
    offline: Offline, server: MeasuredProcess, options: argparse.Namespace, progress: Callable[[str], None]
) -> tuple[dict[Setting, float], list[Round]]:
    """Return the best throughput that was seen of every setting, and the rounds of the finalists and the server."""
    found: dict[Setting, float] = {}
    for _ in range(_PASSES):
        for setting in settings(len(os.sched_getaffinity(0)), options.most_rows):
            rate = offline.measure(setting, options.seconds / 4).rows_per_s
            found[setting] = max(rate, found.get(setting, 0.0))
    finalists = sorted(found, key=lambda setting: -found[setting])[:_FINALISTS]
    progress("best without a server: " + "; ".join(f"{setting}: {found[setting]:.1f}/s" for setting in finalists))
    _served(server, options.seconds / 4, options.in_flight)
    rounds = []
    for number in range(1, options.rounds + 1):
        before, *after = finalists if number % 2 else reversed(finalists)
        sides = {before: offline.measure(before, options.seconds)}
        served = _served(server, options.seconds, options.in_flight)
        sides |= {setting: offline.measure(setting, options.seconds) for setting in after}
        rounds.append(Round(served, tuple(sides[setting] for setting in finalists), os.getloadavg()[0]))
        progress(
            f"round {number}: served {served.rows_per_s:.1f}/s ({served.cpu_ms:.1f} ms CPU each), without a server "
            f"{', '.join(f'{side.rows_per_s:.1f}/s ({side.cpu_ms:.1f} ms)' for side in rounds[-1].offline)}"
        )
    return found, rounds


def _served(server: MeasuredProcess, seconds: float, in_flight: int) -> Side:
    messages = []
    for number in range(_REQUESTS):
        picture = _pictures(1, number)
        request = pb.ModelInferRequest(model_name=NAME, raw_input_contents=[picture.tobytes()])
        request.inputs.add(name="pictures", datatype="FP32", shape=picture.shape)
        messages.append(request.SerializeToString())
    cpu_s = server.cpu_s()
    outcome = shoal_native.load(server.address, METHOD, messages, duration_s=seconds, in_flight=in_flight)
    calls = sum(outcome["statuses"])
    if outcome["broken"] or outcome["statuses"][0] != calls:
        raise RuntimeError(f"not all calls ended well: {outcome['statuses']}, {outcome['broken']} broken")
    return Side(outcome["rate"], (server.cpu_s() - cpu_s) / calls * 1e3)


async def _tuning(server: MeasuredProcess) -> str:
    """Return what the server chose, in its own words."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{_SERVICE}/ModelConfig")
        answer = pb.ModelConfigResponse.FromString(await ask(pb.ModelConfigRequest(name=NAME).SerializeToString()))
        return answer.config.parameters["shoal.tuning"].string_value


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main() -> None:
    """Parse the command line, measure, print, and write the record if one is asked for."""
    parser = argparse.ArgumentParser(prog="python -m shoal_bench.compute_bound", description=__doc__)
    parser.add_argument("--rounds", type=count, default=9, metavar="N", help="rounds, the sides in turn (default 9)")
    parser.add_argument("--seconds", type=quantity, default=6.0, metavar="S", help="per side and round (default 6)")
    parser.add_argument("--in-flight", type=count, default=32, metavar="N", help="calls under way at once (default 32)")
    parser.add_argument("--most-rows", type=count, default=16, metavar="N", help="in a loop's batch (default 16)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write all figures, with the machine's, as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch, NAME, "1", "model.onnx")
        save_network(model)
        serve = (*SERVE, scratch, "--address", "127.0.0.1:0", "--log-level", "warning")
        async with running(*serve) as server:
            tuning = await _tuning(server)
            _say(f"the server chose {tuning}")
            found, rounds = await asyncio.to_thread(measure, Offline(model), server, given, _say)
    _say(verdict(rounds))
    if given.record:
        options = {"rounds": given.rounds, "seconds": given.seconds, "in_flight": given.in_flight}
        loop = better_loop(rounds)
        record = {
            "options": options,
            "machine": machine(),
            "tuning": tuning,
            "offline_rows_per_s": {str(setting): rate for setting, rate in found.items()},
            "better_loop": loop,
            "rounds": [{"ratio": one.ratio(loop), "cpu_ratio": one.cpu_ratio(loop), **asdict(one)} for one in rounds],
        }
        given.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
