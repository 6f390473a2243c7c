"""ModelStreamInfer: requests and answers in a stream, each request batched like any other (Triton's extension)."""

from collections import deque
from threading import Lock
from typing import Final

from shoal.inference.grpc_service_pb2 import InferParameter, ModelInferResponse, ModelStreamInferResponse
from shoal_server.batching.ticket import Outputs
from shoal_server.errors import InternalError, ShoalError
from shoal_server.rpc.caller import CallerOf
from shoal_server.rpc.decode import decode, parse
from shoal_server.rpc.encode import ResponseEncoder, id_field
from shoal_server.rpc.errors import PUSHBACK, STATUS, pushback_ms, status_of, trailers_of
from shoal_server.rpc.failure import TRACE_TRAILER, reported
from shoal_server.rpc.noting import note_admitted, note_asked
from shoal_server.rpc.wire import field_header
from shoal_server.service import Admission, InferenceService
from shoal_server.transport.port import Status, Stream, Trace

MOST_IN_FLIGHT: Final = 512  # requests of one stream; a caller who reads slowly holds no more answers than this

MOST_HELD_BYTES: Final = 4 << 20
"""Of a stream's answers that wait for one before them; beyond it, all are to be on their way before more is taken."""

_REQUEST: Final = "ModelStreamInfer request"

_ANSWER: Final = ModelStreamInferResponse.DESCRIPTOR.fields_by_name["infer_response"].number

# Triton marks each streamed answer so. Here every request has one answer, so each is its request's last, and
# `triton_enable_empty_final_response` asks for what never comes: an answer without outputs after the last with some.
_LAST: Final = ModelInferResponse(parameters={"triton_final_response": InferParameter(bool_param=True)})
_LAST_FIELD: Final = _LAST.SerializeToString()


class _InOrder:
    """Sends a stream's answers in the order of its requests, as Triton does; from any thread.

    A stock client tells its caller of a failed request without its id, so only the order says whose failure it is.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lock = Lock()
        self._places: deque[list[bytes]] = deque()
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Of answers that wait for one before them."""
        return self._held_bytes

    def place(self) -> list[bytes]:
        """Take the next place; its list is empty until it is settled."""
        place: list[bytes] = []
        with self._lock:
            self._places.append(place)
        return place

    def settle(self, place: list[bytes], message: bytes) -> None:
        """Put the answer in its place, and send all those before which none is missing."""
        with self._lock:
            place.append(message)
            self._held_bytes += len(message)
            while self._places and self._places[0]:
                first = self._places.popleft()[0]
                self._held_bytes -= len(first)
                self._stream.send(first)


class _StreamResponder:
    """Answers one request of a stream with one message.

    A failure is a message too, which holds the request's id and its status's number; with ``ends_stream`` it is the
    stream's status instead. Once it has answered, it is no more ``under_way``, so that a stream which lasts keeps no
    request that is over.
    """

    __slots__ = (
        "_answers",
        "_encoder",
        "_ends_stream",
        "_names",
        "_place",
        "_request_id",
        "_stream",
        "_under_way",
        "trace",
    )

    def __init__(
        self,
        stream: Stream,
        encoder: ResponseEncoder,
        answers: _InOrder,
        under_way: "dict[_StreamResponder, Admission]",
        *,
        ends_stream: bool,
    ) -> None:
        self._stream = stream
        self._encoder = encoder
        self._answers = answers
        self._place = answers.place()
        self._under_way = under_way
        self._request_id = ""
        self._names: tuple[str, ...] = ()
        self._ends_stream = ends_stream
        self.trace: Trace | None = None if stream.trace is None else stream.trace.inner(_REQUEST)

    def know(self, request_id: str) -> None:
        """Answer with this id."""
        self._request_id = request_id

    def want(self, names: tuple[str, ...]) -> None:
        """Answer with these outputs, empty for all."""
        self._names = names

    def succeed(self, outputs: Outputs, start: int, rows: int) -> None:
        fields = id_field(self._request_id) + _LAST_FIELD
        answer = self._encoder.encode(outputs, start, rows, fields, self._names)
        self._answers.settle(self._place, field_header(_ANSWER, len(answer)) + answer)
        self._under_way.pop(self, None)
        if self.trace is not None:
            self.trace.end(Status.OK, "")

    def leave(self) -> None:
        """The stream is over before the answer."""
        if self.trace is not None:
            self.trace.end(Status.CANCELLED, "the stream ended first")

    def fail(self, error: ShoalError) -> None:
        self._under_way.pop(self, None)
        trace_id = ""
        if isinstance(error, InternalError):
            trace_id = reported(self._stream.method, error, self.trace)
        status, text = status_of(error)
        if self.trace is not None:
            self.trace.end(status, text)
        if self._ends_stream:
            self._stream.fail(status, text, ((TRACE_TRAILER, trace_id),) if trace_id else trailers_of(error))
            return
        message = ModelStreamInferResponse(error_message=text, infer_response=_LAST)
        message.infer_response.id = self._request_id
        # The stream goes on, so there are no trailers to say it in.
        parameters = message.infer_response.parameters
        parameters[STATUS].int64_param = status.value
        if trace_id:
            parameters[TRACE_TRAILER].string_param = trace_id
        wait_ms = pushback_ms(error)
        if wait_ms is not None:
            parameters[PUSHBACK].int64_param = wait_ms
        self._answers.settle(self._place, message.SerializeToString())


class StreamHandler:
    """Handles one ModelStreamInfer stream per call of ``handle``."""

    def __init__(self, service: InferenceService, encoder: ResponseEncoder, caller_of: CallerOf | None = None) -> None:
        self._caller_of = caller_of
        self._service = service
        self._encoder = encoder

    async def handle(self, stream: Stream) -> None:
        """Answer every request of the stream, in the order of the requests.

        The caller's metadata ``triton_grpc_error: true`` asks for the first failure to end the stream with its status.
        """
        ends_stream = ("triton_grpc_error", "true") in stream.metadata
        caller = self._caller_of(stream) if self._caller_of is not None else ""
        under_way: dict[_StreamResponder, Admission] = {}
        answers = _InOrder(stream)
        received = 0
        try:
            while (message := await stream.receive()) is not None:
                received += 1
                responder = _StreamResponder(stream, self._encoder, answers, under_way, ends_stream=ends_stream)
                self._admit(message, stream.deadline_s, caller, responder, under_way)
                await stream.sent(received if answers.held_bytes > MOST_HELD_BYTES else received - MOST_IN_FLIGHT + 1)
            await stream.sent(received)
        finally:
            for left, admission in list(under_way.items()):
                admission.cancel()
                left.leave()

    def _admit(
        self,
        message: bytes,
        deadline_s: float | None,
        caller: str,
        responder: _StreamResponder,
        under_way: dict[_StreamResponder, Admission],
    ) -> None:
        try:
            request = parse(message)
            responder.know(request.id)
            trace = responder.trace
            if trace is not None:
                note_asked(trace, request.model_name, request.id)
            domain = decode(request, len(message), deadline_s)
            domain.trace = trace
            domain.caller = caller
            responder.want(tuple(domain.outputs))
            admission = under_way[responder] = self._service.infer(domain, responder)
            if trace is not None:
                note_admitted(trace, admission.batcher.origin.version, admission.ticket.rows)
        except ShoalError as error:
            responder.fail(error)
            return
        self._service.flush()
