"""Inferences over one stream (ModelStreamInfer), any number of them under way at once.

All of them go to one server, over one HTTP/2 stream. Where that breaks it is opened again, and what was not answered is
sent again, as the retry policy allows: an inference may be computed twice, and is answered once.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from shoal.inference import grpc_service_pb2 as pb
from shoal_client.call import Call
from shoal_client.caller import Caller
from shoal_client.coalesce import Answer
from shoal_client.errors import (
    CallError,
    ClientClosed,
    ClientError,
    DeadlineExceeded,
    ProtocolError,
    Unavailable,
    Unsupported,
    class_of,
)
from shoal_client.inference import Inferences, answer_of, result_of
from shoal_client.information import INFERENCE
from shoal_client.options import Metadata
from shoal_client.request import Ask, message_of
from shoal_client.result import Result, Timings
from shoal_client.retry import PUSHBACK, STATUS, read_pushback

_LAST: Final = "triton_final_response"
_STATUSES: Final[dict[int, str]] = {
    code.value[0]: code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK
}
_MOST_UNANSWERED: Final = 8192  # twice what may be under way: a server that drops requests costs no more than this
_WRITE_FAILED: Final = "Internal error from Core"
"""What grpc.aio makes of a stream's status if a write fails before the status comes: the real one is lost."""


@dataclass(slots=True, eq=False)
class _Flight:
    key: str
    message: bytes
    answer: "asyncio.Future[Answer]"
    sent_on: int = 0
    sent: int = 0


