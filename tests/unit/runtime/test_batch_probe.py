"""The probe against functions of numpy; against real models in tests/integration/runtime."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from shoal_server.errors import ExecutionFailed
from shoal_server.runtime.batch_probe import BUDGET_S, BatchProbe, Finding, forbidden_by_dims, row_symbols
from shoal_server.runtime.made_up import Recipe
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import TensorSpec

Floats = npt.NDArray[Any]
X = TensorSpec("x", DataType.FP32, ("N", 3))
Y = TensorSpec("y", DataType.FP32, None)


class SteppingClock:
    """Moves on by the time that a run takes."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def epoch(self) -> float:
        return self.now_s


class Model:
    """A function of one input, and what was asked of it."""

    def __init__(self, function: Callable[[Floats], Floats], row_s: float = 0.0) -> None:
        self.function = function
        self.row_s = row_s
        self.clock = SteppingClock()
        self.rows: list[int] = []

    def __call__(self, arrays: Sequence[Array | None]) -> Sequence[Array]:
        array = arrays[0]
        assert array is not None
        self.rows.append(array.shape[0])
        self.clock.now_s += self.row_s * array.shape[0]
        return [self.function(array)]


def probe(model: Model, *, spec: TensorSpec = X, output: TensorSpec = Y, max_rows: int = 64) -> Finding:
    recipe = Recipe([spec], row_symbols([spec]), {}, ("a", "b", "c"))
    return BatchProbe(model, [output], model.clock).find(recipe, max_rows)


def centred(x: Floats) -> Floats:
    return np.asarray(x - x.mean(axis=0))


INDEPENDENT: dict[str, Callable[[Floats], Floats]] = {
    "scaled": lambda x: x * 2,
    "layer": lambda x: np.tanh(x @ np.ones((3, 5), np.float32)),
    "normalised": lambda x: x / np.abs(x).max(axis=1, keepdims=True),  # 0 / 0 for a row of zeros
    "exponential": np.exp,  # infinite for large values
    "sorted": lambda x: np.sort(x, axis=1)[:, ::-1],
    "nothing": lambda x: np.zeros((x.shape[0], 0), np.float32),
}


@pytest.mark.parametrize("name", INDEPENDENT)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_function_of_each_row_is_batched(name: str) -> None:
    model = Model(INDEPENDENT[name])
    finding = probe(model)
    assert finding == Finding(batched=True, reason="5 trials with up to 64 rows gave what the rows give alone")
    assert max(model.rows) == 64


