"""Plain requests that came together, as the core knows them."""

from collections.abc import Sequence

from shoal_server.batching.ticket import Outputs
from shoal_server.events import Traced
from shoal_server.rpc.encode import ResponseEncoder, id_of
from shoal_server.rpc.noting import note_answered
from shoal_server.rpc.plain import PlainBurst
from shoal_server.tensors.batch import WHOLE
from shoal_server.transport.port import Status


class CallBurst:
    """A ``batching.burst.Burst`` whose answers are encoded in the native crate, all of a batch in one go."""

    __slots__ = ("_calls", "_encoder", "_names", "_traced", "earliest_s", "elements", "size_bytes")

    def __init__(self, calls: PlainBurst, encoder: ResponseEncoder, names: tuple[str, ...]) -> None:
        """``names`` are the outputs wanted, empty for all."""
        self._calls = calls
        self._encoder = encoder
        self._names = names
        traced = calls.traced
        self._traced = (
            [(place, call.trace, own) for place, call, own in traced if call.trace is not None] if traced else ()
        )
        self.size_bytes = calls.size_bytes
        self.earliest_s = calls.earliest_s
        self.elements = calls.elements

    def __len__(self) -> int:
        return len(self._calls)

    def traced(self, start: int, stop: int) -> Sequence[Traced]:
        """Return the records of those of the requests from ``start`` to ``stop`` that are traced."""
        return [trace for place, trace, _ in self._traced if start <= place < stop] if self._traced else ()

    def succeed(self, outputs: Outputs, start: int, stop: int, rows: int) -> int:
        """Answer the requests from ``start`` to ``stop`` with ``rows`` rows each; return how many still waited."""
        template = self._encoder.template(outputs, rows, self._names)
        parts = []
        for index, header in zip(template.wanted, template.headers, strict=True):
            block = outputs.blocks[index]
            size_bytes = block.size_bytes(rows)
            assert size_bytes is not None, "whose elements have no fixed size comes with a ticket"
            parts.append((header, bytes(block.raw(0, WHOLE)), size_bytes))
        answered = self._calls.answer(start, stop, template.head, parts)
        for place, trace, own in self._traced:
            if start <= place < stop:
                note_answered(trace, self._calls.form[0], id_of(own), outputs.origin.version, rows)
                if self._calls.has_left(place):
                    trace.end(Status.CANCELLED, "the caller left")
                else:
                    trace.end(Status.OK, "")
        return answered
