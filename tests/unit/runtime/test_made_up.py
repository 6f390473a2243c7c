from collections.abc import Sequence

import numpy as np
import pytest

from shoal_server.errors import ExecutionFailed
from shoal_server.runtime.made_up import NUMERALS, Profile, Recipe, find_recipe
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import TensorSpec
from shoal_server.tensors.value import Shape

FP32, INT64, BYTES = DataType.FP32, DataType.INT64, DataType.BYTES
NO_ROWS: frozenset[str | tuple[int, int]] = frozenset()


def draw(spec: TensorSpec, profile: Profile, rows: int = 4) -> Array:
    recipe = Recipe([spec], frozenset({"N"}), {}, ["a", "b"])
    array = recipe.draw(np.random.default_rng(1), profile, rows)[0]
    assert array is not None
    assert array.dtype == spec.datatype.dtype
    return array


@pytest.mark.parametrize("datatype", list(DataType))
@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("dims", [("N", 3), ("N", 0), ()])
def test_every_type_is_drawn_in_every_profile(
    datatype: DataType, profile: Profile, dims: tuple[int | str, ...]
) -> None:
    array = draw(TensorSpec("x", datatype, dims), profile)
    assert array.shape == tuple(4 if dim == "N" else dim for dim in dims)


def test_profiles_have_the_size_and_sign_that_they_promise() -> None:
    spec = TensorSpec("x", FP32, ("N", 100))
    assert (draw(spec, Profile.LOW) <= -1e4).all()
    assert (draw(spec, Profile.HIGH) >= 1e4).all()
    assert not draw(spec, Profile.ZERO).any()
    assert 0 < np.abs(draw(spec, Profile.SMALL)).max() < 0.1
    ids = draw(TensorSpec("x", INT64, ("N", 100)), Profile.ORDINARY)
    assert set(ids.ravel()) == {0, 1}
    assert (draw(TensorSpec("x", DataType.UINT8, ("N", 100)), Profile.LOW) == 0).all()


def test_sixteen_bit_floats_stay_within_their_range() -> None:
    assert np.isfinite(draw(TensorSpec("x", DataType.FP16, ("N", 1000)), Profile.HIGH)).all()


def test_the_same_seed_draws_the_same() -> None:
    spec = TensorSpec("x", FP32, ("N", 3))
    assert np.array_equal(draw(spec, Profile.ORDINARY), draw(spec, Profile.ORDINARY))


def test_optional_inputs_are_left_out() -> None:
    recipe = Recipe([TensorSpec("x", FP32, (2,), optional=True)], NO_ROWS, {}, ())
    assert recipe.draw(np.random.default_rng(0), Profile.ORDINARY, 1) == [None]


class Picky:
    """Runs only on inputs of certain shapes, or with certain strings."""

    def __init__(self, *shapes: Shape, texts: Sequence[str] | None = None) -> None:
        self.shapes = list(shapes)
        self.texts = texts
        self.tried = 0

    def __call__(self, arrays: Sequence[Array | None]) -> Sequence[Array]:
        self.tried += 1
        given = [array for array in arrays if array is not None]
        if [array.shape for array in given] != self.shapes:
            raise ExecutionFailed(f"shapes {[array.shape for array in given]}")
        if self.texts is not None and not set(given[0].ravel()) <= set(self.texts):
            raise ExecutionFailed("an unknown word")
        return given


def found(inputs: Sequence[TensorSpec], model: Picky, vocabularies: Sequence[Sequence[str]] = ()) -> Recipe:
    recipe = find_recipe(inputs, frozenset({"N"}), vocabularies, model)
    assert isinstance(recipe, Recipe), recipe
    return recipe


def test_fixed_shapes_take_one_attempt() -> None:
    model = Picky((1, 4))
    found([TensorSpec("x", FP32, ("N", 4))], model)
    assert model.tried == 1


@pytest.mark.parametrize("size", [8, 224, 13, 1, 784])
def test_a_dimension_of_any_size_is_tried_in_the_usual_sizes(size: int) -> None:
    recipe = found([TensorSpec("x", FP32, ("N", "L"))], Picky((1, size)))
    assert recipe.sizes == {"L": size}


def test_dimensions_of_one_name_have_one_size() -> None:
    recipe = found(
        [TensorSpec("a", FP32, ("N", "L")), TensorSpec("b", FP32, ("N", "L", "L"))], Picky((1, 16), (1, 16, 16))
    )
    assert recipe.sizes == {"L": 16}


def test_dimensions_without_a_name_are_tried_apart() -> None:
    recipe = found([TensorSpec("x", FP32, ("N", "", "", ""))], Picky((1, 3, 224, 224)))
    assert recipe.sizes == {(0, 1): 3, (0, 2): 224, (0, 3): 224}


def test_a_name_may_be_a_sum_as_decoders_have_it() -> None:
    inputs = [
        TensorSpec("ids", INT64, ("N", "new")),
        TensorSpec("past", FP32, ("N", "past", 2)),
        TensorSpec("mask", INT64, ("N", "past + new")),
        TensorSpec("more", INT64, ("N", "past+1")),
    ]
    found(inputs, Picky((1, 8), (1, 8, 2), (1, 16), (1, 9)))


def test_a_sum_of_unknown_names_is_a_name() -> None:
    recipe = found([TensorSpec("x", FP32, ("N", "a + b"))], Picky((1, 8)))
    assert recipe.sizes == {"a + b": 8}


def test_strings_are_drawn_from_what_the_model_knows() -> None:
    vocabularies = [("red", "green"), ("Oslo", "Rome")]
    recipe = found([TensorSpec("x", BYTES, ("N", 9))], Picky((1, 9), texts=("Oslo", "Rome", "Paris")), vocabularies)
    assert recipe.texts == ("Oslo", "Rome")


def test_strings_may_have_to_be_numbers() -> None:
    assert found([TensorSpec("x", BYTES, ("N", 9))], Picky((1, 9), texts=NUMERALS)).texts == NUMERALS


def test_the_first_refusal_is_the_reason_where_nothing_runs() -> None:
    model = Picky((1, 999))
    assert find_recipe([TensorSpec("x", FP32, ("N", "L"))], frozenset({"N"}), (), model) == "shapes [(1, 8)]"
    assert model.tried < 150


def test_inputs_that_would_fill_the_memory_are_not_tried() -> None:
    spec = TensorSpec("x", FP32, ("N", *("",) * 12))
    model = Picky((0,))
    assert isinstance(find_recipe([spec], frozenset({"N"}), (), model), str)
    assert model.tried < 150


def test_only_inputs_that_refuse_large_integers_are_narrow() -> None:
    def model(arrays: Sequence[Array | None]) -> Sequence[Array]:
        given = [array for array in arrays if array is not None]
        if given[1].max() > 1:
            raise ExecutionFailed("out of range")
        return given

    inputs = [TensorSpec("ids", INT64, ("N", 8)), TensorSpec("kinds", INT64, ("N", 8)), TensorSpec("x", FP32, ("N", 8))]
    recipe = Recipe(inputs, frozenset({"N"}), {}, ()).narrowed(model)
    assert recipe.narrow == {1}
    ids, kinds, _x = recipe.draw(np.random.default_rng(0), Profile.HIGH, 4)
    assert ids is not None
    assert kinds is not None
    assert ids.min() >= 50
    assert set(kinds.ravel()) == {0, 1}
