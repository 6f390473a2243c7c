"""Which changes of a signature break callers, and which do not."""

import pytest

from shoal_server.lifecycle.compatibility import breaks
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import Signature, TensorSpec

FP32, INT64 = DataType.FP32, DataType.INT64
X = TensorSpec("x", FP32, ("N", 3))
Y = TensorSpec("y", FP32, ("N", 2))
BIAS = TensorSpec("bias", FP32, (1,), optional=True)


def signature(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (Y,)) -> Signature:
    return Signature(inputs, outputs, batched=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (signature(X), signature(X)),
        (signature(X), signature(TensorSpec("x", FP32, ("batch", "width")))),
        (signature(X), signature(TensorSpec("x", FP32, None))),
        (signature(X), signature(X, BIAS)),
        (signature(X, BIAS), signature(BIAS, X)),
        (signature(X), signature(TensorSpec("x", FP32, ("N", 3), optional=True))),
        (signature(X), signature(X, outputs=(Y, TensorSpec("z", INT64, ())))),
        (signature(X, outputs=(TensorSpec("y", FP32, ("N", "")),)), signature(X)),
    ],
)
def test_who_takes_more_or_gives_more_breaks_nobody(before: Signature, after: Signature) -> None:
    assert breaks(before, after) == ()


@pytest.mark.parametrize(
    ("after", "text"),
    [
        (signature(BIAS), "input 'x' is gone"),
        (signature(TensorSpec("x", INT64, ("N", 3))), "input 'x' is INT64, and was FP32"),
        (signature(TensorSpec("x", FP32, ("N", 4))), "input 'x' takes [-1, 4], where [-1, 3] was taken"),
        (signature(TensorSpec("x", FP32, (8, 3))), "input 'x' takes [8, 3], where [-1, 3] was taken"),
        (signature(TensorSpec("x", FP32, ("N", 3, 1))), "input 'x' takes [-1, 3, 1], where [-1, 3] was taken"),
        (signature(X, TensorSpec("z", FP32, ())), "input 'z' is new and must be sent"),
        (signature(X, outputs=()), "output 'y' is gone"),
        (signature(X, outputs=(TensorSpec("y", INT64, ("N", 2)),)), "output 'y' is INT64, and was FP32"),
        (signature(X, outputs=(TensorSpec("y", FP32, ("N", "")),)), "output 'y' has [-1, -1], where it had [-1, 2]"),
        (signature(X, outputs=(TensorSpec("y", FP32, None),)), "output 'y' has any shape, where it had [-1, 2]"),
    ],
)
def test_who_takes_less_or_gives_less_is_told_apart_by_the_tensor(after: Signature, text: str) -> None:
    assert text in breaks(signature(X), after)


def test_an_input_that_could_be_left_out_must_not_have_to_be_sent() -> None:
    must = TensorSpec("bias", FP32, (1,))
    assert breaks(signature(X, BIAS), signature(X, must)) == ("input 'bias' must be sent, and could be left out",)


def test_all_that_would_break_callers_is_told_inputs_first() -> None:
    after = signature(TensorSpec("x", INT64, ("N", 3)), outputs=())
    assert breaks(signature(X), after) == ("input 'x' is INT64, and was FP32", "output 'y' is gone")
