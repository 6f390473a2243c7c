"""Which models are batched, with nobody having said anything; the probe's own tests are in tests/unit/runtime."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from shoal_server.options import BatchingOptions
from shoal_server.runtime import batch_probe
from shoal_server.runtime.ort_model import OrtModel
from shoal_testing import models, whole_models

Load = Callable[..., OrtModel]
Weights = dict[str, npt.NDArray[Any]]

node = helper.make_node


def one(operator: str, weights: Weights | None = None, **attributes: Any) -> bytes:  # noqa: ANN401 - as make_node has them
    """Return a model of one operator on ``x``, FP32 [N, 3], and on the weights."""
    return models.through(node(operator, ["x", *(weights or {})], ["y"], **attributes), weights=weights)


def ids(*nodes: Any, weights: Weights, width: int | str) -> bytes:  # noqa: ANN401 - what make_node returns
    """Return a model of ``ids``, INT64 [N, L]."""
    return models.graph(
        nodes, [("ids", TensorProto.INT64, ["N", "L"])], [("y", TensorProto.FLOAT, ["N", "L", width])], weights
    )


def quantised() -> list[Any]:
    """Return nodes from ``h`` to ``y`` by a matrix product whose input is quantised by the range of the whole batch."""
    return [
        node("DynamicQuantizeLinear", ["h"], ["q", "scale", "zero"]),
        node("MatMulInteger", ["q", "w", "zero"], ["product"]),
        node("Cast", ["product"], ["cast"], to=TensorProto.FLOAT),
        node("Mul", ["cast", "scale"], ["y"]),
    ]


random = np.random.default_rng(0)
INT8 = {"w": random.integers(-100, 100, (3, 3)).astype(np.int8)}
TABLE = random.normal(size=(2, 3)).astype(np.float32)
ONE = np.array([1], np.int64)
ZERO = np.array([0], np.int64)

BATCHED = {
    "mlp": models.mlp(),
    "convolution": models.convolution(),
    "two inputs": models.two_inputs_two_outputs(),
    "all types": models.all_types(),
    "lookup": models.gather(),
    "lookup in two words": models.gather(vocabulary=2),
    "attention": models.attention(),
    "one number per row": models.vector(),
    "an input with a default": models.optional_input(),
    "booleans": models.masked(),
    "softmax of each row": one("Softmax", axis=1),
    "norm of each row": one("LpNormalization", axis=1),
    "largest of each row": one("ReduceMax", {"axes": ONE}),
    "dropout that is off": one("Dropout"),
    "a width that only some sizes fit": models.graph(
        [node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, ["N", "D"])],
        [("y", TensorProto.FLOAT, ["N", 2])],
        {"w": np.ones((13, 2), np.float32)},
    ),
    "rows of unnamed size": models.identity("FP32", [None, 3]),
    "outputs of unknown rank": models.graph(
        [node("Identity", ["x"], ["y"])], [("x", TensorProto.FLOAT, ["N", 3])], [("y", TensorProto.FLOAT, None)]
    ),
}

NOT_BATCHED = {
    "softmax over the batch": whole_models.softmax_over_batch(),
    "norm over the batch": one("LpNormalization", axis=0),
    "mean of the batch taken off": models.through(
        node("ReduceMean", ["x", "axes"], ["mean"]), node("Sub", ["x", "mean"], ["y"]), weights={"axes": ZERO}
    ),
    "running sum": one("CumSum", {"axis": np.array(0, np.int64)}),
    "rows compared with each other": models.graph(
        [node("Transpose", ["x"], ["t"]), node("MatMul", ["x", "t"], ["y"])],
        [("x", TensorProto.FLOAT, ["N", 3])],
        [("y", TensorProto.FLOAT, ["N", "N"])],
    ),
    "sorted over the batch": models.graph(
        [
            node("Shape", ["x"], ["rows"], end=1),
            node("TopK", ["x", "rows"], ["y", "i"], axis=0),
        ],
        [("x", TensorProto.FLOAT, ["N", 3])],
        [("y", TensorProto.FLOAT, ["N", 3])],
    ),
    "different values": models.graph(
        [node("Unique", ["x"], ["y"])], [("x", TensorProto.INT64, ["N"])], [("y", TensorProto.INT64, ["M"])]
    ),
    "places of what is not zero": models.graph(
        [node("NonZero", ["x"], ["y"])], [("x", TensorProto.FLOAT, ["N", 3])], [("y", TensorProto.INT64, ["R", "M"])]
    ),
    "quantised over the batch": models.through(node("Identity", ["x"], ["h"]), *quantised(), weights=INT8),
    "quantised words": ids(
        node("Gather", ["table", "ids"], ["h"]), *quantised(), weights={**INT8, "table": TABLE}, width=3
    ),
    "chance": models.through(
        node("RandomNormalLike", ["x"], ["noise"], scale=0.01), node("Add", ["x", "noise"], ["y"])
    ),
    "chance with a seed": models.through(
        node("RandomUniformLike", ["x"], ["noise"], seed=1.0), node("Add", ["x", "noise"], ["y"])
    ),
    "another branch for a large batch": whole_models.batch_dependent(40),
    "another branch for a small batch": whole_models.batch_dependent(1),
    "another branch for a large value": whole_models.threshold(100),
    "another branch for a large sum": whole_models.threshold(10, "ReduceSum"),
    "the first row": models.graph(
        [node("Slice", ["x", "start", "end"], ["y"])],
        [("x", TensorProto.FLOAT, ["N", 3])],
        [("y", TensorProto.FLOAT, ["M", 3])],
        {"start": ZERO, "end": ONE},
    ),
    "rows of another input": models.graph(
        [node("Gather", ["x", "i"], ["y"])],
        [("x", TensorProto.FLOAT, ["N", 3]), ("i", TensorProto.INT64, ["M"])],
        [("y", TensorProto.FLOAT, ["M", 3])],
    ),
    "rows that are one long row": models.graph(
        [node("Reshape", ["x", "shape"], ["y"])],
        [("x", TensorProto.FLOAT, ["N", 3])],
        [("y", TensorProto.FLOAT, ["M", "K"])],
        {"shape": np.array([1, -1], np.int64)},
    ),
    "a recurrent network, whose first dimension is time": models.graph(
        [node("RNN", ["x", "w", "r"], ["y"], hidden_size=2)],
        [("x", TensorProto.FLOAT, ["T", 1, 3])],
        [("y", TensorProto.FLOAT, ["T", 1, 1, 2])],
        {"w": np.ones((1, 2, 3), np.float32), "r": np.ones((1, 2, 2), np.float32)},
    ),
    "a fixed number of rows": whole_models.fixed_batch(),
    "scalars": whole_models.scalars(),
    "no input": whole_models.constant(),
}


@pytest.fixture(autouse=True)
def time_for_all_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model is found to be must not depend on what else the machine does."""
    monkeypatch.setattr(batch_probe, "BUDGET_S", 60.0)


