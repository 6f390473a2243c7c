"""The tiny model of the benchmarks: a perceptron of 64-256-256-10, FP32, whose first dimension is a batch."""

from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAME: Final = "tiny"
WIDTHS: Final = (64, 256, 256, 10)
_OPSET: Final = 17
_IR_VERSION: Final = 9


def tiny_model() -> onnx.ModelProto:
    """Return the model; its weights are the same each time."""
    weights = np.random.default_rng(0)
    nodes, tensors = [], []
    last = "input"
    for layer, (rows, columns) in enumerate(pairwise(WIDTHS)):
        matrix = (weights.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)
        tensors += [
            numpy_helper.from_array(matrix, f"w{layer}"),
            numpy_helper.from_array(np.zeros(columns, np.float32), f"b{layer}"),
        ]
        final = layer == len(WIDTHS) - 2
        sums = "output" if final else f"sums{layer}"
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [sums]))
        if not final:
            last = f"hidden{layer}"
            nodes.append(helper.make_node("Relu", [sums], [last]))
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["rows", WIDTHS[0]])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["rows", WIDTHS[-1]])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


def write_tiny(folder: Path) -> None:
    """Write the model into a repository folder, as ``tiny/1/model.onnx``."""
    version = folder / NAME / "1"
    version.mkdir(parents=True)
    onnx.save(tiny_model(), version / "model.onnx")
