"""Tiny models of texts, whose length varies. Deterministic."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from shoal_testing.models import Dims, graph

WIDTH: Final = 4
VOCABULARY: Final = 1000

node = helper.make_node

DECLARED: Final = """
[lengths.inputs]
ids = { axis = 1, pad = 0 }
mask = { axis = 1, generate = "mask" }

[lengths.outputs]
states = { axis = 1 }
"""
"""What belongs into the model.toml of ``sentences``."""


def table() -> npt.NDArray[np.float32]:
    """Return what each id becomes; no row of it is zero, so that padding which is not hidden shows."""
    return np.random.default_rng(0).normal(1.0, 1.0, (VOCABULARY, WIDTH)).astype(np.float32)


def sentences(*, hides: bool = True, with_states: bool = True) -> bytes:
    """``ids`` and ``mask`` INT64 [N, L] -> ``embedding`` FP32 [N, 4], the mean of what is not masked, and ``states``.

    ``states`` FP32 [N, L, 4] are what the ids become. With ``hides`` False the mean is over all, mask or not.
    """
    nodes = [
        node("Gather", ["table", "ids"], ["states" if with_states else "found"]),
        node("Cast", ["mask"], ["weights" if hides else "unused"], to=TensorProto.FLOAT),
    ]
    if not hides:
        nodes += [node("Mul", ["unused", "zero"], ["nothing"]), node("Add", ["nothing", "one"], ["weights"])]
    found = "states" if with_states else "found"
    nodes += [
        node("Unsqueeze", ["weights", "last"], ["column"]),
        node("Mul", [found, "column"], ["weighted"]),
        node("ReduceSum", ["weighted", "axis"], ["sum"], keepdims=0),
        node("ReduceSum", ["weights", "axis"], ["count"], keepdims=1),
        node("Div", ["sum", "count"], ["embedding"]),
    ]
    outputs: list[tuple[str, int, Dims]] = [("embedding", TensorProto.FLOAT, ["N", WIDTH])]
    if with_states:
        outputs.append(("states", TensorProto.FLOAT, ["N", "L", WIDTH]))
    inputs: list[tuple[str, int, Dims]] = [
        ("ids", TensorProto.INT64, ["N", "L"]),
        ("mask", TensorProto.INT64, ["N", "L"]),
    ]
    return graph(nodes, inputs, outputs, _constants())


def series() -> bytes:
    """``values`` FP32 [N, 3, T] and ``length`` INT64 [N] -> ``mean`` FP32 [N, 3], over the first ``length`` of T."""
    nodes = [
        node("Shape", ["values"], ["shape"]),
        node("Gather", ["shape", "two"], ["steps"], axis=0),
        node("Range", ["zero64", "steps", "one64"], ["places"]),
        node("Unsqueeze", ["length", "axis"], ["ends"]),
        node("Less", ["places", "ends"], ["there"]),
        node("Cast", ["there"], ["weights"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["weights", "axis"], ["row"]),
        node("Mul", ["values", "row"], ["weighted"]),
        node("ReduceSum", ["weighted", "last"], ["sum"], keepdims=0),
        node("Cast", ["ends"], ["count"], to=TensorProto.FLOAT),
        node("Div", ["sum", "count"], ["mean"]),
    ]
    inputs: list[tuple[str, int, Dims]] = [
        ("values", TensorProto.FLOAT, ["N", 3, "T"]),
        ("length", TensorProto.INT64, ["N"]),
    ]
    return graph(nodes, inputs, [("mean", TensorProto.FLOAT, ["N", 3])], _constants())


def _constants() -> dict[str, npt.NDArray[Any]]:
    return {
        "table": table(),
        "axis": np.array([1], np.int64),
        "last": np.array([2], np.int64),
        "zero": np.array(0.0, np.float32),
        "one": np.array(1.0, np.float32),
        "two": np.array(2, np.int64),
        "zero64": np.array(0, np.int64),
        "one64": np.array(1, np.int64),
    }
