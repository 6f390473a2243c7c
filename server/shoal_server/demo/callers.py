"""Many callers at once, each asking for one row at a time."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import grpc.aio
import numpy as np
import numpy.typing as npt

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.cli.arrays import decode
from shoal_server.demo.models import DemoModel
from shoal_server.demo.process import DemoFailed
from shoal_server.tensors.datatype import DataType

_SERVICE: Final = "/inference.GRPCInferenceService"
_CALL_LIMIT_S: Final = 30.0
_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said about one test row; ``scores`` are the probabilities of the classes."""

    model: str
    row: int
    label: object
    scores: npt.NDArray[np.float32]
    took_s: float


class Callers:
    """A number of callers that share one connection. Use on one loop, within ``async with`` of the channel."""

    def __init__(self, channel: grpc.aio.Channel, count: int) -> None:
        self._count = count
        self._infer = channel.unary_unary(
            f"{_SERVICE}/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        self._statistics = channel.unary_unary(
            f"{_SERVICE}/ModelStatistics",
            request_serializer=pb.ModelStatisticsRequest.SerializeToString,
            response_deserializer=pb.ModelStatisticsResponse.FromString,
        )

    async def ask_for_all(self, models: Sequence[DemoModel], rounds: int) -> list[Answer]:
        """Ask for every test row of every model, ``rounds`` times, in a mixed order.

        Raises:
            DemoFailed: the server refused a request.
        """
        questions = [(model, row) for model in models for row in range(len(model.rows))] * rounds
        random.Random(_SEED).shuffle(questions)  # noqa: S311 - only the order, and the same one each time
        waiting = iter(questions)
        answers: list[Answer] = []
        async with asyncio.TaskGroup() as group:
            for _ in range(self._count):
                group.create_task(self._ask(waiting, answers))
        return answers

    async def batch_sizes(self, model: str) -> dict[int, int]:
        """Return how many batches of how many rows the server has run for a model."""
        response = await self._statistics(pb.ModelStatisticsRequest(name=model), timeout=_CALL_LIMIT_S)
        sizes = response.model_stats[0].batch_stats
        return {entry.batch_size: entry.compute_infer.count for entry in sizes}

    async def _ask(self, waiting: Iterator[tuple[DemoModel, int]], answers: list[Answer]) -> None:
        for model, row in waiting:
            request = pb.ModelInferRequest(model_name=model.name, raw_input_contents=[model.rows[row].tobytes()])
            request.inputs.add(name=model.input_name, datatype="FP32", shape=[1, model.rows.shape[1]])
            sent_s = time.monotonic()
            try:
                response = await self._infer(request, timeout=_CALL_LIMIT_S)
            except grpc.aio.AioRpcError as error:
                raise DemoFailed(f"{model.name}, row {row}: {error.code().name}: {error.details()}") from error
            took_s = time.monotonic() - sent_s
            label, scores = (
                decode(output.name, raw, DataType(output.datatype), output.shape)[0]
                for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
            )
            answers.append(Answer(model.name, row, label, scores, took_s))
