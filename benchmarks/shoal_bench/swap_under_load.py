"""`python -m shoal_bench.swap_under_load`: does a large model that comes, is swapped and goes disturb a small one?

One server has a small model, which is called at a fixed rate throughout. Windows in which nothing else happens take
turns with windows in which a model of 400 MB is loaded, swapped for another version and unloaded through the admin
service. A latency counts from when its call should have been sent (open loop), so a stall of the server, or of the
machine, is seen by every call that it delays. The figure is the p99 of the busy window over that of the quiet window
before it, the median over the rounds; and no call may fail.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from math import ceil, log2
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final, TypeVar

import grpc
import grpc.aio
import numpy as np
import onnx
import uvloop
from onnx import TensorProto, helper

from shoal.admin import admin_pb2
from shoal.inference import grpc_service_pb2 as pb
from shoal_bench.positive import count, quantity
from shoal_bench.process import SERVE, running
from shoal_bench.record import machine
from shoal_bench.tiny import NAME, WIDTHS, write_tiny

TARGET: Final = 1.2
_BIG: Final = "big"
_WIDTH: Final = 2048
_LAYER_BYTES: Final = 4 * _WIDTH * _WIDTH
_ADMIN: Final = "/shoal.admin.v1.AdminService"
_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
_MOST_IN_FLIGHT: Final = 2000
_CALL_LIMIT_S: Final = 10.0
_OPERATION_LIMIT_S: Final = 300.0
_SETTLING_S: Final = 1.0
_BUCKETS_PER_DOUBLING: Final = 8


R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Options:
    """``rate`` in calls per second; ``rounds`` of a quiet window of ``window_s`` and a busy one as long as it takes."""

    rate: float
    rounds: int
    window_s: float
    size_mb: int


@dataclass(frozen=True, slots=True)
class Answer:
    """When a call should have been sent, and how long after that its answer was there, in seconds."""

    due_s: float
    took_s: float


@dataclass(slots=True)
class Traffic:
    """What became of the calls of one window."""

    answers: list[Answer] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def percentile_ms(self, share: float) -> float:
        """Return the latency that the given share of the calls did not exceed."""
        return _percentile_ms([answer.took_s for answer in self.answers], share)

    def figures(self) -> dict[str, object]:
        """Return what the record keeps: the counts, percentiles, and a histogram by upper bounds in milliseconds."""
        buckets = Counter(ceil(log2(answer.took_s * 1e3) * _BUCKETS_PER_DOUBLING) for answer in self.answers)
        return {
            "calls": len(self.answers),
            "failures": dict(self.failures),
            **{f"p{share:g}_ms": self.percentile_ms(share / 100) for share in (50, 90, 99, 99.9, 100)},
            "histogram": {
                f"{2 ** (bucket / _BUCKETS_PER_DOUBLING):.4g}": buckets[bucket] for bucket in sorted(buckets)
            },
        }


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation on the large model, when it ran, and what the server told of it."""

    name: str
    began_s: float
    took_s: float
    result: admin_pb2.OperationResult

    def p99_ms(self, traffic: Traffic) -> float:
        """Return the p99 of the calls that were due while it ran."""
        begins = bisect_right(traffic.answers, self.began_s, key=lambda answer: answer.due_s)
        ends = bisect_right(traffic.answers, self.began_s + self.took_s, key=lambda answer: answer.due_s)
        return _percentile_ms([answer.took_s for answer in traffic.answers[begins:ends]], 0.99)

    def figures(self, traffic: Traffic) -> dict[str, object]:
        """Return what the record keeps of it."""
        return {
            "operation": self.name,
            "took_s": self.took_s,
            "p99_ms": self.p99_ms(traffic),
            "steps_s": {
                f"{admin_pb2.Step.Kind.Name(step.kind)} {step.version}": step.seconds for step in self.result.steps
            },
            "memory_mb": {
                "before": self.result.memory.before_bytes / 1e6,
                "peak": self.result.memory.peak_bytes / 1e6,
                "after": self.result.memory.after_bytes / 1e6,
            },
        }


@dataclass(frozen=True, slots=True)
class Round:
    """A quiet window, a busy one, and what was done in that."""

    quiet: Traffic
    busy: Traffic
    operations: Sequence[Operation]

    @property
    def ratio(self) -> float:
        """The p99 of the busy window over that of the quiet one."""
        return self.busy.percentile_ms(0.99) / self.quiet.percentile_ms(0.99)


