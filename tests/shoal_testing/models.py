"""Tiny ONNX models, one function each. Deterministic: the same arguments give the same bytes.

Every builder returns a serialised model; ``save`` puts one where a repository or a loader looks for it. Opset and IR
version are old enough for every ONNX Runtime that the server supports.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
"""The protocol's name of an element type -> ONNX's number."""

Dims = Sequence[int | str | None] | None
"""A symbol or None is a dimension of any size; None in place of all is an unknown rank."""


def save(folder: Path, name: str, model: bytes, version: int = 1) -> Path:
    """Write a model into a repository (``folder/name/version/model.onnx``) and return its path."""
    path = folder / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model)
    return path


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Dims]],
    outputs: Sequence[tuple[str, int, Dims]],
    weights: dict[str, npt.NDArray[Any]] | None = None,
    *,
    opset: int = OPSET,
) -> bytes:
    """Return any model: nodes, (name, ONNX type number, dims) of inputs and outputs, and initializers."""
    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "model",
            [helper.make_tensor_value_info(*tensor) for tensor in inputs],
            [helper.make_tensor_value_info(*tensor) for tensor in outputs],
            initializers,
        ),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=IR_VERSION,
        producer_name="shoal-tests",
    )
    return model.SerializeToString(deterministic=True)


def through(*nodes: onnx.NodeProto, weights: dict[str, npt.NDArray[Any]] | None = None) -> bytes:
    """``x`` FP32 [N, 3] -> y FP32 [N, 3] by these nodes."""
    dims: Dims = ["N", 3]
    return graph(nodes, [("x", TensorProto.FLOAT, dims)], [("y", TensorProto.FLOAT, dims)], weights)


def mlp(sizes: Sequence[int] = (64, 256, 256, 10), *, seed: int = 0) -> bytes:
    """``x`` FP32 [N, first] -> y FP32 [N, last]: a multilayer perceptron with ReLU; another seed has other weights."""
    random = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, npt.NDArray[Any]] = {}
    name = "x"
    last = len(sizes) - 2
    for layer, (wide, narrow) in enumerate(pairwise(sizes)):
        weights[f"w{layer}"] = (random.normal(size=(wide, narrow)) / np.sqrt(wide)).astype(np.float32)
        weights[f"b{layer}"] = random.normal(size=narrow).astype(np.float32)
        product = "y" if layer == last else f"h{layer}"
        nodes.append(helper.make_node("Gemm", [name, f"w{layer}", f"b{layer}"], [product]))
        name = product
        if layer != last:
            name = f"r{layer}"
            nodes.append(helper.make_node("Relu", [product], [name]))
    return graph(
        nodes, [("x", TensorProto.FLOAT, ["N", sizes[0]])], [("y", TensorProto.FLOAT, ["N", sizes[-1]])], weights
    )


def slow(layers: int = 40, width: int = 512) -> bytes:
    """``x`` FP32 [N, width] -> y FP32 [N, width]: matrix products, 1 ms or so for one row."""
    random = np.random.default_rng(0)
    weight = (random.normal(size=(width, width)) / np.sqrt(width)).astype(np.float32)
    names = ["x", *(f"h{layer}" for layer in range(1, layers)), "y"]
    nodes = [helper.make_node("MatMul", [name, "w"], [after]) for name, after in pairwise(names)]
    dims: Dims = ["N", width]
    return graph(nodes, [("x", TensorProto.FLOAT, dims)], [("y", TensorProto.FLOAT, dims)], {"w": weight})


def convolution(channels: int = 3, size: int = 16) -> bytes:
    """``image`` FP32 [N, channels, size, size] -> scores FP32 [N, 4]."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["scores"]),
    ]
    kernel = random.normal(size=(4, channels, 3, 3)).astype(np.float32)
    return graph(
        nodes,
        [("image", TensorProto.FLOAT, ["N", channels, size, size])],
        [("scores", TensorProto.FLOAT, ["N", 4])],
        {"kernel": kernel},
    )


def identity(datatype: str = "FP32", dims: Dims = ("N", 2)) -> bytes:
    """``x`` -> y, both of the protocol's ``datatype`` and of ``dims``."""
    element = ONNX_TYPES[datatype]
    return graph([helper.make_node("Identity", ["x"], ["y"])], [("x", element, dims)], [("y", element, dims)])


