"""What a signature makes of requests whose length varies: lengths, buckets, keys, complaints."""

from dataclasses import replace

import numpy as np
import pytest

from shoal_server.errors import InvalidRequest
from shoal_server.options import Generate
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.lengths import Column, Lengths
from shoal_server.tensors.spec import Checked, InputForm, PlainTensors, Signature, Tensor, TensorSpec
from shoal_testing.fakes import tensor

INT, FLOAT = DataType.INT64, DataType.FP32
INPUTS = (
    TensorSpec("ids", INT, ("N", "L")),
    TensorSpec("mask", INT, ("N", "L")),
    TensorSpec("extra", FLOAT, ("N", 3, "T")),
)
LENGTHS = Lengths((Column("ids", 1, 0, None), Column("mask", 1, 0, Generate.MASK), None), (0,), max_length=20)


def signature_of(lengths: Lengths = LENGTHS, *, batched: bool = True) -> Signature:
    return Signature(INPUTS, (TensorSpec("y", FLOAT, ("N", 2)),), batched, lengths)


def request(length: int, *, rows: int = 1, mask: int | None = None, width: int = 4, mask_rows: int = 0) -> list[Tensor]:
    sent = [tensor("ids", np.zeros((rows, length), np.int64))]
    if mask is not None:
        sent.append(tensor("mask", np.ones((mask_rows or rows, mask), np.int64)))
    return [*sent, tensor("extra", np.zeros((rows, 3, width), np.float32))]


def plain(tensors: list[Tensor]) -> PlainTensors:
    forms: tuple[InputForm, ...] = tuple((one.name, one.datatype, one.shape) for one in tensors)
    return PlainTensors(forms, [one.data for one in tensors])


def same(first: Checked, second: Checked) -> bool:
    return first == second


def test_requests_of_different_lengths_have_one_key_and_their_own_lengths() -> None:
    signature = signature_of()
    short, long = signature.check(request(3)), signature.check(request(7, rows=2))
    assert short.key == long.key
    assert short.key is not None
    assert [(one.extent, one.rows) for one in (short, long)] == [((3, 3), 1), ((7, 7), 2)]
    assert signature.check(request(3, width=5)).key != short.key, "a dimension that is not declared has to be equal"


def test_what_is_to_be_generated_may_be_left_out_and_may_be_sent() -> None:
    signature = signature_of()
    without, given = signature.check(request(3)), signature.check(request(3, mask=3))
    assert without.values[1] is None
    assert given.values[1] is not None
    assert without.key == given.key, "both may share a batch"


def test_a_form_seen_before_is_the_same_request_again_however_it_comes() -> None:
    signature = signature_of()
    for tensors in (request(3), request(3, mask=3)):
        first = signature.check(tensors)
        assert same(signature.check(tensors), first)
        assert same(signature.check(plain(tensors)), first)
        assert same(signature_of().check(tensors[::-1]), first), "in another order"


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        (
            request(3, mask=4),
            "input 'mask' has 1 rows of length 4 (axis 1), and input 'ids' has 1 of length 3 (axis 1)",
        ),
        (
            request(3, rows=2, mask=3, mask_rows=1),
            "input 'mask' has 1 rows of length 3 (axis 1), and input 'ids' has 2 of length 3 (axis 1)",
        ),
        (request(21), "input 'ids' has length 21 on axis 1; the longest that is taken is 20"),
        (request(3)[1:], "input 'ids' is missing; the model takes ['ids', 'mask', 'extra']"),
        (
            [tensor("mask", np.ones((1, 3), np.float32)), *request(3)],
            "input 'mask' takes INT64, got FP32 data",
        ),
        (
            [tensor("mask", np.ones(3, np.int64)), *request(3)],
            "unexpected shape for input 'mask': takes [-1, -1], got [3]",
        ),
    ],
)
@pytest.mark.parametrize("batched", [True, False])
def test_a_length_that_is_wrong_is_named(tensors: list[Tensor], complaint: str, batched: bool) -> None:  # noqa: FBT001 - a parameter
    with pytest.raises(InvalidRequest) as raised:
        signature_of(batched=batched).check(tensors)
    assert str(raised.value) == complaint


@pytest.mark.parametrize(("length", "bucket"), [(1, 4), (4, 4), (5, 8), (8, 8), (9, 9)])
def test_with_edges_a_length_counts_as_the_next_edge(length: int, bucket: int) -> None:
    assert LENGTHS.bucket(length) == length
    assert replace(LENGTHS, edges=(4, 8)).bucket(length) == bucket


def test_no_length_at_all_runs_alone() -> None:
    checked = signature_of().check(request(0))
    assert (checked.key, checked.extent) == (None, (0, 1))


def test_where_padding_changes_answers_only_equal_lengths_have_one_key() -> None:
    signature = signature_of(replace(LENGTHS, edges=(4, 8)).unjoined())
    three, also_three, four = (
        signature.check(request(length, mask=mask)) for length, mask in ((3, None), (3, 3), (4, 4))
    )
    assert three.key == also_three.key
    assert three.key != four.key
    assert three.extent == (3, 3), "and nothing is padded to an edge"


def test_where_rows_are_not_independent_the_length_is_known_nevertheless() -> None:
    checked = signature_of(batched=False).check(request(5))
    assert (checked.key, checked.rows, checked.extent) == (None, 1, (5, 5))


def test_without_a_declaration_nothing_is_known_of_lengths() -> None:
    signature = Signature(INPUTS, (), batched=True)
    with pytest.raises(InvalidRequest, match="'mask' is missing"):
        signature.check(request(3))
    checked = signature.check(request(3, mask=3))
    assert checked.extent is None
    assert checked.key == ((3,), (3,), (3, 4))