async def measure(options: Options, progress: Callable[[str], None]) -> list[Round]:
    """Run the server and the rounds against it; ``progress`` is told of each round."""
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch, "models")
        write_tiny(models)
        async with running(*SERVE, str(models), "--address", "127.0.0.1:0") as server:
            # Only now, so that the server does not load it at its start.
            write_big(models / _BIG, options.size_mb)
            async with grpc.aio.insecure_channel(server.address) as channel:
                infer = _infer(channel)
                await infer()
                rounds = []
                for number in range(1, options.rounds + 1):
                    await open_loop(infer, options.rate, asyncio.sleep(_SETTLING_S))
                    quiet, _ = await open_loop(infer, options.rate, asyncio.sleep(options.window_s))
                    busy, operations = await open_loop(infer, options.rate, come_and_go(channel))
                    rounds.append(Round(quiet, busy, operations))
                    progress(_line(number, rounds[-1]))
    return rounds


def write_big(folder: Path, size_mb: int) -> None:
    """Write versions 1 and 2 of a model of so many megabytes: square matrices, one after the other, of random weights.

    They are written beside the folder and moved there whole.
    """
    hidden = folder.parent.parent / "big.new"
    layers = max(1, round(size_mb * 1e6 / _LAYER_BYTES))
    for version in (1, 2):
        random = np.random.default_rng(version)
        tensors = [
            helper.make_tensor(
                f"w{layer}",
                TensorProto.FLOAT,
                [_WIDTH, _WIDTH],
                (random.standard_normal((_WIDTH, _WIDTH), np.float32) / np.float32(np.sqrt(_WIDTH))).tobytes(),
                raw=True,
            )
            for layer in range(layers)
        ]
        nodes = [helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"x{layer + 1}"]) for layer in range(layers)]
        graph = helper.make_graph(
            nodes,
            _BIG,
            [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["rows", _WIDTH])],
            [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, ["rows", _WIDTH])],
            tensors,
        )
        path = hidden / str(version) / "model.onnx"
        path.parent.mkdir(parents=True)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    hidden.rename(folder)


async def open_loop(call: Callable[[], Awaitable[object]], rate: float, work: Awaitable[R]) -> tuple[Traffic, R]:
    """Make ``rate`` calls a second while ``work`` lasts, whatever becomes of earlier ones; return both outcomes.

    Raises:
        RuntimeError: so many calls are under way that the server does not stand this rate.
    """
    traffic = Traffic()
    working = asyncio.ensure_future(work)
    pending: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:
        began_s = perf_counter()
        number = 0
        while not working.done():
            due_s = began_s + number / rate
            await asyncio.sleep(due_s - perf_counter())
            if len(pending) >= _MOST_IN_FLIGHT:
                working.cancel()
                raise RuntimeError(f"{len(pending)} calls are under way: the server does not stand {rate:g} per second")
            task = group.create_task(_one(call, due_s, traffic))
            pending.add(task)
            task.add_done_callback(pending.discard)
            number += 1
    traffic.answers.sort(key=lambda answer: answer.due_s)
    return traffic, await working


async def _one(call: Callable[[], Awaitable[object]], due_s: float, traffic: Traffic) -> None:
    due_s = min(due_s, perf_counter())  # timers of whole milliseconds may wake somebody a little early
    try:
        await call()
    except grpc.aio.AioRpcError as error:
        traffic.failures[f"{error.code().name}: {error.details()}"] += 1
    else:
        traffic.answers.append(Answer(due_s, perf_counter() - due_s))


def _infer(channel: grpc.aio.Channel) -> Callable[[], Awaitable[bytes]]:
    row = np.random.default_rng(0).uniform(0, 16, (1, WIDTHS[0])).astype(np.float32)
    request = pb.ModelInferRequest(model_name=NAME, raw_input_contents=[row.tobytes()])
    request.inputs.add(name="input", datatype="FP32", shape=row.shape)
    message = request.SerializeToString()
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_INFER)
    return lambda: method(message, timeout=_CALL_LIMIT_S)


async def come_and_go(channel: grpc.aio.Channel) -> list[Operation]:
    """Load the large model's first version, swap it for the second, unload that: afterwards all is as before."""
    first = admin_pb2.SwapVersionRequest(model=_BIG, version=1)
    second = admin_pb2.SwapVersionRequest(model=_BIG, version=2, keep_warm_s=0.0)
    gone = admin_pb2.UnloadVersionRequest(model=_BIG, version=2, force=True)
    return [
        await _operation(channel, name, method, request.SerializeToString())
        for name, method, request in (
            ("load", "SwapVersion", first),
            ("swap", "SwapVersion", second),
            ("unload", "UnloadVersion", gone),
        )
    ]


