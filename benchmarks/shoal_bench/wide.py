"""A model that does next to nothing with one large tensor: what is measured is how its bytes are carried."""

from pathlib import Path
from typing import Final

import onnx
from onnx import TensorProto, helper

NAME: Final = "wide"
_OPSET: Final = 17
_IR_VERSION: Final = 9


def write_wide(folder: Path, columns: int) -> None:
    """Write the model into a repository folder, as ``wide/1/model.onnx``: the mean of each row of FP32 columns."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["input"], ["output"], axes=[1], keepdims=1)],
        NAME,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["rows", 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    version = folder / NAME / "1"
    version.mkdir(parents=True)
    onnx.save(model, version / "model.onnx")
