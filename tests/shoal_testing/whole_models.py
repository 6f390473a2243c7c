"""Tiny models that take a request as a whole: their rows depend on each other, or there are none. Deterministic."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from shoal_testing.models import Dims, graph, identity, through


def softmax_over_batch() -> bytes:
    """``x`` FP32 [N, 3] -> y FP32 [N, 3]: each column sums to 1 over the rows."""
    return through(helper.make_node("Softmax", ["x"], ["y"], axis=0))


def fixed_batch(rows: int = 2) -> bytes:
    """``x`` FP32 [rows, 3] -> y FP32 [rows, 3], y = x."""
    return identity("FP32", [rows, 3])


def scalars() -> bytes:
    """``x`` FP32 [], n INT64 [] -> y FP32 [] = x + n."""
    return graph(
        [helper.make_node("Cast", ["n"], ["f"], to=TensorProto.FLOAT), helper.make_node("Add", ["x", "f"], ["y"])],
        [("x", TensorProto.FLOAT, []), ("n", TensorProto.INT64, [])],
        [("y", TensorProto.FLOAT, [])],
    )


def constant() -> bytes:
    """No inputs -> y FP32 [3] = 1, 2, 3."""
    return graph(
        [helper.make_node("Identity", ["c"], ["y"])],
        [],
        [("y", TensorProto.FLOAT, [3])],
        {"c": np.array([1, 2, 3], np.float32)},
    )


def endless() -> bytes:
    """``x`` FP32 [N, 2], turns INT64 [] -> y FP32 [N, 2]: x added to itself so often, which may take for ever."""
    inputs: list[tuple[str, int, Dims]]
    inputs = [("i", TensorProto.INT64, []), ("go_in", TensorProto.BOOL, []), ("s_in", TensorProto.FLOAT, ["N", 2])]
    body = helper.make_graph(
        [helper.make_node("Add", ["s_in", "x"], ["s_out"]), helper.make_node("Identity", ["go_in"], ["go_out"])],
        "body",
        [helper.make_tensor_value_info(*tensor) for tensor in inputs],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s_out", TensorProto.FLOAT, ["N", 2]),
        ],
    )
    return graph(
        [helper.make_node("Loop", ["turns", "go", "x"], ["y"], body=body, name="turning")],
        [("x", TensorProto.FLOAT, ["N", 2]), ("turns", TensorProto.INT64, [])],
        [("y", TensorProto.FLOAT, ["N", 2])],
        {"go": np.array(True)},  # noqa: FBT003 - an array of one bool
    )


def batch_dependent(bound: int = 4) -> bytes:
    """``x`` FP32 [N, 3] -> y FP32 [N, 3]: x in batches of up to ``bound`` rows, twice x in larger ones."""
    return _if(
        [
            helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
            helper.make_node("Greater", ["rows", "bound"], ["many1"]),
            helper.make_node("Squeeze", ["many1"], ["condition"]),
        ],
        {"bound": np.array([bound], np.int64)},
    )


def threshold(bound: float, reduction: str = "ReduceMax") -> bytes:
    """``x`` FP32 [N, 3] -> y FP32 [N, 3]: twice x if the reduction over all of x exceeds the bound, else x."""
    return _if(
        [
            helper.make_node(reduction, ["x"], ["r"], keepdims=0),
            helper.make_node("Greater", ["r", "bound"], ["condition"]),
        ],
        {"bound": np.array(bound, np.float32)},
    )


def _if(nodes: list[onnx.NodeProto], weights: dict[str, npt.NDArray[Any]]) -> bytes:
    twice, once = (
        helper.make_graph(
            [helper.make_node(operator, arguments, [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3])],
        )
        for operator, arguments, name in (("Add", ["x", "x"], "twice"), ("Identity", ["x"], "once"))
    )
    branches = helper.make_node("If", ["condition"], ["y"], then_branch=twice, else_branch=once)
    return through(*nodes, branches, weights=weights)
