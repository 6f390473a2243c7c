"""Every complaint of a signature, and what it makes of a request that fits."""

import gc

import numpy as np
import pytest

from shoal_server.errors import InvalidRequest
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import Signature, Tensor, TensorSpec
from shoal_testing.fakes import tensor
from shoal_testing.scattered import FakeScattered

F = DataType.FP32


def floats(name: str, *shape: int) -> Tensor:
    return tensor(name, np.zeros(shape, np.float32))


def raw(shape: tuple[int, ...], size_bytes: int, datatype: str = "FP32", name: str = "x") -> Tensor:
    return Tensor(name, datatype, shape, bytes(size_bytes))


def signature_of(*inputs: TensorSpec, batched: bool = True) -> Signature:
    return Signature(inputs, (TensorSpec("y", F, ("", 2)), TensorSpec("z", F, ("",))), batched=batched)


X = TensorSpec("x", F, ("", 2))
FREE = TensorSpec("x", F, ("", "", ""))
ANY = TensorSpec("x", F, None)
BOOL = TensorSpec("x", DataType.BOOL, (3,))
W = TensorSpec("w", F, ("rows",))
OPTIONAL = TensorSpec("o", F, (4,), optional=True)


@pytest.mark.parametrize(
    ("spec", "sent", "complaint"),
    [
        (X, raw((1, 2), 8, "FP64"), "input 'x' takes FP32, got FP64 data"),
        (X, raw((1, 2), 8, "fp32"), "input 'x' takes FP32, got unknown type 'fp32'"),
        (X, raw((1, 2), 8, ""), "input 'x' takes FP32, got unknown type ''"),
        (X, raw((1, 2), 8, "F" * 999), f"input 'x' takes FP32, got unknown type '{'F' * 39}"),
        (X, raw((2,), 8), "unexpected shape for input 'x': takes [-1, 2], got [2]"),
        (X, raw((1, 3), 12), "unexpected shape for input 'x': takes [-1, 2], got [1, 3]"),
        (X, raw((1, 2, 1), 8), "unexpected shape for input 'x': takes [-1, 2], got [1, 2, 1]"),
        (X, raw((), 4), "unexpected shape for input 'x': takes [-1, 2], got []"),
        (X, raw((-1, 2), 8), "input 'x' has a negative dimension: [-1, 2]"),
        (X, raw((1,) * 33, 4), "input 'x' has 33 dimensions; at most 32 are possible"),
        (ANY, raw((1,) * 10_000, 4), "input 'x' has 10000 dimensions; at most 32 are possible"),
        (X, raw((1, 2), 7), "input 'x' of shape [1, 2] and type FP32 takes 8 bytes, got 7"),
        (X, raw((1, 2), 9), "input 'x' of shape [1, 2] and type FP32 takes 8 bytes, got 9"),
        (X, raw((1, 2), 0), "input 'x' of shape [1, 2] and type FP32 takes 8 bytes, got 0"),
        (X, raw((0, 2), 8), "input 'x' of shape [0, 2] and type FP32 takes 0 bytes, got 8"),
        (
            FREE,
            raw((1 << 31, 1 << 31, 1 << 31), 8),
            f"input 'x' of shape [{1 << 31}, {1 << 31}, {1 << 31}] and type FP32 takes {4 << 93} bytes, got 8",
        ),
        (FREE, raw((0, 1 << 62, 1 << 62), 0), f"input 'x' is too large: [0, {1 << 62}, {1 << 62}]"),
        (FREE, raw((1 << 62, 0, 1 << 40), 0), f"input 'x' is too large: [{1 << 62}, 0, {1 << 40}]"),
        (BOOL, Tensor("x", "BOOL", (3,), b"\x00\x01\x02"), "input 'x' is BOOL: every byte is 0 or 1, got others"),
    ],
    ids=lambda value: "" if isinstance(value, TensorSpec | Tensor) else None,
)
def test_a_tensor_that_does_not_fit_is_refused_with_its_name_what_was_wanted_and_what_came(
    spec: TensorSpec, sent: Tensor, complaint: str
) -> None:
    with pytest.raises(InvalidRequest) as failure:
        signature_of(spec).check([sent])
    assert str(failure.value) == complaint


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        ([], "input 'x' is missing; the model takes ['x', 'w', 'o']"),
        ([floats("x", 1, 2)], "input 'w' is missing; the model takes ['x', 'w', 'o']"),
        ([floats("x", 1, 2), floats("o", 4)], "input 'w' is missing; the model takes ['x', 'w', 'o']"),
        ([floats("x", 1, 2), floats("v", 1)], "unknown input 'v'; the model takes ['x', 'w', 'o']"),
        ([floats("X", 1, 2), floats("w", 1)], "unknown input 'X'; the model takes ['x', 'w', 'o']"),
        ([floats("x", 1, 2), floats("x", 1, 2)], "input 'x' is given twice"),
        ([floats("x", 1, 2), floats("w", 1), floats("w", 1)], "input 'w' is given twice"),
        ([floats("n" * 999, 1)], f"unknown input '{'n' * 119}; the model takes ['x', 'w', 'o']"),
    ],
    ids=["none", "one_missing", "one_missing_one_optional", "unknown", "case", "twice", "twice_beside", "long_name"],
)
def test_inputs_that_are_missing_unknown_or_given_twice_are_refused_by_name(sent: list[Tensor], complaint: str) -> None:
    with pytest.raises(InvalidRequest) as failure:
        signature_of(X, W, OPTIONAL).check(sent)
    assert str(failure.value) == complaint


