"""The steps of a request's way through the server, one by one, on the requests of the tiny model.

Each is a function that does its step once for a number of requests, so that what its loop costs is spread. Nothing here
waits or opens a socket.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Final, TypeVar

import numpy as np

from shoal.inference.grpc_service_pb2 import ModelInferRequest
from shoal_server.batching.backlog import Backlog
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.execution import BatchExecution
from shoal_server.batching.slots import Slots
from shoal_server.batching.ticket import Origin, Outputs, Ticket
from shoal_server.clock import MonotonicClock
from shoal_server.errors import ShoalError
from shoal_server.lifecycle.catalog import Catalog, ModelEntry
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.lifecycle.states import VersionState
from shoal_server.options import BatchingOptions
from shoal_server.rpc.decode import decode, parse
from shoal_server.rpc.encode import ResponseEncoder, id_field
from shoal_server.tensors.batch import Array, assemble, blocks_of
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.finite import all_finite
from shoal_server.tensors.invariance import NOT_FOUND_OUT
from shoal_server.tensors.spec import Checked, Signature, TensorSpec

T = TypeVar("T")

ROWS: Final = 32
"""How many requests of one row each step is done for."""

_BATCHES: Final = 32
_COLUMNS: Final = 64
_CLASSES: Final = 10


@dataclass(frozen=True, slots=True)
class Operation:
    """A step: ``run`` does it for ``requests`` requests."""

    run: Callable[[], None]
    requests: int


class _Nobody:
    """Takes answers; and is the engine of a version that nothing is asked of."""

    def succeed(self, outputs: Outputs, start: int, rows: int) -> None:
        """Take one."""

    def fail(self, error: ShoalError) -> None:
        """Take one."""

    def hurry(self) -> None:
        """Hold nothing back."""

    def fail_waiting(self, error: ShoalError) -> None:
        """Have nobody to tell."""

    def close(self) -> None:
        """Stop."""


def operations() -> Mapping[str, Operation]:
    """Return every step, by its name, in the order of a request's way."""
    message = _message()
    signature = Signature(
        (TensorSpec("input", DataType.FP32, ("rows", _COLUMNS)),),
        (TensorSpec("output", DataType.FP32, ("rows", _CLASSES)),),
        batched=True,
    )
    checked = signature.check(decode(parse(message), len(message), None).tensors)
    tickets = [Ticket(_Nobody(), checked, len(message), 0.0, 1e9) for _ in range(ROWS)]
    outputs = [np.zeros((ROWS, _CLASSES), np.float32)]
    blocks = blocks_of(signature, outputs, ROWS)
    made = Outputs(Origin("tiny", 1, 1), blocks, tuple(block.tail for block in blocks))

    def codec() -> None:
        for _ in range(ROWS):
            signature.check(decode(parse(message), len(message), None).tensors)

    def backlog() -> None:
        line: Backlog[Ticket] = Backlog(BatchingOptions(max_rows=ROWS))
        for ticket in tickets:
            line.offer(ticket)
        line.next(0.0, 1)

    def batch() -> None:
        assemble(signature, [ticket.values for ticket in tickets], 0)

    def split() -> None:
        for block in blocks_of(signature, outputs, ROWS):
            for row in range(ROWS):
                block.raw(row, 1)

    def guard() -> None:
        all_finite(signature.outputs[0], outputs[0])

    return {
        "codec": Operation(codec, ROWS),
        "lease": Operation(_lease(), ROWS),
        "backlog": Operation(backlog, ROWS),
        "batch": Operation(batch, ROWS),
        "split": Operation(split, ROWS),
        "guard": Operation(guard, ROWS),
        "encode": Operation(_encode(made), ROWS),
        "serve": Operation(_serve(signature, checked, outputs), ROWS * _BATCHES),
    }


class _Still:
    """A loaded model that computes nothing, and the threads and the observer of a batcher that nobody hears of."""

    batching_reason = tuning_reason = "a benchmark"
    invariance = NOT_FOUND_OUT
    timings = ()
    steady = True

    def __init__(self, signature: Signature, outputs: Sequence[Array]) -> None:
        self.signature = signature
        self._outputs = outputs

    def run(self, inputs: Sequence[Array | None], control: object) -> Sequence[Array]:
        """Return what was made before."""
        del inputs, control
        return self._outputs

    def submit(self, work: Callable[[], T], done: Callable[[T], None]) -> "_Still":
        """Do the work here and now."""
        asyncio.get_running_loop().call_soon(done, work())
        return self

    def is_quick(self, *_about: object) -> bool:
        """Leave every batch to ``submit``."""
        return False

    def run_here(self, _work: BatchExecution) -> None:
        """Leave it to ``submit``."""

    def learn(self, *_about: object) -> None:
        """Take note of nothing."""

    def abandon(self) -> None:
        """Have nothing to give up."""

    def observe(self, event: object) -> None:
        """Take note of nothing."""


def _serve(signature: Signature, checked: Checked, outputs: Sequence[Array]) -> Callable[[], None]:
    """Return what takes requests through a batcher: into the line, into one batch, to their answers, and out again.

    It does so ``_BATCHES`` times, on a loop of its own.
    """
    still = _Still(signature, outputs)

    async def serve_all() -> None:
        settled = asyncio.Event()
        batcher = Batcher(
            Origin("tiny", 1, 1),
            still,
            BatchingOptions(max_rows=ROWS),
            1,
            slots=Slots(1),
            executor=still,
            clock=MonotonicClock(),
            observer=still,
            settled=lambda _tickets: settled.set(),
            broken=lambda _reason: None,
            closed=lambda: None,
        )
        for _ in range(_BATCHES):
            now = monotonic()
            for _ in range(ROWS):
                batcher.offer(Ticket(_Nobody(), checked, 300, now, now + 60.0))
            batcher.pump()
            await settled.wait()
            settled.clear()

    return lambda: asyncio.run(serve_all())


def _message() -> bytes:
    row = np.random.default_rng(0).random((1, _COLUMNS), np.float32)
    request = ModelInferRequest(model_name="tiny", id="1", raw_input_contents=[row.tobytes()])
    request.inputs.add(name="input", datatype="FP32", shape=row.shape)
    return request.SerializeToString()


def _lease() -> Callable[[], None]:
    slot: VersionSlot[_Nobody] = VersionSlot("tiny", 1, 1, ModelDefinition("tiny", {1: Path("model.onnx")}))
    for state in (VersionState.LOADING, VersionState.WARMING, VersionState.READY):
        slot.move(state)
    slot.engine = _Nobody()
    catalog: Catalog[_Nobody] = Catalog({"tiny": ModelEntry({1: slot})})

    def lease() -> None:
        for _ in range(ROWS):
            catalog.resolve("tiny", "").lease()
        slot.release(ROWS)

    return lease


def _encode(outputs: Outputs) -> Callable[[], None]:
    encoder, numbers = ResponseEncoder(), count()

    def encode() -> None:
        for row in range(ROWS):
            encoder.encode(outputs, row, 1, id_field(str(next(numbers))), ())

    return encode
