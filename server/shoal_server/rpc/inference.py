"""ModelInfer: the hot path. Lists of calls in, answers out from whichever thread has them."""

import logging
from collections.abc import Sequence

from shoal_server.batching.ticket import Outputs
from shoal_server.errors import InternalError, ShoalError
from shoal_server.rpc.caller import CallerOf
from shoal_server.rpc.decode import decode, parse
from shoal_server.rpc.encode import ResponseEncoder, id_field
from shoal_server.rpc.errors import status_of, trailers_of
from shoal_server.service import InferenceService
from shoal_server.transport.port import Call

_log = logging.getLogger(__name__)


class _CallResponder:
    """Answers one call."""

    __slots__ = ("_call", "_encoder", "_id", "_names")

    def __init__(self, call: Call, encoder: ResponseEncoder, request_id: bytes, names: tuple[str, ...]) -> None:
        self._call = call
        self._encoder = encoder
        self._id = request_id
        self._names = names

    def succeed(self, outputs: Outputs, start: int, rows: int) -> None:
        self._call.reply(self._encoder.encode(outputs, start, rows, self._id, self._names))

    def fail(self, error: ShoalError) -> None:
        fail(self._call, error)


class InferenceHandler:
    """Handles ModelInfer calls, list by list, on the loop."""

    def __init__(self, service: InferenceService, encoder: ResponseEncoder, caller_of: CallerOf | None = None) -> None:
        self._caller_of = caller_of
        self._service = service
        self._encoder = encoder

    def handle(self, calls: Sequence[Call]) -> None:
        """Admit or refuse each call, then let the batchers form their batches."""
        for call in calls:
            try:
                self._admit(call)
            except ShoalError as error:
                fail(call, error)
            except Exception as error:  # noqa: BLE001 - a bug of ours fails its call and no other
                _log.exception("ModelInfer failed")
                fail(call, InternalError(repr(error)))
        self._service.flush()

    def _admit(self, call: Call) -> None:
        message = call.message
        request = parse(message)
        domain = decode(request, len(message), call.deadline_s)
        if self._caller_of is not None:
            domain.caller = self._caller_of(call)
        responder = _CallResponder(call, self._encoder, id_field(request.id), tuple(domain.outputs))
        call.on_cancel(self._service.infer(domain, responder).cancel)


def fail(call: Call, error: ShoalError) -> None:
    """End a call with an error's status."""
    if isinstance(error, InternalError):
        _log.error("%s: %s", call.method, error)
    call.fail(*status_of(error), trailers_of(error))
