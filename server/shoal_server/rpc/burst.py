"""Plain requests that came together, as the core knows them."""

from shoal_server.batching.ticket import Outputs
from shoal_server.rpc.encode import ResponseEncoder
from shoal_server.rpc.plain import PlainBurst
from shoal_server.tensors.batch import WHOLE


class CallBurst:
    """A ``batching.burst.Burst`` whose answers are encoded in the native crate, all of a batch in one go."""

    __slots__ = ("_calls", "_encoder", "_names", "earliest_s", "elements", "size_bytes")

    def __init__(self, calls: PlainBurst, encoder: ResponseEncoder, names: tuple[str, ...]) -> None:
        """``names`` are the outputs wanted, empty for all."""
        self._calls = calls
        self._encoder = encoder
        self._names = names
        self.size_bytes = calls.size_bytes
        self.earliest_s = calls.earliest_s
        self.elements = calls.elements

    def __len__(self) -> int:
        return len(self._calls)

    def succeed(self, outputs: Outputs, start: int, stop: int, rows: int) -> int:
        """Answer the requests from ``start`` to ``stop`` with ``rows`` rows each; return how many still waited."""
        template = self._encoder.template(outputs, rows, self._names)
        parts = []
        for index, header in zip(template.wanted, template.headers, strict=True):
            block = outputs.blocks[index]
            size_bytes = block.size_bytes(rows)
            assert size_bytes is not None, "whose elements have no fixed size comes with a ticket"
            parts.append((header, bytes(block.raw(0, WHOLE)), size_bytes))
        return self._calls.answer(start, stop, template.head, parts)
