"""The probe for bit-equal answers against functions of numpy; against real models in tests/integration/runtime."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from shoal_server.errors import ExecutionFailed
from shoal_server.runtime.batch_probe import row_symbols
from shoal_server.runtime.invariance_probe import InvarianceProbe
from shoal_server.runtime.made_up import Recipe
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import TensorSpec
from shoal_testing.virtual_time import START_S

Floats = npt.NDArray[Any]
X = TensorSpec("x", DataType.FP32, ("N", 3))
Y = TensorSpec("y", DataType.FP32, ("N", 3))
TEXT = TensorSpec("x", DataType.BYTES, ("N", 1))
BIT = np.float32(2**-20)


class Model:
    """A function of one input, which takes so long for each row, and its own clock."""

    def __init__(self, function: Callable[[Floats], Floats], row_s: float = 0.0) -> None:
        self.function = function
        self.row_s = row_s
        self.now_s = START_S
        self.rows: list[int] = []

    def __call__(self, arrays: Sequence[Array | None]) -> Sequence[Array]:
        (array,) = arrays
        assert array is not None
        self.rows.append(len(array))
        self.now_s += self.row_s * len(array)
        return [self.function(array)]

    def monotonic(self) -> float:
        return self.now_s

    def epoch(self) -> float:
        return self.now_s


def probe(model: Model, spec: TensorSpec = X, output: TensorSpec = Y) -> tuple[InvarianceProbe, Recipe]:
    return InvarianceProbe(model, [output], model), Recipe([spec], row_symbols([spec]), {}, ("a", "b", "c"))


def found(model: Model, most_rows: int = 64, *, thorough: bool = True) -> tuple[bool | None, str]:
    prober, recipe = probe(model)
    return prober.find(recipe, most_rows, thorough=thorough)


def test_what_is_the_same_in_every_batch_is_invariant() -> None:
    model = Model(lambda x: x * 2)
    assert found(model) == (True, "bit-equal alone and in batches of up to 64 rows")
    assert {1, 2, 3, 31, 32, 33, 64} <= set(model.rows)
    assert max(model.rows) == 64


@pytest.mark.parametrize("from_rows", [2, 3, 17, 33, 50, 64])
def test_one_bit_that_depends_on_the_size_is_seen_from_any_size_on(from_rows: int) -> None:
    invariant, reason = found(Model(lambda x: x + BIT * (len(x) >= from_rows)))
    assert (invariant, reason) == (False, "among 64 rows output 'y' is not bit for bit what it is otherwise")


def test_one_bit_at_small_sizes_is_seen() -> None:
    assert found(Model(lambda x: x + BIT * (len(x) == 6))) == (
        False,
        "among 6 rows output 'y' is not bit for bit what it is otherwise",
    )


def test_a_glance_tries_a_few_sizes() -> None:
    model = Model(lambda x: x)
    assert found(model, thorough=False)[0]
    assert model.rows == [1] * 8 + [64, 2, 5, 16]


@pytest.mark.parametrize(("row_s", "thorough"), [(0.02, False), (0.3, True), (0.02, True)])
def test_nothing_is_claimed_where_there_was_no_time_to_look(row_s: float, *, thorough: bool) -> None:
    model = Model(lambda x: x, row_s)
    assert found(model, thorough=thorough) == (None, "it takes too long to find out")
    assert model.now_s - START_S <= (2.3 if thorough else 0.12)


def test_a_model_that_fails_tells_nothing() -> None:
    def fail(x: Floats) -> Floats:
        if len(x) > 1:
            raise ExecutionFailed("too many")
        return x

    assert found(Model(fail)) == (None, "made-up rows did not tell: too many")
    prober, recipe = probe(Model(fail))
    assert prober.why_not_at(recipe, 8) == "made-up rows did not tell: too many"


def test_nan_is_equal_to_the_same_nan() -> None:
    assert found(Model(lambda x: np.full_like(x, np.nan)))[0]


def test_strings_are_compared_whole() -> None:
    output = TensorSpec("y", DataType.BYTES, ("N", 1))
    for suffix, invariant in (("", True), ("!", False)):
        prober, recipe = probe(Model(lambda x, end=suffix: x + end * (len(x) > 2)), TEXT, output)  # type: ignore[misc]
        assert prober.find(recipe, 8, thorough=True).invariant is invariant


@pytest.mark.parametrize("rows", [1, 4, 8, 64])
def test_at_one_size_only_place_and_neighbours_could_matter(rows: int) -> None:
    prober, recipe = probe(Model(lambda x: x + BIT * len(x)))
    assert prober.why_not_at(recipe, rows) is None


def test_a_bit_that_depends_on_the_place_is_seen() -> None:
    prober, recipe = probe(Model(lambda x: x + BIT * np.arange(len(x), dtype=np.float32)[:, None]))
    assert prober.why_not_at(recipe, 8) == "among 8 rows output 'y' is not bit for bit what it is otherwise"


def test_a_bit_that_depends_on_the_neighbours_is_seen() -> None:
    prober, recipe = probe(Model(lambda x: x + BIT * (int(abs(x.sum()) * 100) % 7)))
    assert prober.why_not_at(recipe, 8) is not None
