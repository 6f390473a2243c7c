"""Calls with one request and many answers that outlive a broken connection: operations, and watching."""

from asyncio import CancelledError
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from shoal.admin import admin_pb2 as pb
from shoal_client.call import Call
from shoal_client.caller import Caller
from shoal_client.errors import ProtocolError
from shoal_client.operation import OperationResult, Step, result_of, step_of

OnStep = Callable[[Step], None]


async def messages(caller: Caller, call: Call, *, endless: bool = False) -> AsyncGenerator[bytes, None]:
    """Yield the answers of a call; where it breaks, call again as the retry policy says, and go on with the answers.

    ``endless`` calls begin anew when their time is over, and count their attempts from the last answer on.

    Raises:
        CallError: by what it ended with.
    """
    headers = caller.headers(call.metadata)
    deadline_s = caller.now_s() + call.timeout_s
    attempts, avoid = 0, None
    while True:
        index, connection = caller.pick(avoid, call.only)
        attempts += 1
        channel = connection.channel(direct=call.only is not None)
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(call.path)
        stream = method(call.message, timeout=max(0.0, deadline_s - caller.now_s()), metadata=headers)
        try:
            async for message in stream:
                caller.answered(index)
                attempts = 1 if endless else attempts
                yield message
        except grpc.aio.AioRpcError as raised:
            error = caller.failure(raised, call, index, attempts)
            if endless and error.status == "DEADLINE_EXCEEDED" and caller.now_s() >= deadline_s:
                deadline_s = caller.now_s() + call.timeout_s
                continue
            if not await caller.again(error, call, attempts, deadline_s):
                raise error from None
            avoid = index
        except CancelledError:
            caller.raise_if_closed()
            raise
        else:
            return
        finally:
            stream.cancel()


class Operation:
    """A change of a model that is under way; it begins when it is awaited or iterated, once.

    ``await operation`` gives the ``OperationResult``; ``async for step in operation`` gives the steps as they begin and
    end, after which ``result`` is there. Leaving it does not stop the server: asking again with the same
    ``idempotency_key`` follows it or tells its result.
    """

    def __init__(self, caller: Caller, call: Call, idempotency_key: str, on_step: OnStep | None) -> None:
        self._caller = caller
        self._call = call
        self._on_step = on_step
        self._begun = False
        self.idempotency_key = idempotency_key
        self.result: OperationResult | None = None

    def __await__(self) -> Generator[Any, None, OperationResult]:
        return self._finish().__await__()

    def __aiter__(self) -> AsyncIterator[Step]:
        assert not self._begun, "an operation is followed once"
        self._begun = True
        return self._steps()

    async def _finish(self) -> OperationResult:
        if self.result is None:
            async for _step in self:
                pass
        assert self.result is not None, "its end was seen"
        return self.result

    async def _steps(self) -> AsyncIterator[Step]:
        told: set[tuple[str, int, float, bool]] = set()  # a few steps per operation
        async with aclosing(messages(self._caller, self._call)) as answers:
            async for message in answers:
                update = _update(message)
                if update.HasField("result"):
                    self.result = result_of(update.result)
                elif update.HasField("step"):
                    step = step_of(update.step)
                    mark = (step.kind, step.version, step.began_s, step.ended)
                    if mark in told:
                        continue  # told once more after the connection broke
                    told.add(mark)
                    if self._on_step is not None:
                        self._on_step(step)
                    yield step
        if self.result is None:
            raise ProtocolError(f"the server ended {self._call.path} without a result")


def _update(message: bytes) -> pb.OperationUpdate:
    try:
        return pb.OperationUpdate.FromString(message)
    except DecodeError:
        raise ProtocolError("the server answered with something that is no OperationUpdate") from None