async def _operation(channel: grpc.aio.Channel, name: str, method: str, message: bytes) -> Operation:
    call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"{_ADMIN}/{method}")
    began_s = perf_counter()
    last = admin_pb2.OperationUpdate()
    async for update in call(message, timeout=_OPERATION_LIMIT_S):
        last = admin_pb2.OperationUpdate.FromString(update)
    return Operation(name, began_s, perf_counter() - began_s, last.result)


def _percentile_ms(took_s: Sequence[float], share: float) -> float:
    ordered = sorted(took_s)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1e3 if ordered else 0.0


def _line(number: int, done: Round) -> str:
    parts = ", ".join(f"{operation.name} {operation.took_s:.1f} s" for operation in done.operations)
    return (
        f"round {number}: p99 {done.quiet.percentile_ms(0.99):.2f} ms quiet, {done.busy.percentile_ms(0.99):.2f} ms "
        f"busy, ratio {done.ratio:.2f}, {_failed([done])} failed ({parts})"
    )


def _failed(rounds: Sequence[Round]) -> int:
    return sum(traffic.failures.total() for done in rounds for traffic in (done.quiet, done.busy))


def verdict(rounds: Sequence[Round]) -> str:
    """Return the medians over the rounds, and whether they meet the target."""
    ratios = [done.ratio for done in rounds]
    failed = _failed(rounds)
    calls = sum(len(traffic.answers) for done in rounds for traffic in (done.quiet, done.busy))
    met = median(ratios) <= TARGET and not failed
    operations = [operation for done in rounds for operation in done.operations]
    lines = [f"{'p99 ms':12}{'median':>8}{'worst':>8}"]
    for name, p99s in (
        ("quiet", [done.quiet.percentile_ms(0.99) for done in rounds]),
        ("busy", [done.busy.percentile_ms(0.99) for done in rounds]),
        *(
            (f"  {name}", [_p99_during(done, name) for done in rounds])
            for name in dict.fromkeys(operation.name for operation in operations)
        ),
    ):
        lines.append(f"{name:12}{median(p99s):8.2f}{max(p99s):8.2f}")
    lines.append(
        f"busy over quiet: median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} "
        f"rounds; {failed} of {calls + failed} calls failed; target <= {TARGET} and none: {'met' if met else 'MISSED'}"
    )
    noise = [after.quiet.percentile_ms(0.99) / before.quiet.percentile_ms(0.99) for before, after in pairwise(rounds)]
    if noise:
        lines.append(f"noise: a quiet window over the one before, {min(noise):.2f} to {max(noise):.2f}")
    return "\n".join(lines)


def _p99_during(done: Round, name: str) -> float:
    return max(operation.p99_ms(done.busy) for operation in done.operations if operation.name == name)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line, measure, print, and write the record if one is asked for."""
    parser = argparse.ArgumentParser(prog="python -m shoal_bench.swap_under_load", description=__doc__)
    parser.add_argument("--rate", type=quantity, default=200.0, metavar="N", help="calls per second (default 200)")
    parser.add_argument("--rounds", type=count, default=7, metavar="N", help="pairs of windows (default 7)")
    parser.add_argument("--window-s", type=quantity, default=10.0, metavar="S", help="a quiet window (default 10)")
    parser.add_argument("--size-mb", type=count, default=400, metavar="N", help="the large model (default 400)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write all figures, with the machine's, as JSON")
    given = parser.parse_args()
    options = Options(given.rate, given.rounds, given.window_s, given.size_mb)
    rounds = uvloop.run(measure(options, progress=_say))
    _say(verdict(rounds))
    if given.record:
        record = {"options": asdict(options), "machine": machine(), "rounds": [_figures(done) for done in rounds]}
        given.record.write_text(json.dumps(record, indent=1) + "\n")


def _figures(done: Round) -> dict[str, object]:
    return {
        "ratio": done.ratio,
        "quiet": done.quiet.figures(),
        "busy": done.busy.figures(),
        "operations": [operation.figures(done.busy) for operation in done.operations],
    }


if __name__ == "__main__":
    main()