DEPENDENT: dict[str, tuple[Callable[[Floats], Floats], str]] = {
    "centred": (centred, "rows do not stay what they are alone: in output 'y'"),
    "reversed": (lambda x: x[::-1], "in output 'y'"),
    "summed up": (lambda x: np.cumsum(x, axis=0), "in output 'y'"),
    "sorted": (lambda x: np.sort(x, axis=0), "in output 'y'"),
    "numbered": (lambda x: x + np.arange(x.shape[0], dtype=np.float32)[:, None], "in output 'y'"),
    "compared": (lambda x: x @ x.T, "output 'y' have shape [1] alone, [3] among 3 rows"),
    "mean": (lambda x: x.mean(axis=0), "output 'y' has shape [3] for 1 rows"),
    "sum": (lambda x: np.asarray(x.sum()), "output 'y' has shape [] for 3 rows"),
    "doubled": (lambda x: np.repeat(x, 2, axis=0), "output 'y' has shape [6, 3] for 3 rows"),
    "squeezed": (np.squeeze, "output 'y' has shape [3] for 1 rows"),
    "transposed": (lambda x: x.T, "output 'y' has shape [3, 1] for 1 rows"),
    "filtered": (lambda x: x[x[:, 0] > 0], "output 'y' has shape"),
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_rows_that_depend_on_each_other_are_not_batched(name: str) -> None:
    function, reason = DEPENDENT[name]
    finding = probe(Model(function))
    assert not finding.batched
    assert reason in finding.reason


@pytest.mark.parametrize("reduction", [np.max, np.min, np.mean, np.sum])
@pytest.mark.parametrize("bound", [-1000.0, -10.0, -1.0, 0.0, 0.5, 5.0, 100.0, 1000.0])
def test_a_bound_on_the_whole_batch_is_found(reduction: Callable[[Floats], float], bound: float) -> None:
    finding = probe(Model(lambda x: x * 2 if reduction(x) > bound else x))
    assert not finding.batched


@pytest.mark.parametrize("bound", [1.0, 10.0, 100.0, 1000.0])
def test_a_bound_on_a_norm_is_found(bound: float) -> None:
    assert not probe(Model(lambda x: x * 2 if np.linalg.norm(x) > bound else x)).batched


@pytest.mark.parametrize("bound", [1, 2, 4, 10, 40, 63])
def test_a_bound_on_the_number_of_rows_is_found(bound: int) -> None:
    finding = probe(Model(lambda x: x * 2 if x.shape[0] > bound else x))
    assert not finding.batched
    assert "among" in finding.reason


def test_a_scale_taken_from_the_whole_batch_is_found() -> None:
    def quantised(x: Floats) -> Floats:
        step = np.abs(x).max() / 127 or np.float32(1)
        return np.asarray(np.round(x / step) * step)

    assert not probe(Model(quantised)).batched


def test_chance_is_found() -> None:
    random = np.random.default_rng(0)
    assert not probe(Model(lambda x: x + random.normal(size=x.shape).astype(np.float32) * 0.01)).batched


def test_rounding_that_depends_on_the_number_of_rows_is_forgiven() -> None:
    assert probe(Model(lambda x: x * np.float32(1 + 1e-6 * x.shape[0]))).batched


def test_a_model_that_fails_with_more_rows_is_not_batched() -> None:
    def one_row(x: Floats) -> Floats:
        if x.shape[0] > 1:
            raise ExecutionFailed("only one row")
        return x

    finding = probe(Model(one_row))
    assert finding == Finding(batched=False, reason="made-up rows did not tell: only one row")


def test_a_model_that_fails_with_many_rows_is_not_batched() -> None:
    def few_rows(x: Floats) -> Floats:
        if x.shape[0] > 4:
            raise ExecutionFailed("too many")
        return x

    finding = probe(Model(few_rows))
    assert finding.reason == "rows do not stay what they are alone: 64 rows fail together and not alone: too many"
    assert probe(Model(few_rows), max_rows=4).batched


def test_a_model_that_refuses_some_values_is_judged_by_the_others() -> None:
    def small_values(x: Floats) -> Floats:
        if np.abs(x).max() > 100:
            raise ExecutionFailed("out of range")
        return x

    finding = probe(Model(small_values))
    assert finding == Finding(batched=True, reason="3 trials with up to 64 rows gave what the rows give alone")


def test_a_model_that_gives_nothing_but_nan_tells_nothing() -> None:
    finding = probe(Model(lambda x: x * np.nan))
    assert finding == Finding(
        batched=False, reason="made-up rows did not tell: all that it gives is infinite or undefined"
    )


@pytest.mark.parametrize("datatype", [DataType.BYTES, DataType.INT64, DataType.BOOL, DataType.BF16, DataType.FP16])
def test_every_type_can_be_probed(datatype: DataType) -> None:
    spec, output = TensorSpec("x", datatype, ("N", 3)), TensorSpec("y", datatype, ("N", 3))
    assert probe(Model(lambda x: x), spec=spec, output=output).batched
    assert not probe(Model(lambda x: x[::-1]), spec=spec, output=output).batched


def test_a_row_may_be_one_value() -> None:
    assert probe(Model(lambda x: x * 2), spec=TensorSpec("x", DataType.FP32, ("N",))).batched
    assert not probe(Model(centred), spec=TensorSpec("x", DataType.FP32, ("N",))).batched


def test_a_slow_model_is_tried_less() -> None:
    model = Model(lambda x: x, row_s=BUDGET_S)
    finding = probe(model)
    assert finding == Finding(batched=True, reason="one trial with up to 3 rows gave what the rows give alone")
    assert model.rows == [1, 2, 3]


def test_a_slowish_model_is_tried_with_as_many_rows_as_there_is_time_for() -> None:
    model = Model(lambda x: x, row_s=BUDGET_S / 40)
    assert probe(model).batched
    assert max(model.rows) in (39, 40)


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        ([], [("N", 2)], "the model has no input that must be sent"),
        ([None], [("N", 2)], "the number of dimensions of input 'x0' is unknown"),
        ([(1, 3)], [("N", 3)], "the first dimension of input 'x0' is 1"),
        ([("N", 3), (2,)], [("N", 3)], "the first dimension of input 'x1' is 2"),
        ([("N", 3)], [("N", 3), (3,)], "the first dimension of output 'y1' is 3"),
        ([("N", "N")], [("N", 3)], "dimension 'N' counts rows, and is another dimension of input 'x0' as well"),
        ([("N", 3), ("M", "N")], [None], "dimension 'N' counts rows, and is another dimension of input 'x1' as well"),
        ([("N", 3)], [("N", 3)], None),
        ([("", ""), ("N",)], [None, ("",)], None),
    ],
)
def test_dims_alone_may_forbid_it(
    inputs: list[tuple[int | str, ...] | None], outputs: list[tuple[int | str, ...] | None], reason: str | None
) -> None:
    taken = [TensorSpec(f"x{index}", DataType.FP32, dims) for index, dims in enumerate(inputs)]
    given = [TensorSpec(f"y{index}", DataType.FP32, dims) for index, dims in enumerate(outputs)]
    assert forbidden_by_dims(taken, given) == reason


def test_optional_inputs_do_not_forbid_it() -> None:
    optional = TensorSpec("o", DataType.FP32, (2,), optional=True)
    assert forbidden_by_dims([X, optional], [Y]) is None
    assert forbidden_by_dims([optional], [Y]) == "the model has no input that must be sent"
    assert row_symbols([X, optional]) == {"N"}


def test_one_run_that_was_held_up_does_not_make_the_largest_batch_smaller() -> None:
    model = Model(lambda x: x)

    def held_up_once(x: Floats) -> Floats:
        if model.rows == [1, 2, 3]:  # the first run of rows together
            model.clock.now_s += BUDGET_S / 2
        return x

    model.function = held_up_once
    assert probe(model).batched
    assert max(model.rows) == 64
