from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from shoal_server.runtime.fragile_operators import operators
from shoal_testing import models, whole_models


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def node(operator: str, **attributes: Any) -> onnx.NodeProto:  # noqa: ANN401 - make_node's own type of attributes
    return helper.make_node(operator, ["x"], ["y"], **attributes)


@pytest.mark.parametrize("operator", ["ConvTranspose", "GRU", "LSTM", "STFT", "Unique"])
def test_an_operator_that_does_not_survive_an_empty_tensor_is_found(path: Path, operator: str) -> None:
    path.write_bytes(models.through(node("Relu"), node(operator)))
    assert operators(path).fragile == operator


def test_a_scan_is_found_where_it_has_axes(path: Path) -> None:
    path.write_bytes(models.through(node("Scan", num_scan_inputs=1)))
    assert operators(path).fragile is None
    for name in ("scan_input_axes", "scan_output_axes"):
        path.write_bytes(models.through(node("Scan", num_scan_inputs=1, **{name: [1]})))
        assert operators(path).fragile == "Scan"


def test_it_is_found_in_a_subgraph_of_a_subgraph(path: Path) -> None:
    inner = helper.make_graph([node("LSTM")], "inner", [], [])
    outer = helper.make_graph([node("If", then_branch=inner)], "outer", [], [])
    path.write_bytes(models.through(node("Loop", body=outer)))
    assert operators(path).fragile == "LSTM"


def test_it_is_found_in_a_function_of_the_model(path: Path) -> None:
    model = onnx.load_from_string(models.through(node("Mine")))
    model.functions.append(helper.make_function("own", "Mine", ["x"], ["y"], [node("GRU")], []))
    path.write_bytes(model.SerializeToString())
    assert operators(path).fragile == "GRU"


@pytest.mark.parametrize("operator", ["Conv", "RNN", "Uniques", "gru", "LSTMCell"])
def test_other_operators_are_not_taken_for_it(path: Path, operator: str) -> None:
    path.write_bytes(models.through(node(operator)))
    assert operators(path).fragile is None


def test_neither_names_nor_weights_are_taken_for_it(path: Path) -> None:
    weights = {"GRU": np.frombuffer(b"\x22\x03GRU\x22\x04LSTM\0", np.uint8)}
    path.write_bytes(models.through(helper.make_node("Relu", ["LSTM"], ["Scan"], name="Unique"), weights=weights))
    assert operators(path).fragile is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x3a\x7f", b"\x3a\x02\x0b\x00"])
def test_what_is_no_model_has_none(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert operators(path).fragile is None
    assert operators(path.with_name("gone")).fragile is None


def test_whose_run_may_take_as_long_as_a_caller_says_is_known(path: Path) -> None:
    for model, expected in (
        (whole_models.endless(), True),
        (models.mlp(), False),
        (whole_models.batch_dependent(), False),
    ):
        path.write_bytes(model)
        assert operators(path).turning is expected
    assert operators(path.with_name("none")).turning


def test_of_what_breaks_off_that_counts_which_came_before(path: Path) -> None:
    path.write_bytes(models.through(node("GRU")) + b"\x3a\x7f")
    assert operators(path) == ("GRU", True)
