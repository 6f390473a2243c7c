"""What a request may consist of, looked at on the wire before protobuf makes objects of it.

Bounds in bytes do not bound work: an input or a parameter takes two bytes, and forty times as much in memory. A message
of 16 MiB of empty inputs was refused after 90 seconds, in which nobody else was answered. Names of many megabytes and
long lists of numbers are refused for the same reason; the latter belong in the raw contents.
"""

from typing import Final

import numpy as np

from shoal.inference.grpc_service_pb2 import InferTensorContents, ModelInferRequest
from shoal_server.errors import InvalidRequest
from shoal_server.tensors.spec import MAX_RANK
from shoal_server.tensors.text import MOST_TEXTS

FREE_BYTES: Final = 8 << 10
"""A message up to here cannot hold enough of anything, and most are; larger ones cost more than the look."""
MOST_FIELDS: Final = 1 << 14  # of the request and its inputs and outputs, nearly 3,000 of these
MOST_NAME_BYTES: Final = 1 << 16
MOST_ELEMENTS: Final = 1 << 22  # that are numbers of varying length
_MOST_SHAPE_BYTES: Final = 10 * MAX_RANK

MALFORMED: Final = "malformed request: the message is not a ModelInferRequest"

_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)
_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_LARGEST_VARINT_BITS: Final = 63


def _numbers(kind: type[ModelInferRequest] | type[InferTensorContents], *names: str) -> frozenset[int]:
    return frozenset(kind.DESCRIPTOR.fields_by_name[name].number for name in names)


_REQUEST_NAMES: Final = _numbers(ModelInferRequest, "model_name", "model_version")
_INPUTS: Final = _numbers(ModelInferRequest, "inputs")
_OUTPUTS: Final = _numbers(ModelInferRequest, "outputs")
_TENSOR_NAMES: Final = frozenset({1, 2})  # name and datatype of an input; name and a parameter of an output
_SHAPE: Final = ModelInferRequest.InferInputTensor.DESCRIPTOR.fields_by_name["shape"].number
_CONTENTS: Final = ModelInferRequest.InferInputTensor.DESCRIPTOR.fields_by_name["contents"].number
_TEXTS: Final = _numbers(InferTensorContents, "bytes_contents")
_NUMBERS_OF_VARYING_LENGTH: Final = _numbers(
    InferTensorContents, "bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents"
)


def check_structure(message: bytes) -> None:
    """Look through a serialised ModelInferRequest.

    What cannot be followed to the end is refused, and not left to protobuf: it may see in it what was not counted here.

    Raises:
        InvalidRequest: it has too many parts, one of them is too long, or it is no such message.
    """
    if len(message) > FREE_BYTES:
        try:
            _Walk(message).request()
        except IndexError:
            raise InvalidRequest(MALFORMED) from None


class _Walk:
    """One way through one message. An IndexError, as of any sequence, says that it leads nowhere."""

    __slots__ = ("_elements", "_fields", "_message", "_position", "_texts")

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._position = 0
        self._fields = 0
        self._texts = 0
        self._elements = 0

    def request(self) -> None:
        end = len(self._message)
        while self._position < end:
            number, kind, size_bytes = self._next(end)
            self._count_field()
            if kind == _BYTES and number in _INPUTS:
                self._input(self._position + size_bytes)
            elif kind == _BYTES and number in _OUTPUTS:
                self._output(self._position + size_bytes)
            else:
                if kind == _BYTES and number in _REQUEST_NAMES:
                    self._check_name(size_bytes)
                self._position += size_bytes

    def _input(self, end: int) -> None:
        name = b""
        while self._position < end:
            number, kind, size_bytes = self._next(end)
            self._count_field()
            if kind == _BYTES and number == _CONTENTS:
                self._contents(self._position + size_bytes)
                continue
            if kind == _BYTES and number in _TENSOR_NAMES:
                self._check_name(size_bytes)
                name = name or self._message[self._position : self._position + size_bytes]
            elif kind == _BYTES and number == _SHAPE and size_bytes > _MOST_SHAPE_BYTES:
                shown = name.decode(errors="replace")
                raise InvalidRequest(f"input {shown!r:.120} has more than {MAX_RANK} dimensions")
            self._position += size_bytes

    def _output(self, end: int) -> None:
        while self._position < end:
            number, kind, size_bytes = self._next(end)
            self._count_field()
            if kind == _BYTES and number in _TENSOR_NAMES:
                self._check_name(size_bytes)
            self._position += size_bytes

    def _contents(self, end: int) -> None:
        while self._position < end:
            number, kind, size_bytes = self._next(end)
            if kind == _BYTES and number in _TEXTS:
                self._texts += 1
                if self._texts > MOST_TEXTS:
                    raise InvalidRequest(f"the request has more than {MOST_TEXTS} strings in typed contents")
            else:
                self._count_field()
            if kind == _BYTES and number in _NUMBERS_OF_VARYING_LENGTH:
                packed = np.frombuffer(self._message[self._position : self._position + size_bytes], np.uint8)
                self._elements += int(np.count_nonzero(packed < 0x80))  # noqa: PLR2004 - the last byte of each
                if self._elements > MOST_ELEMENTS:
                    raise InvalidRequest(
                        f"the request has more than {MOST_ELEMENTS} elements in typed contents: use raw_input_contents"
                    )
            self._position += size_bytes

    def _next(self, end: int) -> tuple[int, int, int]:
        """Read a field's tag, and for bytes their length; return number, wire type and the size of what follows.

        Nobody has used groups for long: one is skipped, with all that is in it.
        """
        number, kind, size_bytes = self._tag(end)
        if kind == _GROUP:
            open_groups = [number]
            while open_groups:
                number, kind, size_bytes = self._tag(end)
                self._count_field()
                if kind == _GROUP:
                    open_groups.append(number)
                elif kind == _GROUP_END and open_groups.pop() != number:
                    raise IndexError
                self._position += size_bytes
            return 0, _GROUP, 0
        if kind == _GROUP_END:
            raise IndexError
        return number, kind, size_bytes

    def _tag(self, end: int) -> tuple[int, int, int]:
        tag = self._varint()
        number, kind = tag >> 3, tag & 7
        size_bytes = 0
        if kind == _VARINT:
            self._varint()
        elif kind == _BYTES:
            size_bytes = self._varint()
        elif kind > _FIXED32:
            raise IndexError
        else:
            size_bytes = _SIZES.get(kind, 0)
        if not number or self._position + size_bytes > end:
            raise IndexError
        return number, kind, size_bytes

    def _varint(self) -> int:
        message, position = self._message, self._position
        number = shift = 0
        while (byte := message[position]) >= 0x80:  # noqa: PLR2004 - seven bits a byte
            number |= (byte & 0x7F) << shift
            shift += 7
            position += 1
            if shift > _LARGEST_VARINT_BITS:
                raise IndexError
        self._position = position + 1
        return number | byte << shift

    def _count_field(self) -> None:
        self._fields += 1
        if self._fields > MOST_FIELDS:
            raise InvalidRequest(
                f"the request has more than {MOST_FIELDS} fields: inputs, outputs, their parts, parameters and contents"
            )

    @staticmethod
    def _check_name(size_bytes: int) -> None:
        if size_bytes > MOST_NAME_BYTES:
            raise InvalidRequest(
                f"a name or an element type has {size_bytes} bytes, at most {MOST_NAME_BYTES} are possible"
            )
