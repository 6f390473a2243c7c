"""The ONNX project's own cases: single operators (onnx.backend.test.case.node), and small models that it stores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend import test
from onnx.backend.test.case import base
from onnx.backend.test.case.node import collect_testcases
from onnx.reference.ops import op_pool_common

from shoal_testing.bare_ort import Fed

_RANDOM: Final = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_STORED: Final = ("pytorch-converted", "pytorch-operator", "simple")
_TRAINING_MODE: Final = 2  # the input of Dropout that says that elements are dropped


@dataclass(frozen=True, slots=True)
class OnnxCase:
    """One case: a model and what goes in. Cases about anything but tensors have a ``beyond`` and no ``inputs``.

    ``source`` says where it comes from. ``beyond`` is the type of an input or output that the protocol has no words
    for. ``random`` says that an operator draws its results, so that two runs give two answers.
    """

    source: str
    name: str
    model: bytes
    inputs: dict[str, Fed]
    beyond: str
    random: bool


def operator_cases() -> Iterator[OnnxCase]:
    """Yield the cases of operators that the installed onnx has; can be done once in a process.

    Models and inputs alone: what the ONNX project expects of its cases, nobody asks here. Two thirds of the time would
    go into pooling window by window in Python, and a sixth into the sources of its functions for its documentation.
    """
    with mock.patch.object(op_pool_common, "pool", _unpooled), mock.patch.object(base, "process_snippet"):
        collected = collect_testcases(None)
    for case in sorted(collected, key=lambda case: case.name):
        if case.model is not None and case.data_sets:
            yield _case("operators", case.name, case.model, case.data_sets[0][0])


def _unpooled(
    padded: npt.NDArray[Any],
    x_shape: Sequence[int],
    _kernel: Sequence[int],
    _strides: Sequence[int],
    out_shape: Sequence[int],
    *_how: object,
    **_else: object,
) -> npt.NDArray[Any]:
    """Return what has the type and the shape of an answer, which is all that a model says of it."""
    return np.zeros([*x_shape[:2], *out_shape], padded.dtype)


def stored_cases() -> Iterator[OnnxCase]:
    """Yield the models that are files of the installed onnx, with their inputs."""
    data = Path(test.__file__).parent / "data"
    for path in sorted(path for source in _STORED for path in data.glob(f"{source}/*/model.onnx")):
        model = onnx.load(path)
        files = sorted(path.parent.glob("test_data_set_0/input_*.pb"), key=lambda file: int(file.stem.split("_")[-1]))
        about_tensors = not any(map(_beyond, model.graph.input))
        given = [onnx.load_tensor(file) for file in files] if about_tensors else []
        yield _case(path.parents[1].name, f"{path.parents[1].name}.{path.parent.name}", model, given)


def _case(source: str, name: str, model: onnx.ModelProto, given: Sequence[object]) -> OnnxCase:
    graph = model.graph
    beyond = next((text for text in map(_beyond, [*graph.input, *graph.output]) if text), "")
    inputs = {} if beyond else dict(_inputs(graph, given))
    random = any(
        node.op_type in _RANDOM or (node.op_type == "Dropout" and len(node.input) > _TRAINING_MODE)
        for node in graph.node
    )
    return OnnxCase(source, name, model.SerializeToString(), inputs, beyond, random)


def _inputs(graph: onnx.GraphProto, given: Sequence[object]) -> Iterator[tuple[str, Fed]]:
    stored = {initializer.name for initializer in graph.initializer}
    required = [described for described in graph.input if described.name not in stored]
    for described, value in zip(required, given, strict=True):
        if value is None:
            continue  # an optional input that is left out
        array = numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)
        yield described.name, Fed(array, tensor_type(described.type).elem_type)


def tensor_type(kind: onnx.TypeProto) -> onnx.TypeProto.Tensor:
    """Return the type of a tensor, be it optional."""
    return tensor_type(kind.optional_type.elem_type) if kind.HasField("optional_type") else kind.tensor_type


def _beyond(described: onnx.ValueInfoProto) -> str:
    """Return the type of an input or output that is no tensor, empty for one that is, or may be left out."""
    kind = described.type
    inner = kind.optional_type.elem_type if kind.HasField("optional_type") else kind
    return "" if inner.HasField("tensor_type") else _name(kind)


def _name(kind: onnx.TypeProto) -> str:
    """Return a type's name as ONNX Runtime writes it."""
    if kind.HasField("sequence_type"):
        return f"seq({_name(kind.sequence_type.elem_type)})"
    if kind.HasField("optional_type"):
        return f"optional({_name(kind.optional_type.elem_type)})"
    if kind.HasField("tensor_type"):
        return f"tensor({TensorProto.DataType.Name(kind.tensor_type.elem_type).lower()})"
    return kind.WhichOneof("value") or "nothing"
