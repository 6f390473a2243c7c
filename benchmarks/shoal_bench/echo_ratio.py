"""The tiny model's inferences per second, over the calls per second of a bare echo with the same bytes.

Both servers run throughout, each in its own process; the rounds alternate, so that a machine whose speed drifts drifts
for both, and the ratio of each round stands for itself.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc.aio
import numpy as np

from shoal.inference import grpc_service_pb2 as pb
from shoal_bench.load import Load, closed_loop
from shoal_bench.process import SERVE, MeasuredProcess, running
from shoal_bench.tiny import NAME, write_tiny

_SERVICE: Final = "/inference.GRPCInferenceService"
_WARM_UP_CALLS: Final = 1000


@dataclass(frozen=True, slots=True)
class Options:
    """``in_flight`` calls at once, ``calls`` per round and side, ``rounds``; each >= 1."""

    in_flight: int
    calls: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Side:
    """One side of one round: calls per second, CPU microseconds of the server per call, latencies in milliseconds."""

    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Round:
    """Both sides of one round, and the mean rows per batch of the server in it."""

    server: Side
    echo: Side
    mean_batch: float


async def measure(options: Options, progress: Callable[[str], None]) -> list[Round]:
    """Run the servers, and the rounds against them; ``progress`` is told of each round."""
    with tempfile.TemporaryDirectory() as scratch:
        write_tiny(Path(scratch))
        async with running(*SERVE, scratch, "--address", "127.0.0.1:0") as server:
            channel = grpc.aio.insecure_channel(server.address)
            question = await question_for(channel)
            answer = await _method(channel, "ModelInfer")(question)
            async with running("-m", "shoal_bench.echo", str(len(answer))) as echo:
                echo_channel = grpc.aio.insecure_channel(echo.address)
                rounds = []
                for number in range(1, options.rounds + 1):
                    before = await _executed(channel)
                    served = await measure_side(server, channel, question, options)
                    after = await _executed(channel)
                    echoed = await measure_side(echo, echo_channel, question, options)
                    rounds.append(Round(served, echoed, (after[0] - before[0]) / (after[1] - before[1])))
                    progress(
                        f"round {number}: server {served.rate:.0f}/s ({served.cpu_us:.0f} us CPU a call), echo "
                        f"{echoed.rate:.0f}/s ({echoed.cpu_us:.0f} us), ratio {served.rate / echoed.rate:.2f}, mean "
                        f"batch {rounds[-1].mean_batch:.1f}"
                    )
                await echo_channel.close()
            await channel.close()
    return rounds


async def question_for(channel: grpc.aio.Channel) -> bytes:
    """Return a request of one row for the tiny model of the server behind the channel."""
    ask = _method(channel, "ModelMetadata")
    metadata = pb.ModelMetadataResponse.FromString(
        await ask(pb.ModelMetadataRequest(name=NAME).SerializeToString(), wait_for_ready=True)
    )
    columns = metadata.inputs[0].shape[1]
    row = np.random.default_rng(0).uniform(0, 16, (1, columns)).astype(np.float32)
    request = pb.ModelInferRequest(model_name=NAME, raw_input_contents=[row.tobytes()])
    request.inputs.add(name=metadata.inputs[0].name, datatype="FP32", shape=[1, columns])
    return request.SerializeToString()


async def _executed(channel: grpc.aio.Channel) -> tuple[int, int]:
    """Return the rows and the batches that the server has run."""
    ask = _method(channel, "ModelStatistics")
    response = pb.ModelStatisticsResponse.FromString(
        await ask(pb.ModelStatisticsRequest(name=NAME).SerializeToString())
    )
    return response.model_stats[0].inference_count, response.model_stats[0].execution_count


async def measure_side(process: MeasuredProcess, channel: grpc.aio.Channel, question: bytes, options: Options) -> Side:
    """Warm up, then measure one side for one round."""
    infer = _method(channel, "ModelInfer")
    await closed_loop(lambda: infer(question), min(_WARM_UP_CALLS, options.calls), options.in_flight)
    cpu_s = process.cpu_s()
    load: Load = await closed_loop(lambda: infer(question), options.calls, options.in_flight)
    cpu_us = (process.cpu_s() - cpu_s) / options.calls * 1e6
    return Side(load.rate, cpu_us, load.percentile_s(0.5) * 1e3, load.percentile_s(0.99) * 1e3)


def _method(channel: grpc.aio.Channel, name: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    """Return a method of the server that takes and gives bytes, so that the client costs little."""
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{_SERVICE}/{name}")
    return method
