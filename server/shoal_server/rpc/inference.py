"""ModelInfer: the hot path. Lists of calls in, answers out from whichever thread has them."""

from collections.abc import Sequence

from shoal_server.batching.ticket import Outputs
from shoal_server.errors import Overloaded, ShoalError
from shoal_server.rpc.burst import CallBurst
from shoal_server.rpc.caller import CallerOf
from shoal_server.rpc.decode import decode, parse
from shoal_server.rpc.encode import ResponseEncoder, id_field, id_of
from shoal_server.rpc.failure import fail, fail_by_bug, hold
from shoal_server.rpc.noting import note_admitted, note_asked
from shoal_server.rpc.plain import Plain, PlainBurst, PlainReader
from shoal_server.service import Asked, InferenceRequest, InferenceService
from shoal_server.tensors.spec import PlainTensors
from shoal_server.transport.port import Call


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

    def __init__(
        self,
        service: InferenceService,
        encoder: ResponseEncoder,
        caller_of: CallerOf | None,
        plain: PlainReader,
        whose: str = "",
    ) -> None:
        """``whose`` says how a transport tells callers apart, see ``Call.hold``."""
        self._whose = whose
        self._caller_of = caller_of
        self._service = service
        self._encoder = encoder
        self._plain = plain

    def handle(self, calls: Sequence[Call]) -> None:
        """Answer, admit or refuse each call, then let the batchers form their batches."""
        bursts, others = self._plain.gather(calls)
        for burst in bursts:
            self._admit_burst(burst)
        for call in others:
            try:
                self._admit(call)
            except ShoalError as error:
                self._refuse(call, error)
            except Exception as error:  # noqa: BLE001 - a bug of ours fails its call and no other
                fail_by_bug(call, error)
        self._service.flush()

    def _admit_burst(self, burst: PlainBurst) -> None:
        """Have the requests answered at once, and admit those that cannot be."""
        form = burst.form
        asked = Asked(*form, burst.sizes)
        try:
            answered = self._service.infer_now(asked, CallBurst(burst, self._encoder, asked.outputs))
        except Exception as error:  # noqa: BLE001 - a bug of ours fails this burst and no other call
            for call, *_ in burst.requests(0):
                fail_by_bug(call, error)  # which does nothing to those that are answered
            return
        if answered == len(burst):
            return
        for call, own, data, size_bytes in burst.requests(answered):
            try:
                self._admit_plain(call, (form, own, data, size_bytes))
            except ShoalError as error:
                self._refuse(call, error)
            except Exception as error:  # noqa: BLE001 - as in ``handle``
                fail_by_bug(call, error)

    def _admit_plain(self, call: Call, plain: Plain) -> None:
        (model, version, inputs, outputs), own, data, size_bytes = plain
        domain = InferenceRequest(model, version, PlainTensors(inputs, data), outputs, size_bytes, call.deadline_s)
        trace = call.trace
        if trace is not None:
            note_asked(trace, model, id_of(own))
        self._infer(call, domain, _CallResponder(call, self._encoder, own, outputs))

    def _admit(self, call: Call) -> None:
        plain = self._plain.read(call)
        if plain is not None:
            self._admit_plain(call, plain)
            return
        message = call.message
        request = parse(message)
        trace = call.trace
        if trace is not None:
            note_asked(trace, request.model_name, request.id)
        domain = decode(request, len(message), call.deadline_s)
        self._infer(call, domain, _CallResponder(call, self._encoder, id_field(request.id), tuple(domain.outputs)))

    def _refuse(self, call: Call, error: ShoalError) -> None:
        fail(call, error)
        if isinstance(error, Overloaded):
            hold(call, error, self._whose)

    def _infer(self, call: Call, domain: InferenceRequest, responder: _CallResponder) -> None:
        if self._caller_of is not None:
            domain.caller = self._caller_of(call)
        domain.trace = trace = call.trace
        admission = self._service.infer(domain, responder)
        call.on_cancel(admission.cancel)
        if trace is not None:
            note_admitted(trace, admission.batcher.origin.version, admission.ticket.rows)
