"""What a model computes, apart from the values of its weights, in a few characters."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shoal_server.runtime.pieces import Pieces
from shoal_server.runtime.wire_fields import Field, fields, varint

# onnx.proto: ModelProto.graph, GraphProto.initializer, TensorProto.data_type, and what holds its values.
_GRAPH: Final = 7
_INITIALIZER: Final = 5
_TYPE: Final = 2
_VALUES: Final = frozenset({4, 5, 6, 7, 9, 10, 11})

# Small tensors of these are shapes, axes and choices, by which a graph computes something else.
_TELLING_TYPES: Final = frozenset({6, 7, 8, 9})  # INT32, INT64, STRING, BOOL
_WEIGHT_BYTES: Final = 4 << 10

_PIECE_BYTES: Final = 1 << 18


def graph_print(path: Path) -> str:
    """Return the same for two models that differ in nothing but the values of their weights; empty for what is none."""
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            pieces = Pieces(file)
            for field, counts in _parts(pieces, os.fstat(file.fileno()).st_size):
                # With their places, so that what is left out is of the same size.
                digest.update(b"%d %d %d;" % field[:3])
                if counts:
                    for start in range(field.value, field.end, _PIECE_BYTES):
                        digest.update(pieces.between(start, min(start + _PIECE_BYTES, field.end)))
    except (OSError, ValueError):
        return ""
    return digest.hexdigest()


def _parts(pieces: Pieces, size_bytes: int) -> Iterator[tuple[Field, bool]]:
    """Yield what the model is made of, and whether its bytes count."""
    for field in fields(pieces, 0, size_bytes):
        if field.number != _GRAPH:
            yield field, True
            continue
        for part in fields(pieces, field.value, field.end):
            if part.number != _INITIALIZER:
                yield part, True
                continue
            inside = [*fields(pieces, part.value, part.end)]
            types = {varint(pieces, it.value, it.end)[0] for it in inside if it.number == _TYPE}
            telling = types <= _TELLING_TYPES
            for it in inside:
                yield it, it.number not in _VALUES or (telling and it.end - it.value <= _WEIGHT_BYTES)
