"""Models that differ in their weights alone are told from all others."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shoal_server.runtime.graph_print import graph_print


def model(*, weights: int = 1, rows: int = 2, typed: bool = False, operator: str = "MatMul", width: int = 40) -> bytes:
    """A product and a reshape; weights are numbered, ``typed`` has their values in a field of their type."""
    values = np.random.default_rng(weights).standard_normal((width, width)).astype(np.float32)
    if typed:
        tensor = helper.make_tensor("w", TensorProto.FLOAT, values.shape, values.ravel().tolist())
    else:
        tensor = numpy_helper.from_array(values, "w")
    bias = numpy_helper.from_array(np.full(3, weights, np.float32), "bias")
    shape = numpy_helper.from_array(np.array([-1, rows]), "shape")
    nodes = [helper.make_node(operator, ["x", "w"], ["p"]), helper.make_node("Reshape", ["p", "shape"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", width])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], [tensor, shape, bias])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def print_of(folder: Path, content: bytes) -> str:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return graph_print(path)


@pytest.mark.parametrize("typed", [False, True])
def test_other_weights_have_the_same_print(tmp_path: Path, *, typed: bool) -> None:
    assert print_of(tmp_path, model(weights=1, typed=typed)) == print_of(tmp_path, model(weights=2, typed=typed)) != ""


@pytest.mark.parametrize("other", [model(rows=4), model(operator="Add"), model(width=41), model(typed=True)])
def test_another_shape_operator_width_or_form_has_another(tmp_path: Path, other: bytes) -> None:
    assert print_of(tmp_path, other) != print_of(tmp_path, model())


def test_another_opset_has_another(tmp_path: Path) -> None:
    newer = onnx.load_from_string(model())
    newer.opset_import[0].version = 18
    assert print_of(tmp_path, newer.SerializeToString()) != print_of(tmp_path, model())


@pytest.mark.parametrize("content", [b"\xff" * 40, model()[:200]])
def test_what_is_no_model_has_none(tmp_path: Path, content: bytes) -> None:
    assert print_of(tmp_path, content) == ""


def test_a_file_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert graph_print(tmp_path / "none.onnx") == ""