def all_types() -> bytes:
    """in_T -> out_T for every type T of the protocol, in lower case (in_fp32, in_bytes, ...), all [N, 2].

    BF16 is missing: ONNX Runtime's interface for Python cannot take strings while it gives BF16.
    """
    kinds = {name.lower(): number for name, number in ONNX_TYPES.items() if name != "BF16"}
    return graph(
        [helper.make_node("Identity", [f"in_{kind}"], [f"out_{kind}"]) for kind in kinds],
        [(f"in_{kind}", number, ["N", 2]) for kind, number in kinds.items()],
        [(f"out_{kind}", number, ["N", 2]) for kind, number in kinds.items()],
    )


def two_inputs_two_outputs() -> bytes:
    """``a`` FP32 [N, 3], b FP32 [N, 3] -> sum FP32 [N, 3], difference FP32 [N, 3]."""
    dims: Dims = ["N", 3]
    return graph(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])],
        [("a", TensorProto.FLOAT, dims), ("b", TensorProto.FLOAT, dims)],
        [("sum", TensorProto.FLOAT, dims), ("difference", TensorProto.FLOAT, dims)],
    )


def gather(vocabulary: int = 8, width: int = 4) -> bytes:
    """``ids`` INT64 [N, L] -> vectors FP32 [N, L, width]: element i of row r is r + i / 10. Larger ids fail.

    So a request with an id out of range fails by its values alone.
    """
    table = (np.arange(vocabulary)[:, None] + np.arange(width) / 10).astype(np.float32)
    return graph(
        [helper.make_node("Gather", ["table", "ids"], ["vectors"], name="lookup")],
        [("ids", TensorProto.INT64, ["N", "L"])],
        [("vectors", TensorProto.FLOAT, ["N", "L", width])],
        {"table": table},
    )


def attention(vocabulary: int = 2, width: int = 8) -> bytes:
    """``ids`` INT64 [N, L], mask INT64 [N, L] -> pooled FP32 [N, width]: attention over L, which has any length."""
    random = np.random.default_rng(0)
    weights: dict[str, npt.NDArray[Any]] = {
        "table": random.normal(size=(vocabulary, width)).astype(np.float32),
        "q": random.normal(size=(width, width)).astype(np.float32),
        "k": random.normal(size=(width, width)).astype(np.float32),
        "one": np.array(1, np.float32),
        "far": np.array(-1e4, np.float32),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["h"]),
        helper.make_node("MatMul", ["h", "q"], ["hq"]),
        helper.make_node("MatMul", ["h", "k"], ["hk"]),
        helper.make_node("Transpose", ["hk"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["hq", "kt"], ["raw"]),
        helper.make_node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "m"], ["off"]),
        helper.make_node("Mul", ["off", "far"], ["bias2"]),
        helper.make_node("Unsqueeze", ["bias2", "axis"], ["bias"]),
        helper.make_node("Add", ["raw", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "h"], ["mixed"]),
        helper.make_node("ReduceMean", ["mixed", "axis"], ["pooled"], keepdims=0),
    ]
    return graph(
        nodes,
        [("ids", TensorProto.INT64, ["N", "L"]), ("mask", TensorProto.INT64, ["N", "L"])],
        [("pooled", TensorProto.FLOAT, ["N", width])],
        weights,
    )


def vector() -> bytes:
    """``x`` FP32 [N] -> y FP32 [N], y = 2x: a row is one number."""
    return graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", TensorProto.FLOAT, ["N"])],
        [("y", TensorProto.FLOAT, ["N"])],
    )


def optional_input() -> bytes:
    """``x`` FP32 [N, 2], factor FP32 [2] -> y FP32 [N, 2] = x * factor, which is [2, 3] if it is left out."""
    return graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        [("x", TensorProto.FLOAT, ["N", 2]), ("factor", TensorProto.FLOAT, [2])],
        [("y", TensorProto.FLOAT, ["N", 2])],
        {"factor": np.array([2, 3], np.float32)},
    )


def masked() -> bytes:
    """``x`` FP32 [N, 3], keep BOOL [N, 3] -> y FP32 [N, 3]: x where keep, else 0."""
    dims: Dims = ["N", 3]
    return graph(
        [helper.make_node("Where", ["keep", "x", "zero"], ["y"])],
        [("x", TensorProto.FLOAT, dims), ("keep", TensorProto.BOOL, dims)],
        [("y", TensorProto.FLOAT, dims)],
        {"zero": np.array(0, np.float32)},
    )


def with_external_data(path: Path) -> None:
    """Write ``mlp()`` to ``path``, its weights into ``weights.bin`` beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        onnx.load_from_string(mlp()),
        str(path),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
