from collections.abc import Sequence

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import DeclaredTensor
from shoal_server.runtime.declarations import agree
from shoal_server.runtime.model_tensors import ModelTensor
from shoal_server.runtime.reshape import Reshape
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import TensorSpec

FP32 = DataType.FP32
Dims = tuple[int | str, ...] | None


def model(dims: Dims, *, optional: bool = False) -> list[ModelTensor]:
    return [ModelTensor(TensorSpec("x", FP32, dims, optional, ("a",)), "x")]


def agreed(tensors: Sequence[ModelTensor], declared: DeclaredTensor, *, has_rows: bool = True) -> ModelTensor:
    return agree("input", tensors, [declared], has_rows=has_rows)[0]


def test_what_is_not_declared_stays_as_it_is() -> None:
    assert agree("input", model(("N", 3)), [], has_rows=True) == tuple(model(("N", 3)))


@pytest.mark.parametrize(
    ("own", "declared", "has_rows", "dims"),
    [
        (("N", 3), (3,), True, ("N", 3)),
        (("N", "L"), (-1,), True, ("N", "L")),
        (("N", "L"), (7,), True, ("N", 7)),  # narrowed to what the owner wants
        (("N", 3), (-1,), True, ("N", 3)),
        (("N", 3), (3,), False, ("N", 3)),  # one dimension less: the first was left out
        (("N", 3), (-1, 3), False, ("N", 3)),  # as many: it is among them
        (("N", 3), (8, 3), False, (8, 3)),
        (None, (3,), True, ("", 3)),  # the model does not know, its owner does
        (None, (3,), False, (3,)),
        (None, (), False, None),
        (("N",), (), True, ("N",)),
        (("N", 3), (), True, ("N", 3)),  # no dims are no contradiction
    ],
)
def test_declared_dims_narrow_the_models(own: Dims, declared: tuple[int, ...], has_rows: bool, dims: Dims) -> None:  # noqa: FBT001
    assert agreed(model(own), DeclaredTensor("x", FP32, declared), has_rows=has_rows).spec.dims == dims


def test_whole_dims_have_the_first_dimension_among_them() -> None:
    assert agreed(model(("N", 3)), DeclaredTensor("x", FP32, (-1, 3), whole=True)).spec.dims == ("N", 3)


def test_labels_of_the_owner_are_stronger() -> None:
    assert agreed(model(("N", 3)), DeclaredTensor("x", None, (3,))).spec.labels == ("a",)
    assert agreed(model(("N", 3)), DeclaredTensor("x", None, (3,), labels=("b", "c"))).spec.labels == ("b", "c")


@pytest.mark.parametrize(
    ("own", "declared", "complaint"),
    [
        (("N", 3), DeclaredTensor("z", FP32, (3,)), "input 'z' is declared, the model has ['x']"),
        (("N", 3), DeclaredTensor("x", DataType.INT64, (3,)), "input 'x' is declared INT64, the model has FP32"),
        (("N", 3), DeclaredTensor("x", FP32, (4,)), "declared with dims [4] after the rows, the model has [-1, 3]"),
        (
            ("N", 3),
            DeclaredTensor("x", FP32, (3, 1)),
            "declared with dims [3, 1] after the rows, the model has [-1, 3]",
        ),
        (("N", 3), DeclaredTensor("x", FP32, (3,), whole=True), "declared with dims [3], the model has [-1, 3]"),
        ((2, 3), DeclaredTensor("x", FP32, (3,)), "the model has [2, 3], whose first dimension does not vary"),
        (("N", 3), DeclaredTensor("x", FP32, (3,), optional=True), "is declared optional, the model cannot do without"),
    ],
)
def test_a_contradiction_names_both(own: Dims, declared: DeclaredTensor, complaint: str) -> None:
    with pytest.raises(LoadFailed) as failed:
        agreed(model(own), declared)
    assert complaint in str(failed.value)


def test_an_optional_input_may_be_declared_so() -> None:
    declared = DeclaredTensor("x", FP32, (3,), optional=True)
    assert agreed(model(("N", 3), optional=True), declared).spec.optional


def test_a_declared_reshape_is_held_against_the_model() -> None:
    tensor = agreed(model(("N",)), DeclaredTensor("x", FP32, (1,), reshape=()))
    assert tensor.spec.dims == ("", 1)
    assert tensor.reshape == Reshape(seen=("", 1), own=("",))
    with pytest.raises(LoadFailed, match="declared with dims"):
        agreed(model(("N", 3)), DeclaredTensor("x", FP32, (1,), reshape=()))


def test_a_scalar_may_be_declared_with_a_dimension() -> None:
    tensor = agreed(model(None), DeclaredTensor("x", FP32, (1,), whole=True, reshape=()), has_rows=False)
    assert tensor.spec.dims == (1,)
    assert tensor.reshape == Reshape(seen=(1,), own=())
