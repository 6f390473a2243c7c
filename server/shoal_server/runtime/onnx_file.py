"""As much of an ONNX file as ONNX Runtime's interface does not tell: ZipMap nodes and stored strings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from shoal.onnx.model_pb2 import GraphProto, ModelProto, NodeProto, ValueInfoProto
from shoal_server.runtime.wire_fields import Field, fields, sized

_FLOAT: Final = 1  # the only element type that ZipMap takes
_LARGE_NODE_BYTES: Final = 1 << 20  # larger ones are trees and tables, and slow to parse
_TEXT_FILE_LIMIT_BYTES: Final = 16 << 20
_MOST_LISTS: Final = 16
_MOST_TEXTS: Final = 16


@dataclass(frozen=True, slots=True)
class Unzipped:
    """A model without its ZipMap nodes, serialised, in ``parts``.

    ``sources`` says, for each output that a ZipMap made, the name of the tensor that takes its place: ZipMap's input,
    of shape [rows, classes]. ``labels`` holds the names of its classes.
    """

    parts: Sequence[bytes | memoryview]
    sources: Mapping[str, str]
    labels: Mapping[str, tuple[str, ...]]


def without_zipmaps(path: Path) -> Unzipped:
    """Return the model with the tensors that its ZipMap nodes take as outputs in place of what they make.

    ZipMap (ONNX operators of the domain ai.onnx.ml) turns every row of a tensor into a dictionary {class: score}: no
    tensor, and slow. The nodes go, the graph is otherwise what it was.

    Raises:
        OSError: the file cannot be read.
        DecodeError, ValueError: it is no protobuf message of a model.
    """
    data = memoryview(path.read_bytes())
    graph = _graph(data)
    inside = list(fields(data, graph.value, graph.end))
    outputs = {
        field: ValueInfoProto.FromString(bytes(data[field.value : field.end]))
        for field in inside
        if field.number == GraphProto.OUTPUT_FIELD_NUMBER
    }
    names = {output.name for output in outputs.values()}
    zipmaps = {
        field: node
        for field, node in _small_nodes(data, inside)
        if node.op_type == "ZipMap" and node.domain == "ai.onnx.ml" and node.output[0] in names
    }
    sources = {node.output[0]: node.input[0] for node in zipmaps.values()}
    labels = {node.output[0]: _labels(node) for node in zipmaps.values()}
    kept = [data[field.start : field.end] for field in inside if field not in zipmaps and field not in outputs]
    contents: list[bytes | memoryview] = [*kept, *_outputs(list(outputs.values()), sources)]
    head = sized(ModelProto.GRAPH_FIELD_NUMBER, sum(map(len, contents)))
    return Unzipped([data[: graph.start], head, *contents, data[graph.end :]], sources, labels)


def _graph(data: memoryview) -> Field:
    graph = next((field for field in fields(data, 0, len(data)) if field.number == ModelProto.GRAPH_FIELD_NUMBER), None)
    if graph is None:
        raise DecodeError("a model without a graph")
    return graph


def _small_nodes(data: memoryview, inside: Sequence[Field]) -> Iterator[tuple[Field, NodeProto]]:
    for field in inside:
        if field.number == GraphProto.NODE_FIELD_NUMBER and field.end - field.value <= _LARGE_NODE_BYTES:
            yield field, NodeProto.FromString(bytes(data[field.value : field.end]))


def _labels(zipmap: NodeProto) -> tuple[str, ...]:
    labels: list[str] = []
    for attribute in zipmap.attribute:
        if attribute.name == "classlabels_int64s":
            labels += map(str, attribute.ints)
        elif attribute.name == "classlabels_strings":
            labels += (text.decode(errors="replace") for text in attribute.strings)
    return tuple(labels)


def _outputs(outputs: Sequence[ValueInfoProto], sources: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the fields of the graph's outputs, with ZipMap's input where its output was."""
    kept = [output for output in outputs if output.name not in sources]
    names = [output.name for output in kept]
    for source in sources.values():
        if source not in names:
            output = ValueInfoProto(name=source)
            output.type.tensor_type.elem_type = _FLOAT  # ONNX Runtime finds out about the shape
            kept.append(output)
            names.append(source)
    for output in kept:
        value = output.SerializeToString()
        yield sized(GraphProto.OUTPUT_FIELD_NUMBER, len(value)) + value


def stored_texts(path: Path) -> tuple[tuple[str, ...], ...]:
    """Return strings that a model knows, such as categories and labels: some of every list, from some of its lists.

    Large files are not looked into.
    """
    try:
        if path.stat().st_size > _TEXT_FILE_LIMIT_BYTES:
            return ()
        data = memoryview(path.read_bytes())
        graph = _graph(data)
        nodes = _small_nodes(data, list(fields(data, graph.value, graph.end)))
        return tuple(islice(_texts(node for _field, node in nodes), _MOST_LISTS))
    except (OSError, DecodeError, ValueError):
        return ()


def _texts(nodes: Iterator[NodeProto]) -> Iterator[tuple[str, ...]]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.strings:
                yield tuple(text.decode(errors="replace") for text in islice(attribute.strings, _MOST_TEXTS))