@pytest.mark.parametrize(
    ("inputs", "sent", "rows", "key"),
    [
        ((X,), [floats("x", 3, 2)], 3, ((2,),)),
        ((X, W), [floats("w", 3), floats("x", 3, 2)], 3, ((2,), ())),
        ((FREE,), [floats("x", 1, 5, 7)], 1, ((5, 7),)),
        ((FREE,), [floats("x", 2, 0, 7)], 2, ((0, 7),)),
        ((X,), [floats("x", 0, 2)], 0, None),  # no rows: nothing to concatenate
        ((X, W), [floats("x", 3, 2), floats("w", 1)], 3, None),  # whether they broadcast is for the model to say
        ((X, OPTIONAL), [floats("x", 3, 2)], 3, ((2,),)),
        ((X, OPTIONAL), [floats("x", 3, 2), floats("o", 4)], 4, None),  # has no rows of its own
        ((OPTIONAL, X), [floats("x", 6, 2), floats("o", 4)], 6, None),
        ((OPTIONAL,), [], 1, None),
        ((), [], 1, None),
        ((TensorSpec("x", F, (), optional=True),), [floats("x")], 1, None),
    ],
)
def test_rows_are_counted_and_the_key_tells_what_may_be_concatenated(
    inputs: tuple[TensorSpec, ...], sent: list[Tensor], rows: int, key: tuple[object, ...] | None
) -> None:
    checked = signature_of(*inputs).check(sent)
    assert (checked.rows, checked.key) == (rows, key)
    assert [value is not None for value in checked.values] == [
        any(one.name == spec.name for one in sent) for spec in inputs
    ]


@pytest.mark.parametrize("sent", [floats("x"), floats("x", 5), floats("x", 0, 3), floats("x", 7, 1, 1)])
def test_a_model_without_a_batch_dimension_counts_one_row_and_runs_alone(sent: Tensor) -> None:
    checked = signature_of(ANY, batched=False).check([sent])
    assert (checked.rows, checked.key) == (1, None)


def test_requests_of_different_inner_shapes_have_different_keys() -> None:
    signature = signature_of(FREE)
    keys = {signature.check([floats("x", 1, *tail)]).key for tail in [(1, 2), (2, 1), (2, 2)]}
    assert len(keys) == 3


def test_values_stand_in_the_order_of_the_signature() -> None:
    checked = signature_of(X, W).check([tensor("w", np.ones(1, np.float32)), floats("x", 1, 2)])
    assert [value and value.shape for value in checked.values] == [(1, 2), (1,)]


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,), (1,) * 32])
def test_an_input_of_unknown_rank_takes_any(shape: tuple[int, ...]) -> None:
    value = signature_of(ANY, batched=False).check([floats("x", *shape)]).values[0]
    assert value is not None
    assert value.shape == shape


def test_strings_are_decoded_when_they_are_checked() -> None:
    spec = TensorSpec("x", DataType.BYTES, ("",))
    value = signature_of(spec).check([tensor("x", np.array(["a", "é"], object))]).values[0]
    assert value == ((2,), ["a", "é"])


def test_scattered_elements_are_held_against_the_type_like_others() -> None:
    strings = b"\x02\x00\x00\x00ab\x00\x00\x00\x00"
    value = TensorSpec("x", DataType.BYTES, (2,)).check(Tensor("x", "BYTES", (2,), FakeScattered(strings)))
    assert value.payload == ["ab", ""]
    for raw, fits in ((b"\x00\x01\x00", True), (b"\x00\x01\x02", False), (b"\x00\x01", False)):
        elements = FakeScattered(raw)
        if fits:
            assert BOOL.check(Tensor("x", "BOOL", (3,), elements)).payload is elements
        else:
            with pytest.raises(InvalidRequest):
                BOOL.check(Tensor("x", "BOOL", (3,), elements))


def test_scattered_elements_of_numbers_are_not_copied_to_be_checked() -> None:
    elements = FakeScattered(bytes(12))
    assert TensorSpec("x", DataType.FP32, (3,)).check(Tensor("x", "FP32", (3,), elements)).payload is elements
    with pytest.raises(InvalidRequest, match="takes 8 bytes, got 12"):
        TensorSpec("x", DataType.FP32, (2,)).check(Tensor("x", "FP32", (2,), elements))
    assert not elements.copies


@pytest.mark.parametrize("names", [[], ["y"], ["z", "y"]])
def test_known_outputs_may_be_asked_for_in_any_order(names: list[str]) -> None:
    signature_of(X).check_outputs(names)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["q"], "unknown output 'q'; the model gives ['y', 'z']"),
        (["y", ""], "unknown output ''; the model gives ['y', 'z']"),
        (["y", "y"], "output 'y' is requested twice"),
    ],
    ids=["unknown", "empty", "twice"],
)
def test_outputs_that_are_unknown_or_asked_for_twice_are_refused(names: list[str], complaint: str) -> None:
    with pytest.raises(InvalidRequest) as failure:
        signature_of(X).check_outputs(names)
    assert str(failure.value) == complaint


def test_the_protocol_writes_minus_one_for_a_dimension_of_any_size() -> None:
    assert TensorSpec("x", F, ("batch", 3, "")).shape == (-1, 3, -1)
    assert ANY.shape == ()


def test_a_signature_remembers_only_so_many_forms_of_request() -> None:
    signature = Signature((TensorSpec("x", DataType.INT8, ("", "")),), (), batched=True)
    for rows in range(1, 2000):
        assert signature.check([Tensor("x", "INT8", (rows, 1), bytes(rows))]).rows == rows
    held = [len(part) for part in gc.get_referents(signature) if isinstance(part, dict)]
    assert max(held) <= 256