class Pipeline:
    """One stream. ``infer`` may be called by many tasks at once; ``close`` ends what is left of them."""

    def __init__(
        self, caller: Caller, inferences: Inferences, model: str, total_timeout_s: float, metadata: Metadata
    ) -> None:
        self._caller = caller
        self._inferences = inferences
        self._call = Call(INFERENCE + "ModelStreamInfer", b"", total_timeout_s, model, metadata)
        self._headers = caller.headers(metadata)
        self._deadline_s = caller.now_s() + total_timeout_s
        self._flights: OrderedDict[str, _Flight] = OrderedDict()
        self._number = 0
        self._stream: grpc.aio.StreamStreamCall[bytes, bytes] | None = None
        self._generation = 0
        self._unanswered: dict[str, None] = {}  # what this stream was sent, in order, those who have left included
        self._resending: asyncio.Task[None] | None = None
        self._attempts = 0
        self._writing = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._ended: ClientError | None = None
        self._given_up = False
        self._careful = False  # send one request, and no more before something comes back

    async def infer(self, ask: Ask, timeout_s: float) -> Result:
        """Return the result of one inference.

        Raises:
            CallError: it failed (UNKNOWN where the server says no status), the stream did, or its time is over.
            InvalidInput: a value cannot be sent.
            ProtocolError: the answer is none, or the model is decoupled (several answers to one request).
        """
        began_s = self._caller.now_s()
        tensors, _signature = await self._inferences.prepare(ask, began_s + timeout_s)
        self._number += 1
        key = ask.request_id if ask.request_id and ask.request_id not in self._flights else f"shoal-{self._number}"
        request = message_of(ask, tensors)
        request.id = key
        flight = _Flight(key, request.SerializeToString(), asyncio.get_running_loop().create_future())
        self._flights[key] = flight
        try:
            async with asyncio.timeout_at(began_s + timeout_s):
                await self._write(flight)
                answer = await flight.answer
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {timeout_s:g} s", model=ask.model, attempts=1) from None
        finally:
            self._flights.pop(key, None)
            flight.answer.cancel()
            if flight.answer.cancelled():
                self._given_up = True
            else:
                flight.answer.exception()  # told to whoever asked, or nobody has to hear of it any more
        return result_of(ask, answer, Timings(self._caller.now_s() - began_s, attempts=flight.sent))

    async def close(self) -> None:
        """End the stream: in good order if everything was answered, else by a cancel, so that the server stops."""
        stream, reader = self._stream, self._reader
        self._ended = self._ended or ClientClosed("the stream is closed")
        if stream is None or reader is None:
            return
        if not self._flights and not self._given_up:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
                await stream.done_writing()
                async with asyncio.timeout(1.0):
                    await asyncio.shield(reader)
        stream.cancel()
        tasks = [task for task in (reader, self._resending) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, flight: _Flight) -> None:
        async with self._writing:
            if self._ended is not None:
                raise self._ended
            if self._stream is None:
                self._open(avoid=None)
            elif self._careful:
                return  # the reader sends it
            await self._send(flight)

    def _open(self, avoid: int | None) -> None:
        index, connection = self._caller.pick(avoid)
        remaining_s = max(0.0, self._deadline_s - self._caller.now_s())
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = connection.channel().stream_stream(self._call.path)
        self._stream = method(timeout=remaining_s, metadata=self._headers)
        self._generation += 1
        self._unanswered.clear()
        self._attempts += 1
        self._reader = asyncio.ensure_future(self._read(self._stream, index))

    async def _send(self, flight: _Flight) -> None:
        """Write a request unless the stream that is open has it already. Where the stream breaks, its reader knows."""
        if flight.sent_on == self._generation or self._stream is None:
            return
        flight.sent_on = self._generation
        flight.sent += 1
        self._unanswered[flight.key] = None
        if len(self._unanswered) > _MOST_UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._stream.write(flight.message)

    async def _read(self, stream: Any, index: int) -> None:  # noqa: ANN401 - its reads give EOF, which has no type
        try:
            while (message := await stream.read()) is not grpc.aio.EOF:
                self._caller.answered(index)
                self._attempts = 1
                self._settle(message, self._caller.name(index))
                if self._careful:
                    self._careful = False
                    # Beside this: a server may read no more before its answers are read.
                    self._resending = asyncio.ensure_future(self._send_all())
            error: CallError = self._ended_by(index, None)
        except grpc.aio.AioRpcError as raised:
            error = self._ended_by(index, raised)
        except asyncio.CancelledError:
            if not self._caller.is_open:
                self._fail(ClientClosed("the client was closed while the stream was open"))
            raise
        except ProtocolError as error_of_all:
            stream.cancel()
            self._fail(error_of_all)
            return
        await self._broken(error, index)

    def _ended_by(self, index: int, raised: grpc.aio.AioRpcError | None) -> CallError:
        """Return why a stream ended; where that is lost, the next one is careful, so that it will be told."""
        if raised is not None and raised.details() != _WRITE_FAILED:
            return self._caller.failure(raised, self._call, index, self._attempts)
        self._careful = raised is not None
        self._caller.left(index)
        return Unavailable(
            "the server ended the stream",
            model=self._call.model,
            target=self._caller.name(index),
            attempts=self._attempts,
            cause=raised,
        )

    async def _send_all(self) -> None:
        async with self._writing:
            for flight in list(self._flights.values()):
                await self._send(flight)

    async def _broken(self, error: CallError, index: int) -> None:
        """Open the stream again if anything waits and the policy allows it; else everything that waits fails."""
        if isinstance(error, Unsupported):
            error.details += "; this server has no ModelStreamInfer: infer_many() needs only ModelInfer"
        async with self._writing:
            self._stream = None
            if not self._flights or self._ended is not None:
                return
            if not await self._caller.again(error, self._call, self._attempts, self._deadline_s):
                self._fail(error)
                return
            self._open(avoid=index)
            for flight in list(self._flights.values())[: 1 if self._careful else None]:
                await self._send(flight)

    def _settle(self, message: bytes, target: str) -> None:
        try:
            answer = pb.ModelStreamInferResponse.FromString(message)
        except DecodeError:
            raise ProtocolError(f"{target} answered with something that is no ModelStreamInferResponse") from None
        response = answer.infer_response
        # Some servers tell of a failure without the id of its request; they answer in the order of the requests.
        key = response.id or next(iter(self._unanswered), "")
        self._unanswered.pop(key, None)
        flight = self._flights.get(key)
        if flight is None or flight.answer.done():
            return  # whoever asked has left
        if answer.error_message:
            flight.answer.set_exception(_failure(answer, self._call.model, target, flight.sent))
            return
        if _LAST in response.parameters and not response.parameters[_LAST].bool_param:
            flight.answer.set_exception(
                ProtocolError(
                    f"model '{self._call.model}' sends several answers to one request: it is not for stream()"
                )
            )
            return
        try:
            flight.answer.set_result(answer_of(response, target, flight.sent))
        except ProtocolError as error:
            flight.answer.set_exception(error)

    def _fail(self, error: ClientError) -> None:
        """Fail whoever waits. A stream that was refused is not opened again; one that ended unused is."""
        self._ended = error
        for flight in self._flights.values():
            if not flight.answer.done():
                own = copy(error)
                if isinstance(own, CallError) and isinstance(error, CallError):
                    own.cause = error.cause
                flight.answer.set_exception(own)


def _failure(answer: pb.ModelStreamInferResponse, model: str, target: str, attempts: int) -> CallError:
    """Return how a request failed. The protocol has its words alone; Shoal tells the rest in parameters."""
    told = answer.infer_response.parameters
    status = _STATUSES.get(_number(told, STATUS) or 0, "")
    wait_ms = _number(told, PUSHBACK)
    pushback = None if wait_ms is None else read_pushback(str(wait_ms))
    kind = class_of(status) if status else CallError
    return kind(
        answer.error_message,
        status=status,
        model=model,
        target=target,
        attempts=attempts,
        retry_after_s=pushback.delay_s if pushback else None,
        never_retry=pushback is not None and pushback.delay_s is None,
    )


def _number(parameters: Mapping[str, pb.InferParameter], name: str) -> int | None:
    """Return a whole number; None where there is none of that name."""
    if name not in parameters or parameters[name].WhichOneof("parameter_choice") != "int64_param":
        return None
    return parameters[name].int64_param