@pytest.mark.parametrize("name", BATCHED)
def test_rows_that_are_independent_are_batched(load: Load, name: str) -> None:
    model = load(BATCHED[name])
    assert model.signature.batched, model.batching_reason
    assert model.batching_reason == "batched: 5 trials with up to 64 rows gave what the rows give alone"


@pytest.mark.parametrize("name", NOT_BATCHED)
def test_rows_that_are_not_independent_are_not_batched(load: Load, name: str) -> None:
    model = load(NOT_BATCHED[name])
    assert not model.signature.batched, model.batching_reason
    assert model.batching_reason.startswith("not batched: ")


def test_what_is_not_batched_still_runs(load: Load) -> None:
    x = np.array([[1, 2, 3], [1, 2, 3]], np.float32)
    (y,) = load(whole_models.softmax_over_batch()).run([x], None)
    assert np.allclose(y, 0.5)


def test_a_model_that_runs_on_nothing_made_up_says_what_it_said(load: Load) -> None:
    model = load(
        models.graph(
            [node("MatMul", ["x", "w"], ["y"])],
            [("x", TensorProto.FLOAT, ["N", "D"])],
            [("y", TensorProto.FLOAT, ["N", 2])],
            {"w": np.ones((4321, 2), np.float32)},
        )
    )
    assert not model.signature.batched
    assert "it runs on nothing that could be made up: MatMul node: " in model.batching_reason
    (y,) = model.run([np.ones((1, 4321), np.float32)], None)
    assert y.tolist() == [[4321, 4321]]


def test_the_probe_goes_up_to_the_rows_that_a_batch_may_have(load: Load) -> None:
    assert load(whole_models.batch_dependent(40), batching=BatchingOptions(max_rows=32)).signature.batched
    assert not load(whole_models.batch_dependent(40), batching=BatchingOptions(max_rows=41)).signature.batched
