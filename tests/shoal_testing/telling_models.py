"""Models whose answers tell what made them: which version, which batch."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from shoal_testing.models import Dims, graph


def plus(number: float) -> bytes:
    """``x`` FP32 [N, 2] -> y FP32 [N, 2] = x + number."""
    dims: Dims = ["N", 2]
    return graph(
        [helper.make_node("Add", ["x", "number"], ["y"])],
        [("x", TensorProto.FLOAT, dims)],
        [("y", TensorProto.FLOAT, dims)],
        {"number": np.array(number, np.float32)},
    )


def batch_mates(layers: int, width: int) -> bytes:
    """``x`` FP32 [N, 16], row INT64 [N, 1] -> y FP32 [N, 10], mates INT64 [N, N]: the batch's rows, for each row.

    ``y`` comes from a classifier with so many hidden layers of such a width: the more and the wider, the slower.
    ``mates`` is what ``row`` held for every row of the batch, in order. So the model has to be declared batchable: its
    owner knows that the ``y`` of a row depends on no other row.
    """
    random = np.random.default_rng(0)
    weights: dict[str, npt.NDArray[Any]] = {
        name: (random.normal(size=(rows, columns)) * np.sqrt(2 / rows)).astype(np.float32)
        for name, rows, columns in (("first", 16, width), ("between", width, width), ("last", width, 10))
    }
    nodes: list[onnx.NodeProto] = []
    name = "x"
    for layer in range(layers):
        nodes.append(helper.make_node("MatMul", [name, "between" if layer else "first"], [f"h{layer}"]))
        nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"]))
        name = f"r{layer}"
    nodes += [
        helper.make_node("MatMul", [name, "last"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"], axis=-1),
        helper.make_node("Sub", ["row", "row"], ["zeros"]),
        helper.make_node("Transpose", ["row"], ["all"], perm=[1, 0]),
        helper.make_node("Add", ["zeros", "all"], ["mates"]),
    ]
    return graph(
        nodes,
        [("x", TensorProto.FLOAT, ["N", 16]), ("row", TensorProto.INT64, ["N", 1])],
        [("y", TensorProto.FLOAT, ["N", 10]), ("mates", TensorProto.INT64, ["N", "M"])],
        weights,
    )


def depends_on_size() -> bytes:
    """``x`` FP32 [N, 2] -> y FP32 [N, 2] = x * (1 + N / 2 ** 22): rows are independent, but for their last bits."""
    return graph(
        [
            helper.make_node("Shape", ["x"], ["sizes"]),
            helper.make_node("Gather", ["sizes", "zero"], ["rows"]),
            helper.make_node("Cast", ["rows"], ["size"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["size", "little"], ["more"]),
            helper.make_node("Add", ["one", "more"], ["factor"]),
            helper.make_node("Mul", ["x", "factor"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["N", 2])],
        [("y", TensorProto.FLOAT, ["N", 2])],
        {
            "zero": np.array(0, np.int64),
            "one": np.array(1, np.float32),
            "little": np.array(2**-22, np.float32),
        },
    )


def depends_on_place() -> bytes:
    """``x`` FP32 [N, 2] -> y FP32 [N, 2] = x * (1 + (place in the batch, from 1) / 2 ** 22)."""
    return graph(
        [
            helper.make_node("Mul", ["x", "nothing"], ["zeros"]),
            helper.make_node("Add", ["zeros", "little"], ["steps"]),
            helper.make_node("CumSum", ["steps", "zero"], ["more"]),
            helper.make_node("Add", ["one", "more"], ["factor"]),
            helper.make_node("Mul", ["x", "factor"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["N", 2])],
        [("y", TensorProto.FLOAT, ["N", 2])],
        {
            "zero": np.array(0, np.int64),
            "one": np.array(1, np.float32),
            "nothing": np.array(0, np.float32),
            "little": np.array(2**-22, np.float32),
        },
    )


def versioned(version: int) -> bytes:
    """``x`` FP32 [N, 2], row INT64 [N, 1] -> y FP32 [N, 2] = x + version, mates INT64 [N, N]: as of ``batch_mates``.

    It weighs half a megabyte, so that a version that is not given back is seen in the memory of the process, and has to
    be declared batchable.
    """
    weights: dict[str, npt.NDArray[Any]] = {
        "version": np.array(version, np.float32),
        "first": np.full((2, 256), 0.5, np.float32),
        "heavy": np.full((256, 512), 0.5, np.float32),
        "nothing": np.zeros((512, 2), np.float32),
    }
    return graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["h0"]),
            helper.make_node("MatMul", ["h0", "heavy"], ["h1"]),
            helper.make_node("MatMul", ["h1", "nothing"], ["zero"]),
            helper.make_node("Add", ["x", "zero"], ["same"]),
            helper.make_node("Add", ["same", "version"], ["y"]),
            helper.make_node("Sub", ["row", "row"], ["zeros"]),
            helper.make_node("Transpose", ["row"], ["all"], perm=[1, 0]),
            helper.make_node("Add", ["zeros", "all"], ["mates"]),
        ],
        [("x", TensorProto.FLOAT, ["N", 2]), ("row", TensorProto.INT64, ["N", 1])],
        [("y", TensorProto.FLOAT, ["N", 2]), ("mates", TensorProto.INT64, ["N", "M"])],
        weights,
    )
