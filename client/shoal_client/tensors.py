"""Arrays to and from the protocol's contents: raw both ways, and typed lists from servers that answer so."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from shoal.inference.grpc_service_pb2 import ModelInferResponse
from shoal_client.datatypes import TYPES, Array, DataType, bf16_view
from shoal_client.errors import InvalidInput, ProtocolError

_PREFIX_BYTES: Final = 4


def to_raw(name: str, array: Array, datatype: DataType) -> bytes:
    """Return an array's elements in row-major order, little-endian; BYTES each after its length.

    Raises:
        InvalidInput: an element of a BYTES input is neither ``str`` nor ``bytes``.
    """
    if datatype.name == "BYTES":
        return _text_to_raw(name, array)
    if datatype.name == "BF16":
        return array.view(np.uint16).astype("<u2", copy=False).tobytes()
    return array.astype(datatype.dtype, copy=False).tobytes()


def _text_to_raw(name: str, array: Array) -> bytes:
    parts: list[bytes] = []
    for element in array.ravel().tolist():
        if isinstance(element, str):
            encoded = element.encode()
        elif isinstance(element, bytes):
            encoded = element
        else:
            raise InvalidInput(
                f"input '{name}' holds {type(element).__name__} objects; BYTES takes str and bytes, got {element!r:.60}"
            )
        parts.append(len(encoded).to_bytes(_PREFIX_BYTES, "little"))
        parts.append(encoded)
    return b"".join(parts)


def outputs_of(response: ModelInferResponse) -> dict[str, Array]:
    """Return a response's outputs by name, in its order.

    Arrays of numbers are read-only views of the message where it came raw: copy one to change it.

    Raises:
        ProtocolError: the contents contradict the types and shapes that came with them.
    """
    raw = response.raw_output_contents[:]
    outputs = response.outputs[:]
    if not raw:
        return {output.name: _typed(output) for output in outputs}
    if len(raw) != len(outputs):
        raise ProtocolError(f"the server sent {len(raw)} raw contents for {len(outputs)} outputs")
    return {
        output.name: _from_raw(output.name, output.datatype, tuple(output.shape[:]), data)
        for output, data in zip(outputs, raw, strict=True)
    }


def _from_raw(name: str, type_name: str, shape: tuple[int, ...], data: bytes) -> Array:
    datatype, count = _expected(name, type_name, shape)
    if datatype.name == "BYTES":
        return _objects(_text_of(name, data, count), shape)
    if len(data) != count * datatype.dtype.itemsize:
        raise ProtocolError(
            f"output '{name}' of {type_name} and shape {list(shape)} takes {count * datatype.dtype.itemsize} bytes, "
            f"the server sent {len(data)}"
        )
    array: Array = np.frombuffer(data, datatype.dtype).reshape(shape)
    return bf16_view(array) if datatype.name == "BF16" else array


def _typed(output: ModelInferResponse.InferOutputTensor) -> Array:
    shape = tuple(output.shape)
    datatype, count = _expected(output.name, output.datatype, shape)
    elements: Sequence[object] = getattr(output.contents, datatype.contents) if datatype.contents else ()
    if len(elements) != count:
        raise ProtocolError(
            f"output '{output.name}' of {output.datatype} and shape {list(shape)} takes {count} elements, "
            f"the server sent {len(elements)}"
        )
    if datatype.name == "BYTES":
        return _objects(elements, shape)
    try:
        return np.array(elements, datatype.dtype).reshape(shape)
    except OverflowError as error:
        raise ProtocolError(f"output '{output.name}' holds numbers that are no {output.datatype}: {error}") from error


def _expected(name: str, type_name: str, shape: tuple[int, ...]) -> tuple[DataType, int]:
    datatype = TYPES.get(type_name)
    if datatype is None:
        raise ProtocolError(f"output '{name}' is of the type {type_name!r:.40}, which the protocol does not have")
    if any(size < 0 for size in shape):
        raise ProtocolError(f"output '{name}' has the impossible shape {list(shape)!s:.80}")
    return datatype, math.prod(shape)


def _text_of(name: str, data: bytes, count: int) -> list[bytes]:
    texts: list[bytes] = []
    position, end = 0, len(data)
    while position < end:
        start = position + _PREFIX_BYTES
        position = start + int.from_bytes(data[position:start], "little")
        if start > end or position > end:
            raise ProtocolError(f"output '{name}': BYTES element {len(texts)} is longer than what the server sent")
        texts.append(data[start:position])
    if len(texts) != count:
        raise ProtocolError(f"output '{name}' takes {count} BYTES elements, the server sent {len(texts)}")
    return texts


def _objects(elements: Iterable[object], shape: tuple[int, ...]) -> Array:
    flat = np.empty(math.prod(shape), object)
    flat[:] = list(elements)
    return flat.reshape(shape)
