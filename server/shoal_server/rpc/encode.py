"""Answers to ModelInferResponse bytes, from templates.

Everything in an answer but the id and the elements depends only on the version, the outputs wanted and their shapes. So
protobuf serialises that part once, and an answer is the template, the id and the elements joined: 0.3 us where building
and serialising a message takes 2 us. The order of fields on the wire is free, and the elements stand last.
"""

from typing import Final, NamedTuple

from shoal.inference.grpc_service_pb2 import ModelInferResponse
from shoal_server.batching.ticket import Origin, Outputs
from shoal_server.rpc.wire import field_header
from shoal_server.tensors.batch import OutputBlock
from shoal_server.tensors.value import Shape

_ID: Final = ModelInferResponse.DESCRIPTOR.fields_by_name["id"].number
_RAW: Final = ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number
_MOST_TEMPLATES: Final = 4096  # about a megabyte; only models with freely varying shapes get there


class Template(NamedTuple):
    """An answer's constant part, and which blocks follow it."""

    head: bytes
    wanted: tuple[int, ...]
    headers: tuple[bytes, ...]
    """What stands before the elements of each wanted output; empty where their size varies (BYTES)."""


class ResponseEncoder:
    """Turns outputs into answers, from any thread: the templates are a dict, whose single steps are atomic."""

    def __init__(self) -> None:
        self._templates: dict[tuple[object, ...], Template] = {}
        # What the last answer was of: mostly the next is of the same batch and asks for the same.
        self._last: tuple[tuple[Shape, ...], Origin, int, tuple[str, ...], Template] | None = None

    def encode(self, outputs: Outputs, start: int, rows: int, own: bytes, names: tuple[str, ...]) -> bytes:
        """Return the answer of ``rows`` rows from ``start`` on.

        ``own`` are the request's own fields of the answer, as ``id_field`` makes them; ``names`` are the outputs
        wanted, empty for all.
        """
        origin, form = outputs.origin, outputs.form
        last = self._last
        if last is not None and last[0] is form and last[1] is origin and last[2] == rows and last[3] == names:
            template = last[4]
        else:
            template = self.template(outputs, rows, names)
            self._last = (form, origin, rows, names, template)
        parts: list[bytes | memoryview] = [template.head, own]
        blocks = outputs.blocks
        for index, header in zip(template.wanted, template.headers, strict=True):
            raw = blocks[index].raw(start, rows)
            parts.append(header or field_header(_RAW, len(raw)))
            parts.append(raw)
        return b"".join(parts)

    def template(self, outputs: Outputs, rows: int, names: tuple[str, ...]) -> Template:
        """Return what all answers of ``rows`` rows have in common."""
        key = (outputs.origin.uid, rows, names, outputs.form)
        known = self._templates.get(key)
        if known is not None:
            return known
        positions = {block.name: index for index, block in enumerate(outputs.blocks)}
        wanted = tuple([positions[name] for name in names]) if names else tuple(range(len(outputs.blocks)))
        blocks = [outputs.blocks[index] for index in wanted]
        head = ModelInferResponse(
            model_name=outputs.origin.model,
            model_version=str(outputs.origin.version),
            outputs=[
                ModelInferResponse.InferOutputTensor(
                    name=block.name, datatype=block.datatype.value, shape=block.shape(rows)
                )
                for block in blocks
            ],
        ).SerializeToString()
        template = Template(head, wanted, tuple([_header(block, rows) for block in blocks]))
        if len(self._templates) >= _MOST_TEMPLATES:
            self._templates.clear()
        self._templates[key] = template
        return template


def _header(block: OutputBlock, rows: int) -> bytes:
    size_bytes = block.size_bytes(rows)
    return b"" if size_bytes is None else field_header(_RAW, size_bytes)


def id_field(request_id: str) -> bytes:
    """Return a request's id as a field of its answer; nothing for an empty one."""
    if not request_id:
        return b""
    encoded = request_id.encode()
    return field_header(_ID, len(encoded)) + encoded


def id_of(field: bytes) -> str:
    """Return the id that ``id_field`` made this of."""
    request_id: str = ModelInferResponse.FromString(field).id if field else ""
    return request_id
