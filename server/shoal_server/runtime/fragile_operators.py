"""Operators that do not survive an empty tensor, and such as run others as often as the values of tensors say."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from onnxruntime import __version__

from shoal_server.runtime.pieces import Pieces
from shoal_server.runtime.wire_fields import fields, sized

# onnx.proto: ModelProto.graph, ModelProto.functions; GraphProto.node, whose bytes have those of its subgraphs in them.
_GRAPH: Final = 7
_FUNCTION: Final = 25
_NODE: Final = 1


def _text(number: int, text: str) -> bytes:
    """Return a field as it stands in a message."""
    return sized(number, len(text)) + text.encode()


# ONNX Runtime aborts, divides by zero or reads outside its memory in these where a tensor has no elements: found by
# running every case of the ONNX project with each dimension of each input zero in turn, in a process of its own.
_FATAL: Final = ("ConvTranspose", "GRU", "LSTM", "STFT", "Unique")
# The same with 1.28, and not with 1.32.
_ONCE_FATAL: Final = ("Attention", "DFT", "GridSample", "LpNormalization", "TopK")
_MENDED_IN: Final = (1, 32)

_IS_MENDED: Final = tuple(map(int, __version__.split(".")[:2])) >= _MENDED_IN
# Known by NodeProto.op_type. A Scan fails only where it has axes, so it is known by those (AttributeProto.name).
_SIGNS: Final = {
    **{name: [_text(4, name)] for name in (_FATAL if _IS_MENDED else (*_FATAL, *_ONCE_FATAL))},
    "Scan": [_text(1, "scan_input_axes"), _text(1, "scan_output_axes")],
}
_FRAGILE: Final = re.compile(
    b"|".join(b"(?P<%b>%b)" % (name.encode(), b"|".join(map(re.escape, signs))) for name, signs in _SIGNS.items())
)
# ONNX Runtime's own write texts until they are over.
_TURNING: Final = re.compile(
    b"|".join(
        re.escape(_text(4, name)) for name in ("Loop", "BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch")
    )
)


class Operators(NamedTuple):
    """What is to be known of a model's operators.

    ``fragile`` is one on which an empty input would end the process, None if the model has none of them. ``turning``
    says whether the values of inputs may decide for how long the model runs.
    """

    fragile: str | None
    turning: bool


def operators(path: Path) -> Operators:
    """Look through a model's nodes.

    Of what is no ONNX message, a model in ONNX Runtime's own format, say, or a file that has gone, no operator is known
    to be fragile, and it may turn. Weights are not looked at, not even read.
    """
    fragile: re.Match[bytes] | None = None
    turning = False
    try:
        with path.open("rb", buffering=0) as file:
            pieces = Pieces(file)
            for start, end in _spans(pieces, os.fstat(file.fileno()).st_size):
                node = pieces.between(start, end)
                fragile = fragile or _FRAGILE.search(node)
                turning = turning or _TURNING.search(node) is not None
    except (OSError, ValueError):
        turning = True
    return Operators(fragile.lastgroup if fragile else None, turning)


def _spans(model: Pieces, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield where the graph's nodes and the functions stand."""
    for field in fields(model, 0, size_bytes):
        if field.number == _GRAPH:
            inside = fields(model, field.value, field.end)
            yield from ((part.value, part.end) for part in inside if part.number == _NODE)
        elif field.number == _FUNCTION:
            yield field.value, field.end
