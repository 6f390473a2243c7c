"""Inputs with a dimension of size zero: ONNX Runtime ends the process on some, so the server does not let them in."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from shoal_testing.caller import Caller, request_of
from shoal_testing.kinds_special import scan
from shoal_testing.models import Dims, graph, identity, save
from shoal_testing.server import RunningServer, running_server

_FLOAT = TensorProto.FLOAT


def _one(node: NodeProto, dims: Dims, *sizes: tuple[int, ...]) -> bytes:
    """``x`` FP32 -> y FP32 by one node, with weights w, v, ... of these sizes."""
    weights = {name: np.ones(size, np.float32) for name, size in zip("wv", sizes, strict=False)}
    return graph([node], [("x", _FLOAT, dims)], [("y", _FLOAT, None)], weights)


def _windowed() -> bytes:
    """``x`` FP32 [N, L, 1], window FP32 [W] -> y FP32."""
    return graph(
        [helper.make_node("STFT", ["x", "step", "window"], ["y"])],
        [("x", _FLOAT, ["N", "L", 1]), ("window", _FLOAT, ["W"])],
        [("y", _FLOAT, None)],
        {"step": np.array(2)},
    )


def _inside_a_branch() -> bytes:
    """Return a model whose fragile operator stands in the subgraph of another."""
    unique, same = (
        helper.make_graph([node], "branch", [], [helper.make_tensor_value_info(node.output[0], _FLOAT, None)])
        for node in (
            helper.make_node("Unique", ["x"], ["unique"], axis=0),
            helper.make_node("Identity", ["x"], ["same"]),
        )
    )
    node = helper.make_node("If", ["yes"], ["y"], then_branch=unique, else_branch=same)
    weights = {"yes": np.array(True)}  # noqa: FBT003 - an array of one bool
    return graph([node], [("x", _FLOAT, ["N", "M"])], [("y", _FLOAT, None)], weights)


def _inside_a_function() -> bytes:
    """Return a model whose fragile operator stands in a function that the model defines."""
    model = onnx.load_from_string(_one(helper.make_node("Rare", ["x"], ["y"], domain="own"), ["N", "M"]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    rare = [helper.make_node("Unique", ["x"], ["y"], axis=0)]
    model.functions.append(helper.make_function("own", "Rare", ["x"], ["y"], rare, [helper.make_opsetid("", 18)]))
    return model.SerializeToString()


def _gru() -> bytes:
    node = helper.make_node("GRU", ["x", "w", "v"], ["y"], hidden_size=3)
    return _one(node, ["L", "N", 4], (1, 9, 4), (1, 9, 3))


def _lstm() -> bytes:
    node = helper.make_node("LSTM", ["x", "w", "v"], ["y"], hidden_size=3)
    return _one(node, ["L", "N", 4], (1, 12, 4), (1, 12, 3))


def _transposed_convolution() -> bytes:
    return _one(helper.make_node("ConvTranspose", ["x", "w"], ["y"]), ["N", 2, "A", "B", "C"], (2, 2, 3, 3, 3))


def _unique() -> bytes:
    return _one(helper.make_node("Unique", ["x"], ["y"], axis=0), ["N", "M"])


class Fragile(NamedTuple):
    """A model, a shape of ``x`` that it takes, and one on which ONNX Runtime would end the process."""

    model: Callable[[], bytes]
    good: tuple[int, ...]
    fatal: tuple[int, ...]
    operator: str


FRAGILE = [
    Fragile(_gru, (3, 2, 4), (3, 0, 4), "GRU"),
    Fragile(_lstm, (3, 2, 4), (3, 0, 4), "LSTM"),
    Fragile(_transposed_convolution, (1, 2, 3, 3, 3), (1, 2, 0, 3, 3), "ConvTranspose"),
    Fragile(_unique, (3, 2), (3, 0), "Unique"),
    Fragile(lambda: scan(1), (2, 3), (0, 3), "Scan"),
    Fragile(_inside_a_branch, (3, 2), (3, 0), "Unique"),
    Fragile(_inside_a_function, (3, 2), (3, 0), "Unique"),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("fragile")
    for number, fragile in enumerate(FRAGILE):
        save(folder, str(number), fragile.model())
    save(folder, "stft", _windowed())
    save(folder, "sturdy", identity())
    with running_server(folder) as served:
        yield served


@pytest.mark.parametrize("number", range(len(FRAGILE)))
def test_an_empty_input_that_would_end_the_process_is_refused_and_the_next_request_answered(
    running: RunningServer, number: int
) -> None:
    fragile = FRAGILE[number]
    with Caller(running.address) as caller:
        refused = caller.infer(request_of(str(number), x=np.ones(fragile.fatal, np.float32)))
        assert refused.status == "INVALID_ARGUMENT"
        assert f"input 'x' of shape {list(fragile.fatal)} has no elements" in refused.text
        assert fragile.operator in refused.text
        assert caller.infer(request_of(str(number), x=np.ones(fragile.good, np.float32))).status == "OK"


def test_any_input_may_be_the_empty_one(running: RunningServer) -> None:
    x, window = np.ones((2, 8, 1), np.float32), np.ones(4, np.float32)
    with Caller(running.address) as caller:
        refused = caller.infer(request_of("stft", x=x, window=window[:0]))
        assert refused.status == "INVALID_ARGUMENT"
        assert "input 'window' of shape [0] has no elements" in refused.text
        assert caller.infer(request_of("stft", x=x, window=window)).status == "OK"


def test_models_of_other_operators_answer_a_request_of_no_rows(running: RunningServer) -> None:
    with Caller(running.address) as caller:
        assert caller.infer(request_of("sturdy", x=np.ones((0, 2), np.float32))).array().shape == (0, 2)
